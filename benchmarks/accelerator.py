"""What is asked of a GPU or TPU: large batches, seeds side by side, a profile.

python -m benchmarks.run --only=accelerator --out=accelerator.json
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import tempfile
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp

import asr_jax
from asr_jax import parallel
from benchmarks import timing
from benchmarks.cases import Case, training

COUNTED = Case("mnist13", model=(("max_objects", 3),))  # K=3, counts enumerated
BATCHES, TOP = (64, 128, 256, 512, 1024, 2048, 4096), 8


def cases(quick: bool) -> dict[str, Callable]:
    """name -> a function that measures."""
    if quick:
        return {"profile of a step": functools.partial(profile, steps=2)}
    found = {f"batch {batch}": functools.partial(images_per_second, batch) for batch in BATCHES}
    found["3 seeds against 1"] = seeds
    found["profile of a step"] = functools.partial(profile, steps=50)
    return found


def measure(call: Callable, quick: bool) -> dict[str, float]:
    return call()


def images_per_second(batch: int, steps: int = 50) -> dict[str, float]:
    """mnist13 with three steps, in one dispatch; an epoch is 60,000 images."""
    setting = training(dataclasses.replace(COUNTED, batch=batch), max(2_000, batch))
    arguments = (setting.state, setting.images, *setting.inputs(steps))
    rate = steps * batch / timing.seconds(setting.steps(), *arguments, repeats=3)
    return {"images/s": rate, "s an epoch": 60_000 / rate}


def seeds(steps: int = 50) -> dict[str, float]:
    """mnist3: three runs in one program against one; at 1 they cost as much as one."""
    setting = training(Case("mnist3"))
    states = jax.tree.map(lambda x: jnp.stack([x] * 3), setting.state)
    many = parallel.data_parallel(functools.partial(asr_jax.train_seeds, **setting.static))
    one, images = setting.steps(), setting.images
    calls = {
        "1": functools.partial(one, setting.state, images, *setting.inputs(steps)),
        "3": functools.partial(many, states, images, *setting.inputs(steps, seeds=3)),
    }
    times = timing.together(calls)
    return {"times the time of one": times["3"] / times["1"]}


def profile(steps: int) -> dict[str, float]:
    """The operations that a step of mnist3 spends most on, in milliseconds of all threads."""
    setting = training(Case("mnist3"))
    run, arguments = setting.steps(), (setting.state, setting.images, *setting.inputs(steps))
    jax.block_until_ready(run(*arguments))
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            jax.block_until_ready(run(*arguments))
        (file,) = Path(folder).glob("**/*.xplane.pb")
        data = jax.profiler.ProfileData.from_file(str(file))
    total = collections.Counter()
    for line in (line for plane in data.planes for line in plane.lines):
        if "Eigen" in line.name or line.name == "XLA Ops" or "Stream" in line.name:  # CPU, TPU, GPU
            for event in line.events:
                if "Execut" not in event.name:
                    total[event.name] += event.duration_ns / 1e6 / steps
    top = total.most_common(TOP)
    return {"all ms": sum(total.values())} | {f"{name} ms": ms for name, ms in top}
