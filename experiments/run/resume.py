"""Where a run goes on: the last state that is intact."""

from __future__ import annotations

import warnings

import asr_jax
from asr_jax import processes
from asr_jax.checkpoint import CheckpointError


def last_state(
    checkpoints: asr_jax.Checkpoints | None, fresh: asr_jax.TrainState
) -> tuple[int, float, asr_jax.TrainState]:
    """The step that a run goes on from, the seconds that it took to get there, its state.

    Args:
      checkpoints: on process 0; elsewhere None, for nothing is read there.
      fresh: the state before the first step.

    Raises:
      CheckpointError: a checkpoint of another model, or all that there are are damaged.
    """

    def last() -> tuple[int, float]:
        step = last_good(checkpoints)
        return step, checkpoints.description(step)["seconds"] if step else 0.0

    step, seconds = processes.on_primary(last)
    if not step:
        return 0, 0.0, fresh
    return (
        step,
        seconds,
        processes.arrays_of_primary(lambda: checkpoints.restore(step, fresh), fresh),
    )


def last_good(checkpoints: asr_jax.Checkpoints) -> int:
    """The last step with an intact checkpoint; 0: there is none yet.

    What is damaged after it is renamed, with a warning, so that the run can save that step again.

    Raises:
      CheckpointError: no step is left because of the damaged ones. Nothing is renamed then.
    """
    what = {step: checkpoints.damage(step) for step in checkpoints.steps()}
    damaged = {step: damage for step, damage in what.items() if damage}
    step = max(what.keys() - damaged.keys(), default=0)
    if damaged and not step:
        last, damage = max(damaged.items())
        raise CheckpointError(
            f"{checkpoints.directory} holds no checkpoint to go on from: that of step {last} is "
            f"damaged ({damage}): put back a copy of that folder, or remove it to train from the "
            "start"
        )
    for last, damage in damaged.items():
        aside = checkpoints.set_aside(last).name
        warnings.warn(
            f"the checkpoint of step {last} in {checkpoints.directory} is damaged ({damage}): it "
            f"is called {aside} now, and the run goes on from step {step}",
            stacklevel=2,
        )
    return step
