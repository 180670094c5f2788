"""The training loop that all experiments share: dispatch, log, save, and nothing else."""

from __future__ import annotations

import contextlib
import functools
import math
import sys
import time
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

import asr_jax
from asr_jax import parallel
from experiments import build
from experiments.workdir import MetricsLog


class Trained(NamedTuple):
    params: asr_jax.model.Params
    steps: int
    seconds: float  # of training, compilation included, over all processes of the run
    compile_seconds: float | None  # of this process's first dispatch, steps included; None: none
    steps_per_second: float | None  # after it; None where less than two dispatches were trained
    history: list[dict]  # the lines of metrics.jsonl


def total_steps(config: ConfigDict, images: int) -> int:
    """Steps of a run: its epochs, rounded up to whole dispatches, which all share one program.

    Raises:
      ValueError: a setting below 1, or a batch that the devices cannot share.
    """
    train = config.train
    for name in ("batch_size", "epochs", "log_every", "checkpoint_every"):
        if train[name] < 1:
            raise ValueError(f"train.{name} must be at least 1, got {train[name]}")
    parallel.check(train.parallel, train.batch_size, jax.device_count())
    steps = math.ceil(train.epochs * images / train.batch_size)
    per_dispatch = min(train.log_every, steps)
    return math.ceil(steps / per_dispatch) * per_dispatch


def batches(images: int, batch_size: int, seed: int, first: int, last: int) -> np.ndarray:
    """Which images the steps first..last-1 see, [n, batch_size].

    One endless stream of permutations, each a function of seed and epoch alone, so that a run
    that is resumed sees what it would have seen.
    """
    positions = np.arange(first * batch_size, last * batch_size)
    epochs = positions // images
    order = np.concatenate(
        [np.random.default_rng([seed, e]).permutation(images) for e in np.unique(epochs)]
    )
    return order[positions - epochs[0] * images].reshape(last - first, batch_size)


def train(
    config: ConfigDict,
    model: asr_jax.Model,
    constraints: tuple[asr_jax.Constraint, ...],
    optimizer: asr_jax.OptimizerConfig,
    total: int,
    images: np.ndarray,
    workdir: Path,
) -> Trained:
    """Trains from the latest checkpoint in the workdir, or from the start.

    Args:
      config: the run.
      model, constraints, optimizer: what is trained, and how.
      total: steps of the whole run, from `total_steps`.
      images: [N, H, W] uint8.
      workdir: gets checkpoints, metrics.jsonl and TensorBoard events.

    Raises:
      FloatingPointError: a term of the objective is not finite. The last good state is saved.
      CheckpointError: a checkpoint of another model.
    """
    settings = config.train
    tx = asr_jax.optimizer(optimizer, total)
    state = asr_jax.init_state(model, tx, config.seed)
    checkpoints = asr_jax.Checkpoints(workdir / "checkpoints")
    step, before = checkpoints.latest_step() or 0, 0.0
    if step:
        state = checkpoints.restore(step, state)
        before = checkpoints.description(step)["seconds"]
    state, images_on_device = parallel.replicate((state, images))
    run = parallel.data_parallel(
        functools.partial(asr_jax.train_steps, model=model, constraints=constraints, tx=tx),
        kind=settings.parallel,
    )
    per_dispatch = min(settings.log_every, total)
    save_every = math.ceil(settings.checkpoint_every / per_dispatch) * per_dispatch
    started, times = time.monotonic(), []

    def save(step, state, loss):
        seconds = before + time.monotonic() - started
        checkpoints.save(step, state, {"config": config.to_json(), "seconds": seconds}, loss)

    with (
        contextlib.closing(checkpoints),  # waits for what is still being written
        contextlib.closing(MetricsLog(workdir, step)) as log,
        tqdm(total=total, initial=step, unit=" steps", desc=workdir.name, file=sys.stdout) as bar,
    ):
        while step < total:
            first, step = step, step + per_dispatch
            indices = batches(len(images), settings.batch_size, config.seed, first, step)
            schedule = build.schedule(config, first, step, total)
            good = state
            state, values = run(good, images_on_device, indices, schedule)
            values = jax.device_get(values)
            broken = first_non_finite(values)
            if broken:
                save(first, good, np.inf)
                raise FloatingPointError(
                    f"{broken[1]} is not finite at step {first + broken[0] + 1}; the state after "
                    f"step {first} is saved in {workdir / 'checkpoints'}: start again in another "
                    "--workdir with a lower config.optimizer.learning_rate or config.optimizer.clip"
                )
            times.append(time.monotonic() - started)
            row = log.write(step, values)
            shown = {name: f"{row[name]:.1f}" for name in ("loss", "nelbo", "penalty")}
            bar.set_postfix(shown, refresh=False)
            bar.update(per_dispatch)
            if step % save_every == 0 or step == total:
                recent = [r["loss"] for r in log.rows[-save_every // per_dispatch :]]
                save(step, state, float(np.mean(recent)))

    params = jax.device_get(state.params)
    first, last = (times[0], times[-1]) if times else (None, 0.0)
    rate = (len(times) - 1) * per_dispatch / (last - first) if len(times) > 1 else None
    return Trained(params, total, before + last, first, rate, log.rows)


def first_non_finite(values: dict[str, np.ndarray]) -> tuple[int, str] | None:
    """The first step at which a metric [n] is not finite, and the metric that says most."""
    bad = {name: np.flatnonzero(~np.isfinite(value)) for name, value in values.items()}
    bad = {name: steps[0] for name, steps in bad.items() if len(steps)}
    if not bad:
        return None
    step = min(bad.values())
    # Sums and the gradient break with the term that broke: name the term.
    late = ("penalty", "nelbo", "loss", "gradient_norm")
    names = [name for name in bad if bad[name] == step]
    return int(step), min(names, key=lambda name: late.index(name) if name in late else -1)
