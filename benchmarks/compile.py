"""Compiles the programs of a run for accelerators that need not be here, and says what they are.

    python -m benchmarks.compile --target=v5e:16x16 --config=configs/mnist13.py
    python -m benchmarks.compile --target=h100,a100 --config=configs/mnist3.py --out=found.json
    python -m benchmarks.compile --target=v5e:4x4 --config=configs/mnist3.py \
        --only=training --config.train.batch_size=1024

The compilers come with `pip install -c constraints.txt -e '.[tpu]'`, or `'.[cuda]'`. Compiling
tells that a program is accepted, what it needs and what it consists of. It measures no time: the
bounds are what the chip's data sheet says that it cannot be faster than.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from ml_collections import config_flags

import asr_jax
from asr_jax import evaluation, generation, parallel
from benchmarks import chips, program
from benchmarks.report import table
from data_gen.paths import output
from experiments.run import steps
from experiments.run.from_config import Run, from_config
from experiments.run.main import main
from experiments.run.workdir import write_json

CONFIG = config_flags.DEFINE_config_file("config", None, "As of an experiment.", lock_config=True)
TARGET = flags.DEFINE_list("target", None, "Slices of TPUs, v5e:16x16, or cards, h100, h100:8.")
ONLY = flags.DEFINE_string("only", "", "Programs whose name begins so; all if empty.")
OUT = flags.DEFINE_string("out", None, "A JSON file, written after each program.")
SCENES = 20_000  # where a file of one's own says how many there are
ROWS = 250  # images that are evaluated or sampled at a time
MIB = 2**20


def compile_all(_) -> None:
    jax.config.update("jax_platforms", "cpu")  # what is compiled for is never started
    out = OUT.value and output(OUT.value, "--out", (".json",))
    run, result = from_config(CONFIG.value), []
    for name in TARGET.value:
        chip, devices = chips.target(name)
        batch = -(-run.train.batch_size // len(devices)) * len(devices)
        of_all = {"target": name, "chips": len(devices), "config": run.name, "batch": batch}
        for label, lower in programs(run, batch, devices).items():
            if label.startswith(ONLY.value):
                result.append(of_all | {"program": label} | attempt(lower, chip, label, devices))
                if out:
                    write_json(out, {"jax": jax.__version__, "programs": result})
    print(table([shown(row) for row in result]))


def attempt(lower: Callable, chip: chips.Chip, label: str, devices: list) -> dict:
    """Compiles one program: what it consists of, or the compiler's words."""
    start = time.perf_counter()
    try:
        lowered = lower()
        traced = time.perf_counter()
        compiled = lowered.compile()
    except (jax.errors.JaxRuntimeError, ValueError, NotImplementedError) as error:
        return {"refused": str(error)}
    seconds = {"trace_s": traced - start, "compile_s": time.perf_counter() - traced}
    found = program.facts(compiled, steps=label.startswith("training"))
    needed = found["arguments"] + found["outputs"] + found["temporaries"]
    bounds = chips.bounds(
        chip, len(devices), found["flops"], found["moved"], found["collective_bytes"]
    )
    return seconds | found | {"share_of_memory": needed / chip.memory, "bounds_ms": bounds}


def programs(
    run: Run, batch: int, devices: Sequence[jax.Device]
) -> dict[str, Callable[[], jax.stages.Lowered]]:
    """name -> a function that traces it: what a run dispatches on these devices.

    Training is of one dispatch over all devices; every process evaluates and samples on its own.
    """
    host = [device for device in devices if device.process_index == 0]
    if len(devices) == 1:
        ways = {"training": ("auto", "replicated")}
    else:
        ways = {
            "training": ("shard_map", "replicated"),
            "training, sharded": ("shard_map", "sharded"),
        }
        if len(host) == len(devices):  # what `auto` takes there
            ways["training, pmap"] = ("pmap", "replicated")
    found = {
        name: functools.partial(training, run, batch, devices, *way) for name, way in ways.items()
    }
    found["evaluation"] = functools.partial(evaluating, run, host)
    found["sampling"] = functools.partial(sampling, run, host)
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
        (scenes, *run.data.canvas),
        jnp.uint8,
        sharding=divided if placement == "sharded" else everywhere,
    )
    indices = np.zeros((number, batch), np.int32)
    schedule = steps.schedule(run, 0, number, total)
    return mapped.lower(on(everywhere, state), images, indices, schedule)


def evaluating(run: Run, host: Sequence[jax.Device]) -> jax.stages.Lowered:
    """One batch of held-out scenes, with all that is measured at the end of a run."""
    everywhere, divided = places(host)
    known = run.data.scenes is not None
    rows = functools.partial(array, -(-ROWS // len(host)) * len(host), divided)
    return evaluation._evaluate.lower(
        on(everywhere, jax.eval_shape(run.model.init, steps.key(0))),
        {},
        rows((2,), jnp.uint32),
        rows(run.data.canvas, jnp.uint8),
        rows((), jnp.int32) if known else None,
        rows((run.model.config.max_objects, 4), jnp.float32) if known else None,
        model=asr_jax.bound.exact(run.model),
        constraints=run.reported,
        iwae_samples=run.evaluate.iwae_samples,
        refine=0,
        refine_constraints=(),
    )


def sampling(run: Run, host: Sequence[jax.Device]) -> jax.stages.Lowered:
    """One batch of samples of the prior."""
    everywhere, divided = places(host)
    params = on(everywhere, jax.eval_shape(run.model.init, steps.key(0)))
    keys = array(-(-ROWS // len(host)) * len(host), divided, (2,), jnp.uint32)
    return generation._generate.lower(params, keys, model=run.model, constraints=())


def places(devices: Sequence[jax.Device]) -> tuple[NamedSharding, NamedSharding]:
    """Where arrays lie that every device has, and those whose rows are divided over them."""
    mesh = Mesh(np.array(devices), (parallel.AXIS,))
    return tuple(NamedSharding(mesh, PartitionSpec(*axes)) for axes in ((), (parallel.AXIS,)))


def array(number: int, place: NamedSharding, shape: Sequence[int], dtype) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((number, *shape), dtype, sharding=place)


def on(place: NamedSharding, tree):
    """Shapes and dtypes, with a place."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), tree)


def shown(row: dict) -> dict[str, str | float]:
    """A row of the JSON as a line of the table."""
    first = {"target": row["target"], "program": row["program"], "batch": row["batch"]}
    if "refused" in row:
        return first | {"refused": row["refused"].strip().splitlines()[0]}
    number = sum(row["collectives"].values())
    most = max(row["bounds_ms"], key=row["bounds_ms"].get)
    return first | {
        "compile s": row["compile_s"],
        "arguments MiB": row["arguments"] / MIB,
        "temporaries MiB": row["temporaries"] / MIB,
        "of memory": f"{row['share_of_memory']:.2%}",
        "kernels": row["kernels"],
        "fusions": row["fusions"],
        "collectives": number,
        "their MB": row["collective_bytes"] / 1e6,
        "GFLOP": row["flops"] / 1e9,
        "MB moved": row["moved"] / 1e6,
        "at least ms": row["bounds_ms"][most],
        "by": most,
    }


flags.mark_flags_as_required(["config", "target"])
if __name__ == "__main__":
    main(compile_all)
