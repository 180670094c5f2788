"""What each step of a training sees, as functions of seed and step: images and weights."""

from __future__ import annotations

import functools
from collections.abc import Iterable

import numpy as np

from asr_jax.constraints.base import Constraint


def batches(
    images: int, batch_size: int, seed: int, first: int, last: int, shard: int | None = None
) -> np.ndarray:
    """Which images the steps first..last-1 see, [n, batch_size].

    One endless stream of permutations, each a function of seed, epoch and shard (of which device,
    if each has images of its own) alone, so that a run that is resumed sees what it would have.

    Args:
      images: how many there are.
      batch_size: images a step.
      seed: of the run, and shard, the device: whole numbers of at least 0.
      first, last: n = last - first steps.
    """
    own = () if shard is None else (shard,)
    positions = np.arange(first * batch_size, last * batch_size)
    epochs = positions // images
    order = np.concatenate(
        [_permutation(images, seed, int(epoch), *own) for epoch in np.unique(epochs)]
    )
    return order[positions - epochs[0] * images].reshape(last - first, batch_size)


@functools.lru_cache(maxsize=64)  # an epoch has many dispatches
def _permutation(images: int, *seed: int) -> np.ndarray:
    return np.random.default_rng(seed).permutation(images)


def ramped(constraints: Iterable[Constraint], progress: np.ndarray) -> dict[str, np.ndarray]:
    """name -> the weight that the constraint carries, raised linearly from 0 along its ramp, [n].

    Args:
      constraints: a ramp is (start, end), in fractions of the run; none: the weight is constant.
      progress: [n], which share of the run lies before each step.
    """
    weights = {}
    for constraint in constraints:
        start, end = constraint.ramp or (-1.0, 0.0)
        ramp = np.clip((progress - start) / (end - start), 0, 1)
        weights[constraint.name] = (constraint.weight * ramp).astype(np.float32)
    return weights


def count_mix(until: float, progress: np.ndarray) -> np.ndarray | None:
    """The share of all counts alike in q(n), which falls linearly from 1, [n]; None: without.

    Args:
      until: the fraction of the run at which it is 0; 0: without.
      progress: as in `ramped`.
    """
    return np.clip(1 - progress / until, 0, 1).astype(np.float32) if until else None
