"""What the steps of a run see, images and weights: functions of the run, its seed and the step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import numpy as np

import asr_jax
from asr_jax import parallel, random_keys
from asr_jax.steps import batches, count_mix, ramped
from asr_jax.types import Counted
from data_gen.scenes import Scenes

if TYPE_CHECKING:
    from experiments.run.from_config import Run


COUNTED = "counted"  # the constraint on images whose count is known


def key(seed: int) -> jax.Array:
    """The key of a seed, of one kind whatever the environment says."""
    return jax.random.key(seed, impl=random_keys.IMPLEMENTATION)


def images_of(run: Run, scenes: Scenes) -> np.ndarray | Counted:
    """What steps learn from: images, with counts where a constraint is about those."""
    if any(constraint.name == COUNTED for constraint in run.constraints):
        return Counted(scenes.image, scenes.count)
    return scenes.image


def indices(run: Run, images: int, seed: int, first: int, last: int) -> np.ndarray | jax.Array:
    """Which images the steps first..last-1 see, [n, B].

    Args:
      run: where its scenes are sharded, each device has an order of its own.
      images: how many lie on each device.
      seed: of this run's seeds.
      first, last: steps.
    """
    batch, devices = run.train.batch_size, jax.device_count()
    if run.data.placement == "sharded":
        return parallel.divide_batch(
            lambda device: batches(images, batch // devices, seed, first, last, device), devices
        )
    return batches(images, batch, seed, first, last)


def schedule(run: Run, first: int, last: int, total: int) -> asr_jax.Schedule:
    """What changes over the steps first..last-1 of total, [n] each.

    A ramp (start, end), in fractions of the run, raises a weight linearly from 0. The geometric
    prior's log-odds of one more object go linearly to their value in the model, and the share of
    all counts alike in q(n) from 1 to 0. Multipliers that set themselves are no schedule's.
    """
    progress = np.arange(first, last) / total
    weights = ramped(run.constraints if run.rule is None else (), progress)
    log_odds, until = run.model.config.presence_prior, run.train.presence_prior_until
    if until:
        left = np.clip(1 - progress / until, 0, 1)
        log_odds = log_odds + left * (run.train.presence_prior_start - log_odds)
    log_odds = np.broadcast_to(np.float32(log_odds), progress.shape)
    mix = count_mix(run.train.count_mix_until, progress)
    prior_weights = {
        name: np.full(progress.shape, weight, np.float32)
        for name, weight in run.prior_weights.items()
    }
    return asr_jax.Schedule(weights, log_odds, prior_weights or None, mix)
