"""The programs that a run dispatches, traced for devices that need not be here."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import asr_jax
from asr_jax import evaluation, generation, parallel
from asr_jax.bound import exact
from benchmarks import chips, program
from experiments.run import steps
from experiments.run.from_config import Run

SCENES = 20_000  # where a file of one's own says how many there are
ROWS = 250  # images that a process evaluates or samples at a time


def attempt(lower: Callable, chip: chips.Chip, label: str, devices: list) -> dict:
    """Compiles one program: what it consists of, or the compiler's words."""
    start = time.perf_counter()
    try:
        lowered = lower()
        traced = time.perf_counter()
        compiled = lowered.compile(compiler_options=chip.options)
    except (jax.errors.JaxRuntimeError, ValueError, NotImplementedError) as error:
        return {"refused": str(error)}
    seconds = {"trace_s": traced - start, "compile_s": time.perf_counter() - traced}
    found = program.facts(lowered, compiled, steps=label.startswith("training"))
    needed = found["arguments"] + found["outputs"] + found["temporaries"]
    bounds = chips.bounds(
        chip, len(devices), found["flops"], found["moved"], found["collective_bytes"]
    )
    return seconds | found | {"share_of_memory": needed / chip.memory, "bounds_ms": bounds}


def programs(
    run: Run, batch: int, devices: Sequence[jax.Device]
) -> dict[str, Callable[[], jax.stages.Lowered]]:
    """name -> a function that traces it: what a run dispatches on these devices.

    Training is one dispatch of all devices, which evaluate and sample together as well.
    """
    ways = {"training": ("auto", "replicated")}
    if len(devices) > 1:
        ways = {
            "training": ("shard_map", "replicated"),
            "training, sharded": ("shard_map", "sharded"),
        }
        if hosts(devices) == 1:  # what `auto` takes there
            ways["training, pmap"] = ("pmap", "replicated")
    found = {
        name: functools.partial(training, run, batch, devices, *way) for name, way in ways.items()
    }
    found["evaluation"] = functools.partial(evaluating, run, devices)
    found["sampling"] = functools.partial(sampling, run, devices)
    return found


def training(
    run: Run, batch: int, devices: Sequence[jax.Device], kind: str, placement: str
) -> jax.stages.Lowered:
    """One dispatch of `train.log_every` steps, as `experiments.run.seeds` has it."""
    number, total = run.train.log_every, 10_000
    tx = asr_jax.optimizer(run.optimizer, total)
    static = dict(model=run.model, constraints=run.constraints, tx=tx, rule=run.rule)
    mapped = parallel.data_parallel(
        functools.partial(asr_jax.train_steps, **static),
        kind=kind,
        placement=placement,
        devices=devices,
    )
    everywhere, divided = places(devices)
    state = jax.eval_shape(
        lambda key: asr_jax.init_state(run.model, tx, key, run.rule), steps.key(0)
    )
    scenes = run.data.scenes.train_size if run.data.scenes else SCENES
    scenes = scenes // len(devices) * len(devices)
    images = jax.ShapeDtypeStruct(
        (scenes, *run.model.config.shape),
        jnp.uint8,
        sharding=divided if placement == "sharded" else everywhere,
    )
    indices = np.zeros((number, batch), np.int32)
    schedule = steps.schedule(run, 0, number, total)
    return mapped.lower(on(everywhere, state), images, indices, schedule)


def evaluating(run: Run, devices: Sequence[jax.Device]) -> jax.stages.Lowered:
    """One batch of held-out scenes, with all that is measured at the end of a run."""
    params, rows = of_images(run, devices)
    known = run.data.scenes is not None
    masked = known and run.data.scenes.masked
    return evaluation._evaluate.lower(
        params,
        {},
        rows((2,), jnp.uint32),
        rows(run.model.config.shape, jnp.uint8),
        rows((), jnp.int32) if known else None,
        rows((run.model.config.max_objects, 4), jnp.float32) if known else None,
        rows(run.data.canvas, jnp.uint8) if masked else None,
        model=exact(run.model),
        constraints=run.reported,
        iwae_samples=run.evaluate.iwae_samples,
        refine=0,
        refine_constraints=(),
        true_objects=max(run.data.scenes.counts) if masked else 0,
    )


def sampling(run: Run, devices: Sequence[jax.Device]) -> jax.stages.Lowered:
    """One batch of samples of the prior."""
    params, rows = of_images(run, devices)
    keys = rows((2,), jnp.uint32)
    return generation._generate.lower(params, keys, model=run.model, constraints=())


def of_images(run: Run, devices: Sequence[jax.Device]) -> tuple[Any, Callable]:
    """Parameters, and a function of shape and dtype to arrays of a batch of images."""
    everywhere, divided = places(devices)
    number = -(-ROWS * hosts(devices) // len(devices)) * len(devices)

    def rows(shape, dtype):
        return jax.ShapeDtypeStruct((number, *shape), dtype, sharding=divided)

    return on(everywhere, jax.eval_shape(run.model.init, steps.key(0))), rows


def hosts(devices: Sequence[jax.Device]) -> int:
    return len({device.process_index for device in devices})


def places(devices: Sequence[jax.Device]) -> tuple[NamedSharding, NamedSharding]:
    """Where arrays lie that every device has, and those whose rows are divided over them."""
    mesh = Mesh(np.array(devices), (parallel.AXIS,))
    return tuple(NamedSharding(mesh, PartitionSpec(*axes)) for axes in ((), (parallel.AXIS,)))


def on(place: NamedSharding, tree):
    """Shapes and dtypes, with a place."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), tree)
