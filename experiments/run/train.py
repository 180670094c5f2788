"""The training loop of one seed: dispatch, check, look, log, save, and nothing else.

It is a generator: it asks for steps (`Work`), and whoever runs it (`seeds.py`) sends back what the
devices made of them. So several seeds can share one program, and this loop knows of one.
"""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import optax
from tqdm import tqdm

import asr_jax
from asr_jax import parallel, processes
from asr_jax.training import first_non_finite
from experiments.run import resume, steps
from experiments.run.from_config import Run
from experiments.run.main import Stopped
from experiments.run.workdir import MetricsLog, write_json


class Work(NamedTuple):
    """The next steps, for one dispatch."""

    state: asr_jax.TrainState
    indices: np.ndarray | jax.Array  # [n, B] which images each step sees
    schedule: asr_jax.Schedule  # [n]


class Done(NamedTuple):
    """What came of them."""

    state: asr_jax.TrainState
    metrics: dict[str, np.ndarray]  # [n] each
    stop: str  # why the run is to stop after this; empty: it is not


class Trained(NamedTuple):
    params: asr_jax.model.Params
    multipliers: asr_jax.constraints.Multipliers | None  # where they set themselves
    steps: int
    seconds: float  # of training, compilation included, over all processes of the run
    compile_seconds: float | None  # of this process's first dispatch, steps included; None: none
    # After it, and of all seeds at once if they are side by side; None: fewer than two dispatches.
    steps_per_second: float | None
    history: list[dict]  # the lines of metrics.jsonl


def train(
    run: Run,
    seed: int,
    total: int,
    images: int,
    tx: optax.GradientTransformation,
    folder: Path,
    look: Callable,
) -> Generator[Work, Done, Trained]:
    """Trains from the latest checkpoint in the folder, or from the start.

    Args:
      run: what is trained, and how.
      seed: one of its seeds.
      total: steps of the whole run.
      images: training images on each device.
      tx: the optimiser.
      folder: gets checkpoints, metrics.jsonl and TensorBoard events.
      look: parameters -> metrics of held-out scenes, and a figure; see `evaluation.Look`.

    Raises:
      FloatingPointError: a term of the objective was not finite. The last good state is saved, and
        the error is written to failed.json.
      CheckpointError: a checkpoint of another model, or all that there are are damaged.
      OSError: the disk is full, or does not let us write. What was saved before is as it was.
      Stopped: it was told to, and everything is saved.
    """
    primary = processes.is_primary()
    per_dispatch = min(run.train.log_every, total)
    save_every = math.ceil(run.train.checkpoint_every / per_dispatch) * per_dispatch
    look_every = math.ceil(run.evaluate.every / per_dispatch) * per_dispatch
    with contextlib.ExitStack() as stack:
        closing = lambda thing: stack.enter_context(contextlib.closing(thing))  # noqa: E731
        # Closing checkpoints waits for what is still being written.
        checkpoints = asr_jax.Checkpoints(folder / "checkpoints") if primary else None
        if checkpoints:
            closing(checkpoints)
        fresh = asr_jax.init_state(run.model, tx, steps.key(seed), run.rule)
        step, seconds_before, state = resume.last_state(checkpoints, fresh)
        state = parallel.replicate(state)
        log = closing(MetricsLog(folder if primary else None, step))
        bar = closing(
            tqdm(total=total, initial=step, unit=" steps", desc=folder.name, file=sys.stdout)
        )
        started, times = time.monotonic(), []

        def save(step: int, state: asr_jax.TrainState, loss: float) -> None:
            if checkpoints:
                seconds = seconds_before + time.monotonic() - started
                checkpoints.save(step, state, {"seconds": seconds}, loss)

        while step < total:
            first, step, good = step, step + per_dispatch, state
            indices = steps.indices(run, images, seed, first, step)
            state, metrics, stop = yield Work(
                good, indices, steps.schedule(run, first, step, total)
            )
            times.append(time.monotonic() - started)

            if broken := first_non_finite(metrics):
                error = FloatingPointError(
                    f"{broken[1]} is not finite at step {first + broken[0] + 1}; the state after "
                    f"step {first} is saved in {folder / 'checkpoints'}: start again in another "
                    "--workdir with a lower config.optimizer.learning_rate or "
                    "config.optimizer.clip"
                )
                if primary:
                    write_json(folder / "failed.json", {"error": str(error)})
                save(first, good, np.inf)
                raise error

            row = {name: float(np.mean(values)) for name, values in metrics.items()}
            due = look_every and (step % look_every == 0 or step == total)
            held_out, figure = look(state.params) if due else ({}, None)
            log.write(step, row | held_out, figure)
            if step % save_every == 0 or step == total or stop:
                recent = log.rows[-save_every // per_dispatch :]
                save(step, state, float(np.mean([row["loss"] for row in recent])))
            shown = {name: f"{row[name]:.1f}" for name in ("loss", "nelbo", "penalty")}
            bar.set_postfix(shown, refresh=False)
            bar.update(per_dispatch)
            if stop:
                raise Stopped(
                    f"stopped by {stop} at step {step} of {total}, which is saved: go on with "
                    "--resume"
                )

    first, last = (times[0], times[-1]) if times else (None, 0.0)
    rate = (len(times) - 1) * per_dispatch / (last - first) if len(times) > 1 else None
    params, multipliers = jax.device_get((state.params, state.multipliers))
    return Trained(params, multipliers, total, seconds_before + last, first, rate, log.rows)
