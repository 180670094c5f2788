"""The training loop that all experiments share: dispatch, log, save, and nothing else."""

from __future__ import annotations

import contextlib
import functools
import math
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

import asr_jax
from asr_jax import parallel, processes
from experiments import build, order, resume
from experiments.workdir import MetricsLog, write_json


class Trained(NamedTuple):
    params: asr_jax.model.Params
    steps: int
    seconds: float  # of training, compilation included, over all processes of the run
    compile_seconds: float | None  # of this process's first dispatch, steps included; None: none
    # After it, and of all seeds at once if they are side by side; None: fewer than two dispatches.
    steps_per_second: float | None
    history: list[dict]  # the lines of metrics.jsonl


class Stopped(Exception):
    """A signal ended the run early; its state is saved."""


def total_steps(config: ConfigDict, images: int) -> int:
    """Steps of a run: its epochs, rounded up to whole dispatches, which all share one program.

    Raises:
      ValueError: a setting below 1, a batch that the devices cannot share, or more steps than an
        int32 counts.
    """
    train = config.train
    for name in ("batch_size", "epochs", "log_every", "checkpoint_every"):
        if train[name] < 1:
            raise ValueError(f"train.{name} must be at least 1, got {train[name]}")
    if train.side_by_side not in ("auto", "yes", "no"):
        raise ValueError(
            f"train.side_by_side must be one of auto, yes, no, got {train.side_by_side!r}"
        )
    parallel.check(train.parallel, train.batch_size, jax.device_count(), config.data.placement)
    steps = -(-train.epochs * images // train.batch_size)
    per_dispatch = min(train.log_every, steps)
    steps = -(-steps // per_dispatch) * per_dispatch
    if steps >= 2**31:
        raise ValueError(
            f"train.epochs={train.epochs} of {images} scenes, in dispatches of train.log_every="
            f"{train.log_every}, are {steps} steps, and must be below 2**31: lower "
            "config.train.epochs"
        )
    return steps


def groups(config: ConfigDict, seeds: list[int]) -> list[list[int]]:
    """Which seeds are trained side by side: all on an accelerator, on CPUs each on its own.

    Side by side, matrix products become batched ones, which accelerators do almost for free. A CPU
    takes as long (three seeds of mnist13, 650 steps, one core: 170 s either way), and in turn the
    first result comes sooner.
    """
    together = config.train.side_by_side
    if together == "auto":
        together = "no" if jax.default_backend() == "cpu" else "yes"
    return [seeds] if together == "yes" and seeds else [[seed] for seed in seeds]


def train(
    config: ConfigDict,
    model: asr_jax.Model,
    constraints: tuple[asr_jax.Constraint, ...],
    optimizer: asr_jax.OptimizerConfig,
    total: int,
    images: np.ndarray,
    workdirs: Mapping[int, Path],
) -> dict[int, Trained | FloatingPointError]:
    """Trains from the latest checkpoints in the workdirs, or from the start.

    Args:
      config: the run.
      model, constraints, optimizer: what is trained, and how.
      total: steps of the whole run, from `total_steps`.
      images: [N, H, W] uint8.
      workdirs: seed -> folder that gets checkpoints, metrics.jsonl and TensorBoard events.
        Several seeds are trained side by side, in one program.

    Returns:
      What became of each seed: an error where a term of the objective was not finite. Its last
      good state is saved then, the error is written to failed.json, and the other seeds go on.

    Raises:
      CheckpointError: a checkpoint of another model, or all that there are are damaged.
      OSError: the disk is full, or does not let us write. What was saved before is as it was.
      Stopped: SIGTERM or SIGINT came, and everything is saved. A second one ends at once.
    """
    settings, seeds = config.train, list(workdirs)
    primary, devices = processes.is_primary(), jax.device_count()
    side_by_side = len(seeds) > 1
    tx = asr_jax.optimizer(optimizer, total)
    per_dispatch = min(settings.log_every, total)
    save_every = math.ceil(settings.checkpoint_every / per_dispatch) * per_dispatch
    failed: dict[int, FloatingPointError] = {}

    def of(seed, tree):  # the seed's share of a tree of arrays
        if not side_by_side:
            return tree
        return jax.tree.map(lambda x: x[seeds.index(seed)], tree)

    with contextlib.ExitStack() as stack:
        closing = lambda thing: stack.enter_context(contextlib.closing(thing))  # noqa: E731
        # Closing checkpoints waits for what is still being written.
        checkpoints = {
            seed: closing(asr_jax.Checkpoints(workdirs[seed] / "checkpoints"))
            for seed in seeds
            if primary
        }
        fresh = [asr_jax.init_state(model, tx, seed) for seed in seeds]
        step, before, states = resume.last_state(list(checkpoints.values()), fresh)
        state = jax.tree.map(lambda *x: jnp.stack(x), *states) if side_by_side else states[0]
        state = parallel.replicate(state)
        sharded = config.data.placement == "sharded"
        images_on_device = (parallel.shard if sharded else parallel.replicate)(images)
        on_each = images_on_device.addressable_shards[0].data
        print(
            f"{len(on_each)} scenes, {on_each.nbytes / 2**20:.1f} MiB, on each of {devices} "
            f"{jax.devices()[0].platform.upper()} devices ({config.data.placement})"
        )
        steps = asr_jax.train_seeds if side_by_side else asr_jax.train_steps
        run = parallel.data_parallel(
            functools.partial(steps, model=model, constraints=constraints, tx=tx),
            kind=settings.parallel,
            placement=config.data.placement,
        )
        logs = {
            seed: closing(MetricsLog(workdirs[seed] if primary else None, step)) for seed in seeds
        }
        name = workdirs[seeds[0]].name if not side_by_side else f"{len(seeds)} seeds"
        bar = closing(tqdm(total=total, initial=step, unit=" steps", desc=name, file=sys.stdout))
        signals = stack.enter_context(caught(signal.SIGTERM, signal.SIGINT))
        started, times = time.monotonic(), []

        def save(seed, step, state, loss):
            if not primary:
                return
            seconds = before + time.monotonic() - started
            description = {"config": config.to_json(), "seconds": seconds}
            checkpoints[seed].save(step, of(seed, state), description, loss)

        while step < total and len(failed) < len(seeds):
            first, step = step, step + per_dispatch
            indices = order.indices(config, len(on_each), seeds, first, step)
            schedule = build.schedule(config, first, step, total)
            good = state
            state, values = run(good, images_on_device, indices, schedule)
            values = jax.device_get(values)
            stopping = processes.any_of(bool(signals))
            times.append(time.monotonic() - started)
            rows = []
            for seed in (seed for seed in seeds if seed not in failed):
                broken = first_non_finite(of(seed, values))
                if broken:
                    failed[seed] = FloatingPointError(
                        f"{broken[1]} is not finite at step {first + broken[0] + 1}; the state "
                        f"after step {first} is saved in {workdirs[seed] / 'checkpoints'}: start "
                        "again in another --workdir with a lower config.optimizer.learning_rate "
                        "or config.optimizer.clip"
                    )
                    if primary:
                        write_json(workdirs[seed] / "failed.json", {"error": str(failed[seed])})
                    save(seed, first, good, np.inf)
                    continue
                rows.append(logs[seed].write(step, of(seed, values)))
                if step % save_every == 0 or step == total or stopping:
                    recent = logs[seed].rows[-save_every // per_dispatch :]
                    save(seed, step, state, float(np.mean([row["loss"] for row in recent])))
            shown = ("loss", "nelbo", "penalty")
            shown = {name: f"{np.mean([row[name] for row in rows]):.1f}" for name in shown if rows}
            bar.set_postfix(shown, refresh=False)
            bar.update(per_dispatch)
            if stopping and step < total:
                name = signals[0] if signals else "a signal to another process"
                raise Stopped(f"stopped by {name} at step {step} of {total}, which is saved")

    first, last = (times[0], times[-1]) if times else (None, 0.0)
    rate = (len(times) - 1) * per_dispatch / (last - first) if len(times) > 1 else None
    params = jax.device_get(state.params)
    return {
        seed: failed.get(seed)
        or Trained(of(seed, params), total, before + last, first, rate, logs[seed].rows)
        for seed in seeds
    }


@contextlib.contextmanager
def caught(*numbers: signal.Signals) -> Iterator[list[str]]:
    """A list that gets the name of the first of these signals; after it, they do what they did."""
    names = []
    before = {number: signal.getsignal(number) for number in numbers}

    def restore():
        for number, handler in before.items():
            signal.signal(number, handler)

    def note(number, _):
        names.append(signal.Signals(number).name)
        restore()  # who asks twice does not want to wait

    for number in numbers:
        signal.signal(number, note)
    try:
        yield names
    finally:
        restore()


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
