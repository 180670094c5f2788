"""`fit`: a whole training in one call, of the same steps as a run of the experiments."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from tqdm import tqdm

from asr_jax import training
from asr_jax.checks import check_model, check_params
from asr_jax.config import OptimizerConfig, whole
from asr_jax.constraints.base import Constraint, check_constraints, default_tolerances
from asr_jax.constraints.multipliers import Rule, dual
from asr_jax.model import Model, Params
from asr_jax.steps import batches, count_mix, ramped

ADAM = OptimizerConfig()
Callback = Callable[[int, Params, dict[str, float]], Any]


def fit(
    images: Any,
    *,
    model: Model,
    steps: int,
    constraints: Sequence[Constraint] = (),
    multipliers: str | Rule = "dual",
    optimizer: OptimizerConfig | optax.GradientTransformation = ADAM,
    batch_size: int = 64,
    seed: int = 0,
    params: Params | None = None,
    count_mix_until: float = 0.2,
    callback: Callback | None = None,
    log_every: int = 50,
    progress: bool = True,
) -> tuple[Params, dict[str, np.ndarray]]:
    """Trains a model on images, and returns its parameters and what happened on the way.

    The images go to one device as they are. Equal arguments give equal parameters there, bit for
    bit.

    Args:
      images: [N, H, W], or [N, H, W, 3] in colour: uint8, or floats in [0, 1].
      model: what is trained.
      steps: how many, of `batch_size` images each; every image is seen once an epoch.
      constraints: functionals of the posterior.
      multipliers: "dual": they set themselves, so that each constraint is violated by its own
        tolerance at most; "fixed": the weights that the constraints carry, along their ramps; or a
        rule of `dual` or `fixed` over {"posterior": {name: ...}, "prior": {name: ...}}, where
        "prior" is what is asked of the prior's places.
      optimizer: Adam with this learning rate and the rest, or any optax transformation.
      batch_size: images a step.
      seed: of parameters, order of the images, and noise.
      params: to begin with; None: fresh ones.
      count_mix_until: the fraction of the steps in which the ELBO still sees some share of all
        counts alike, which falls from 1 to 0 (see `Schedule`); not looked at where the model's
        count is known.
      callback: called as callback(step, params, metrics) whenever there are metrics; training
        stops after it if it returns True.
      log_every: steps in a dispatch, whose mean is one value of each metric. A last dispatch that
        is shorter compiles a second program.
      progress: whether to print a progress bar with the negative ELBO.

    Returns:
      The parameters, and name -> [n] values of the dispatches: "step" (taken by then), and means
      over their steps of the loss, the negative ELBO "nelbo", every term of the objective, every
      constraint's F, and its multiplier "weight_<name>" if a rule sets it.

    Raises:
      ValueError: an argument that breaks its rule, before the first step.
      FloatingPointError: a term of the objective is not finite.
    """
    images, constraints = check_model(model).check(images), check_constraints(constraints)
    _check_numbers(steps, batch_size, seed, log_every, count_mix_until, len(images))
    if params is not None:
        check_params(params, model)
    if callback is not None and not callable(callback):
        raise ValueError(f"callback must be a function, or None, got {callback!r}")
    rule, tx = _rule(multipliers, constraints), _transformation(optimizer, steps)
    model.warn_of_background(images)
    if model.config.count is not None:
        count_mix_until = 0.0
    run = jax.jit(
        functools.partial(
            training.train_steps, model=model, constraints=constraints, tx=tx, rule=rule
        )
    )
    state, pixels = training.init_state(model, tx, seed, rule, params), jnp.asarray(images)
    rows = []
    with tqdm(total=steps, unit=" steps", file=sys.stdout, disable=not progress) as bar:
        for first in range(0, steps, log_every):
            last = min(first + log_every, steps)
            behind = np.arange(first, last) / steps
            schedule = training.Schedule(
                ramped(() if rule else constraints, behind),
                count_mix=count_mix(count_mix_until, behind),
            )
            indices = batches(len(pixels), batch_size, seed, first, last)
            state, metrics = run(state, pixels, indices, schedule)
            metrics = jax.device_get(metrics)
            if broken := training.first_non_finite(metrics):
                raise FloatingPointError(
                    f"{broken[1]} is not finite at step {first + broken[0] + 1}: start again with "
                    "a lower learning rate, or a lower clip, in optimizer"
                )
            row = {name: float(np.mean(values)) for name, values in metrics.items()}
            rows.append({"step": last} | row)
            bar.set_postfix({"nELBO": f"{row['nelbo']:.1f}"}, refresh=False)
            bar.update(last - first)
            if callback is not None and callback(last, state.params, row):
                break
    return state.params, {name: np.array([row[name] for row in rows]) for name in rows[0]}


def _check_numbers(steps, batch_size, seed, log_every, count_mix_until, images: int) -> None:
    for name, value, least, most in (
        ("steps", steps, 1, 2**31 - 1),  # what an int32 counts
        ("batch_size", batch_size, 1, images),
        ("seed", seed, 0, 2**31 - 1),
        ("log_every", log_every, 1, 2**31 - 1),
    ):
        if not whole([value]) or not least <= value <= most:
            of = f", the {images} images" if name == "batch_size" else ""
            raise ValueError(
                f"{name} must be a whole number from {least} to {most}{of}, got {value!r}: change "
                f"{name}"
            )
    if not isinstance(count_mix_until, Real) or not 0 <= count_mix_until <= 1:
        raise ValueError(
            f"count_mix_until must be a fraction of the steps, in [0, 1], got {count_mix_until!r}: "
            "0 is without"
        )


def _rule(multipliers: str | Rule, constraints: tuple[Constraint, ...]) -> Rule | None:
    """How multipliers set themselves; None: they are the weights that constraints carry."""
    if multipliers == "fixed":
        return None
    if multipliers == "dual":
        for constraint in constraints:
            if not constraint.tolerance > 0:
                raise ValueError(
                    f"the tolerance of {constraint.name!r} must be above 0 for its multiplier to "
                    f"set itself, got {constraint.tolerance}: Constraint(..., tolerance=0.1), or "
                    "multipliers='fixed'"
                )
        return dual({"posterior": default_tolerances(constraints), "prior": {}})
    if not isinstance(multipliers, Rule):
        raise ValueError(
            f"multipliers must be 'dual', 'fixed' or a rule, got {multipliers!r}: see asr_jax.dual"
        )
    over = sorted(multipliers.init().weights)
    if over != ["posterior", "prior"]:
        raise ValueError(
            f"multipliers must be a rule over 'posterior' and 'prior', got one over {over}: "
            'write dual({"posterior": {...}, "prior": {}})'
        )
    return multipliers


def _transformation(
    optimizer: OptimizerConfig | optax.GradientTransformation, steps: int
) -> optax.GradientTransformation:
    if isinstance(optimizer, OptimizerConfig):
        return training.optimizer(optimizer, steps)
    if not isinstance(optimizer, optax.GradientTransformation):
        raise ValueError(
            "optimizer must be an OptimizerConfig or an optax transformation, got "
            f"{optimizer!r}: OptimizerConfig(learning_rate=...)"
        )
    return optimizer
