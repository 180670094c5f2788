"""The order in which a run sees the training images: a function of its seeds alone."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax
import numpy as np
from ml_collections import ConfigDict

from asr_jax import parallel


def indices(
    config: ConfigDict, images: int, seeds: Sequence[int], first: int, last: int
) -> np.ndarray | jax.Array:
    """Which images the steps first..last-1 see, [n, B], or [n, B, S] of several seeds.

    Args:
      config: the run; where its scenes are sharded, each device has an order of its own.
      images: how many lie on each device.
      seeds: of the runs that are trained side by side.
      first, last: steps.
    """

    def of(batch: int, shard: int | None = None) -> np.ndarray:
        streams = [batches(images, batch, seed, first, last, shard) for seed in seeds]
        return np.stack(streams, axis=-1) if len(seeds) > 1 else streams[0]

    batch, devices = config.train.batch_size, jax.device_count()
    if config.data.placement == "sharded":
        return parallel.divide_batch(lambda device: of(batch // devices, device), devices)
    return of(batch)


def batches(
    images: int, batch_size: int, seed: int, first: int, last: int, shard: int | None = None
) -> np.ndarray:
    """Which images the steps first..last-1 see, [n, batch_size].

    One endless stream of permutations, each a function of seed, epoch and shard (of which device,
    if each has images of its own) alone, so that a run that is resumed sees what it would have.
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
