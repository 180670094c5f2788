"""Choices of this project against what else could be done, timed in turn in one process."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

import asr_jax
from asr_jax import parallel
from benchmarks import timing
from benchmarks.cases import Case, training

MNIST3 = Case("mnist3")


def cases(quick: bool) -> dict[str, Callable]:
    """name -> a function of the number of steps that returns {ours: call, the other: call}."""
    chosen = {
        "the count": estimators,
        "dispatches": dispatches,
        "seeds": seeds,
        "one device": kinds,
    }
    return {"dispatches": dispatches} if quick else chosen


def measure(pair: Callable, quick: bool) -> dict[str, float | str]:
    """Milliseconds of both calls, and the ratio of the second to the first."""
    times = timing.together(pair(2 if quick else 20), 2 if quick else timing.REPEATS)
    (ours, a), (other, b) = times.items()
    return {"this": ours, "ms": 1e3 * a, "against": other, "its ms": 1e3 * b, "ratio": b / a}


def estimators(steps: int) -> dict[str, Callable]:
    """mnist13: a sum over n, or one relaxed sample of it."""
    marginal = training(Case("mnist13"))
    relaxed = dataclasses.replace(marginal.model.config, estimator="concrete")
    concrete = dataclasses.replace(marginal, model=asr_jax.Model(relaxed))
    return {"marginal": _steps(marginal, steps), "concrete": _steps(concrete, steps)}


def dispatches(steps: int) -> dict[str, Callable]:
    """mnist3: many steps in one program, or one program call a step."""
    setting = training(MNIST3)
    run, (indices, schedule) = setting.steps(), setting.inputs(steps)

    def one_by_one():
        state = setting.state
        for i in range(steps):
            now = jax.tree.map(lambda x, i=i: x[i : i + 1], schedule)
            state, metrics = run(state, setting.images, indices[i : i + 1], now)
            jax.device_get(metrics)  # to log it
        return state

    return {f"{steps} steps a call": _steps(setting, steps), "1 step a call": one_by_one}


def seeds(steps: int) -> dict[str, Callable]:
    """mnist3: three runs in one program, or one; at a ratio of 1 they cost as much as one."""
    setting = training(MNIST3)
    states = jax.tree.map(lambda x: jnp.stack([x] * 3), setting.state)
    many = parallel.data_parallel(functools.partial(asr_jax.train_seeds, **setting.static))
    three = functools.partial(many, states, setting.images, *setting.inputs(steps, seeds=3))
    return {"3 seeds": three, "1 seed": _steps(setting, steps)}


def kinds(steps: int) -> dict[str, Callable]:
    """mnist3: a plain program, or one mapped over devices."""
    setting = training(MNIST3)
    return {"jit": _steps(setting, steps), "pmap": _steps(setting, steps, "pmap")}


def _steps(setting, steps: int, kind: str = "auto") -> Callable:
    arguments = (setting.state, setting.images, *setting.inputs(steps))
    return functools.partial(setting.steps(kind), *arguments)
