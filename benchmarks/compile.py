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

import jax
from absl import flags
from ml_collections import config_flags

from benchmarks import chips, programs
from data_gen.paths import output
from experiments.run import jax_settings
from experiments.run.from_config import from_config
from experiments.run.main import main
from experiments.run.printed import columns
from experiments.run.workdir import write_json

CONFIG = config_flags.DEFINE_config_file("config", None, "As of an experiment.", lock_config=True)
TARGET = flags.DEFINE_list("target", None, "Slices of TPUs, v5e:16x16, or cards, h100, h100:8.")
ONLY = flags.DEFINE_string("only", "", "Programs whose name begins so; all if empty.")
OUT = flags.DEFINE_string("out", None, "A JSON file, written after each program.")
MIB = 2**20


def compile_all(_) -> None:
    jax.config.update("jax_platforms", "cpu")  # what is compiled for is never started
    out = OUT.value and output(OUT.value, "--out", (".json",))
    run, rows = from_config(CONFIG.value), []
    precision = jax_settings.PRECISIONS.get(run.train.matmul_precision)
    jax.config.update("jax_default_matmul_precision", precision)
    targets = {name: chips.target(name) for name in TARGET.value}  # all, before any work
    for name, (chip, devices) in targets.items():
        batch = -(-run.train.batch_size // len(devices)) * len(devices)
        row = {"target": name, "chips": len(devices), "config": run.name, "batch": batch}
        for label, lower in programs.programs(run, batch, devices).items():
            if label.startswith(ONLY.value):
                found = programs.attempt(lower, chip, label, devices)
                rows.append(row | {"program": label} | found)
                if out:
                    write_json(out, {"jax": jax.__version__, "programs": rows})
    print(columns({f"{row['target']}, {row['program']}": shown(row) for row in rows}))
    print("Bounds are of data sheets, and no times: nothing ran.")


def shown(row: dict) -> dict[str, str | float]:
    """A row of the JSON as a line of the table."""
    if "refused" in row:
        return {"refused": row["refused"].strip().splitlines()[0][-80:]}
    most = max(row["bounds_ms"], key=row["bounds_ms"].get)
    return {
        "batch": row["batch"],
        "compile s": row["compile_s"],
        "arguments MiB": row["arguments"] / MIB,
        "temporaries MiB": row["temporaries"] / MIB,
        "of memory": f"{row['share_of_memory']:.2%}",
        "kernels": row["kernels"],
        "fusions": row["fusions"],
        "collectives": sum(row["collectives"].values()),
        "their MB": row["collective_bytes"] / 1e6,
        "GFLOP": row["flops"] / 1e9,
        "MB moved": row["moved"] / 1e6,
        "at least ms": row["bounds_ms"][most],
        "by": most,
    }


flags.mark_flags_as_required(["config", "target"])
if __name__ == "__main__":
    main(compile_all)
