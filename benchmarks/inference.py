"""Explaining, judging and generating images with a model whose parameters are fresh."""

from __future__ import annotations

import time

import jax
import numpy as np

import asr_jax
from benchmarks import timing
from benchmarks.cases import Case, training

IMAGES = 2_000


def cases(quick: bool) -> dict[str, Case]:
    return {name: Case(name) for name in ("mnist3", "mnist14")[: 1 if quick else None]}


def measure(case: Case, quick: bool) -> dict[str, float]:
    """Images a second of the jitted functions, and seconds of a whole evaluation."""
    number = 20 if quick else IMAGES
    setting = training(case, number)
    model, params, key = setting.run.model, setting.state.params, jax.random.key(0)
    image = np.asarray(setting.images)
    images, keys = image.astype(np.float32) / 255, jax.random.split(key, number)
    times = timing.together(
        {
            "posterior": lambda: model.posterior(params, keys, images, batch_size=250),
            "reconstruct": lambda: model.reconstruct(params, images),
            "generate": lambda: asr_jax.generate(params, key, number, model=model),
        },
        2 if quick else timing.REPEATS,
    )
    result = {f"{name} images/s": number / value for name, value in times.items()}
    for label in ("first", "second"):  # the first compiles
        start = time.perf_counter()
        asr_jax.evaluate(params, key, image, model=model, constraints=setting.run.constraints)
        result[f"evaluate {number}, {label} s"] = time.perf_counter() - start
    few = min(number, 250)
    bound = jax.jit(lambda p, k, x: asr_jax.iwae(p, k, x, model=model, samples=10))
    seconds = timing.seconds(bound, params, keys[:few], images[:few], repeats=3)
    return result | {"iwae image samples/s": 10 * few / seconds}
