"""Where a run goes on: the last state that is intact."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import asr_jax
from asr_jax import processes
from asr_jax.checkpoint import CheckpointError


def last_state(
    checkpoints: Sequence[asr_jax.Checkpoints], fresh: list[asr_jax.TrainState]
) -> tuple[int, float, list[asr_jax.TrainState]]:
    """The step that all seeds go on from, the seconds that it took to get there, their states.

    Args:
      checkpoints: of every seed, on process 0; elsewhere none, for nothing is read there.
      fresh: the states of the seeds before the first step.

    Raises:
      CheckpointError: a checkpoint of another model, or all that there are are damaged.
    """

    def last() -> tuple[int, float]:
        step = last_good(checkpoints)
        return step, checkpoints[0].description(step)["seconds"] if step else 0.0

    def restored() -> list[asr_jax.TrainState]:
        pairs = zip(checkpoints, fresh, strict=True)
        return [saved.restore(step, like) for saved, like in pairs]

    step, seconds = processes.on_primary(last)
    return step, seconds, processes.arrays_of_primary(restored, fresh) if step else fresh


def last_good(checkpoints: Sequence[asr_jax.Checkpoints]) -> int:
    """The last step that all seeds have an intact checkpoint of; 0: one of them has none yet.

    Killed between two seeds' saves, the faster one still has the step before. What is damaged is
    renamed, with a warning, so that the run can save that step again.

    Raises:
      CheckpointError: no step is left because of the damaged ones. Nothing is renamed then.
    """
    damaged, intact = [], []
    for one in checkpoints:
        what = {step: one.damage(step) for step in one.steps()}
        damaged += [(one, step, damage) for step, damage in what.items() if damage]
        intact.append({step for step, damage in what.items() if not damage})
    step = max(set.intersection(*intact), default=0)
    if damaged and not step:
        one, last, damage = damaged[-1]
        raise CheckpointError(
            f"{one.directory} holds no checkpoint to go on from: that of step {last} is damaged "
            f"({damage}): put back a copy of that folder, or remove it to train from the start"
        )
    for one, last, damage in damaged:
        print(
            f"warning: the checkpoint of step {last} in {one.directory} is damaged ({damage}): "
            f"it is called {one.set_aside(last).name} now, and the run goes on from step {step}",
            file=sys.stderr,
        )
    return step
