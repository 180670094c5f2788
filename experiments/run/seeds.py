"""The seeds of a run: one after the other, or side by side in one program."""

from __future__ import annotations

import contextlib
import functools
import signal
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

import asr_jax
from asr_jax import parallel, processes
from experiments.run.data import Data
from experiments.run.evaluation import Look
from experiments.run.from_config import Run
from experiments.run.main import Stopped
from experiments.run.steps import images_of
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
    images = (parallel.shard if sharded else parallel.replicate)(images_of(run, data.train))
    on_each = jax.tree.leaves(images)[0].addressable_shards[0].data
    print(
        f"{len(on_each)} scenes, {on_each.nbytes / 2**20:.1f} MiB, on each of "
        f"{jax.device_count()} {jax.devices()[0].platform.upper()} devices ({run.data.placement})"
    )
    tx = asr_jax.optimizer(run.optimizer, total)
    for group in groups(run, list(run.seeds)):
        todo = [seed for seed in group if seed in folders]
        if not todo:
            continue
        together = len(group) > 1
        steps = asr_jax.train_seeds if together else asr_jax.train_steps
        program = parallel.data_parallel(
            functools.partial(
                steps, model=run.model, constraints=run.constraints, tx=tx, rule=run.rule
            ),
            kind=run.train.parallel,
            placement=run.data.placement,
        )
        loops = {
            seed: train(
                run, seed, total, len(on_each), tx, folders[seed], Look(run, data.test, seed)
            )
            for seed in todo
        }
        with caught(*SIGNALS) as signals, contextlib.closing(Turns(loops)) as turns:
            while turns.work:
                works = list(turns.work.values())
                # A program for fewer seeds rounds otherwise: the last fills up those that ended.
                filled = works + works[-1:] * (len(group) - len(works))
                work = stacked(filled) if together else works[0]
                state, metrics = program(work.state, images, work.indices, work.schedule)
                done = state, jax.device_get(metrics)
                each = apart(done, len(works)) if together else [done]
                stop = processes.any_of(bool(signals))
                stop = (signals or ["a signal to another process"])[0] if stop else ""
                for seed, of_seed in zip(list(turns.work), each, strict=True):
                    turns.go_on(seed, Done(*of_seed, stop))
            if turns.stopped:
                raise turns.stopped
        yield from turns.results.items()


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


class Turns:
    """Loops that take turns: the work that each asks for, and what became of those that ended."""

    def __init__(self, loops: Mapping[int, Generator[Work, Done, Trained]]):
        self.work: dict[int, Work] = {}
        self.results: dict[int, Trained | FloatingPointError] = {}
        self.stopped: Stopped | None = None  # raised once all have saved
        self._loops = loops
        for seed in loops:
            self.go_on(seed, None)

    def go_on(self, seed: int, done: Done | None) -> None:
        """Lets a loop go on to its next work, or its end; None starts it."""
        self.work.pop(seed, None)
        try:
            self.work[seed] = self._loops[seed].send(done)
        except StopIteration as end:
            self.results[seed] = end.value
        except FloatingPointError as error:  # the others go on
            self.results[seed] = error
        except Stopped as stopped:
            self.stopped = stopped

    def close(self) -> None:
        """Lets the loops close what they hold."""
        with contextlib.ExitStack() as stack:
            for loop in self._loops.values():
                stack.callback(loop.close)


def stacked(works: Sequence[Work]) -> Work:
    """The work of S seeds as `asr_jax.train_seeds` wants it."""
    stack = lambda *leaves: jnp.stack(leaves)  # noqa: E731
    states, indices, schedules = zip(*works, strict=True)
    return Work(
        jax.tree.map(stack, *states),  # [S, ...]
        jnp.stack(indices, axis=-1),  # [n, B, S]
        jax.tree.map(stack, *schedules),  # [S, n]
    )


def apart(tree: Any, seeds: int) -> list[Any]:
    """Arrays [S, ...] -> a tree of each seed."""
    return [jax.tree.map(lambda x, i=i: x[i], tree) for i in range(seeds)]


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
