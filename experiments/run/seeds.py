"""The seeds of a run: one after the other, or side by side in one program."""

from __future__ import annotations

import contextlib
import functools
import signal
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp

import asr_jax
from asr_jax import parallel, processes
from experiments.run.data import Data
from experiments.run.evaluation import Look
from experiments.run.from_config import Run
from experiments.run.main import Stopped
from experiments.run.train import Done, Trained, Work, train

SIGNALS = ("SIGTERM", "SIGINT", "SIGHUP")  # the last is a terminal that went away


def train_seeds(
    run: Run, data: Data, total: int, folders: Mapping[int, Path]
) -> Iterator[tuple[int, Trained | FloatingPointError]]:
    """Trains every seed, and yields what became of each: an error where a loss was not finite.

    Args:
      run: what is trained, and how.
      data: its scenes.
      total: steps of the whole run.
      folders: seed -> its folder, of those that are still to do.

    Raises:
      CheckpointError, OSError: as `train`.
      Stopped: one of SIGNALS came, and everything is saved. A second one ends at once.
    """
    sharded = run.data.placement == "sharded"
    images = (parallel.shard if sharded else parallel.replicate)(data.train.image)
    on_each = images.addressable_shards[0].data
    print(
        f"{len(on_each)} scenes, {on_each.nbytes / 2**20:.1f} MiB, on each of "
        f"{jax.device_count()} {jax.devices()[0].platform.upper()} devices ({run.data.placement})"
    )
    tx = asr_jax.optimizer(run.optimizer, total)
    for group in groups(run, list(folders)):
        steps = asr_jax.train_seeds if len(group) > 1 else asr_jax.train_steps
        program = parallel.data_parallel(
            functools.partial(steps, model=run.model, constraints=run.constraints, tx=tx),
            kind=run.train.parallel,
            placement=run.data.placement,
        )
        dispatch = functools.partial(_dispatch, program, images, len(group) > 1)
        loops = {
            seed: train(
                run, seed, total, len(on_each), tx, folders[seed], Look(run, data.test, seed)
            )
            for seed in group
        }
        yield from _drive(loops, dispatch).items()


def groups(run: Run, seeds: list[int]) -> list[list[int]]:
    """Which seeds are trained side by side: all on an accelerator, on CPUs each on its own.

    Side by side, matrix products become batched ones, which accelerators do almost for free. A CPU
    takes as long (three seeds of mnist13, 650 steps, one core: 170 s either way), and in turn the
    first result comes sooner.
    """
    together = run.train.side_by_side
    if together == "auto":
        together = "no" if jax.default_backend() == "cpu" else "yes"
    return [seeds] if together == "yes" and seeds else [[seed] for seed in seeds]


def _drive(loops: dict[int, Iterator], dispatch) -> dict[int, Trained | FloatingPointError]:
    """Runs loops in step until each has returned, or has failed."""
    results, work, stopped = {}, {}, []

    def go_on(seed: int, done: Done | None) -> None:
        try:
            work[seed] = loops[seed].send(done)
            return
        except StopIteration as end:
            results[seed] = end.value
        except FloatingPointError as error:  # the others go on
            results[seed] = error
        except Stopped as error:  # once the others have saved, too
            stopped.append(error)
        work.pop(seed, None)

    with contextlib.ExitStack() as stack, caught(*SIGNALS) as names:
        for seed, loop in loops.items():
            stack.callback(loop.close)
            go_on(seed, None)
        while work:
            seeds = list(work)
            done = dispatch([work[seed] for seed in seeds])
            stop = processes.any_of(bool(names)) and (names or ["a signal to another process"])[0]
            for seed, (state, metrics) in zip(seeds, done, strict=True):
                go_on(seed, Done(state, metrics, stop or ""))
        if stopped:
            raise stopped[0]
    return {seed: results[seed] for seed in loops}


def _dispatch(
    program, images: jax.Array, side_by_side: bool, work: Sequence[Work]
) -> list[tuple[asr_jax.TrainState, dict]]:
    """The program on what one loop asks for, or several: state and metrics of each."""
    if not side_by_side:
        state, metrics = program(work[0].state, images, work[0].indices, work[0].schedule)
        return [(state, jax.device_get(metrics))]
    stack = lambda *leaves: jnp.stack(leaves)  # noqa: E731
    state, metrics = program(
        jax.tree.map(stack, *(one.state for one in work)),
        images,
        jnp.stack([one.indices for one in work], axis=-1),  # [n, B, S]
        jax.tree.map(stack, *(one.schedule for one in work)),
    )
    metrics = jax.device_get(metrics)
    return [jax.tree.map(lambda x, i=i: x[i], (state, metrics)) for i in range(len(work))]


@contextlib.contextmanager
def caught(*names: str) -> Iterator[list[str]]:
    """A list that gets the name of the first of these signals; after it, they do what they did.

    One that the process was told to ignore stays ignored, as `nohup` does with SIGHUP.
    """
    found = []
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    before = {n: handler for n, handler in before.items() if handler != signal.SIG_IGN}

    def restore():
        for number, handler in before.items():
            signal.signal(number, handler)

    def note(number, _):
        found.append(signal.Signals(number).name)
        restore()  # who asks twice does not want to wait

    for number in before:
        signal.signal(number, note)
    try:
        yield found
    finally:
        restore()
