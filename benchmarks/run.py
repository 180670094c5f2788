"""How fast asr_jax is on this machine: one table, and the same as JSON.

    python -m benchmarks.run                                  # everything that fits the machine
    python -m benchmarks.run --only=training --out=here.json
    python -m benchmarks.run --only=accelerator               # what is asked of a GPU, in one call
    python -m benchmarks.run --quick                          # a look at whether it works

Close what else runs: figures are medians, and those that are compared were timed in turn.
"""

from __future__ import annotations

import sys

import jax
from absl import app, flags
from tqdm import tqdm

from benchmarks import accelerator, inference, timing, training
from data_gen.paths import output
from experiments.run.printed import columns
from experiments.run.workdir import write_json

SECTIONS = {"training": training, "inference": inference, "accelerator": accelerator}
ONLY = flags.DEFINE_list("only", [], f"Sections: {', '.join(SECTIONS)}; all that fit if empty.")
QUICK = flags.DEFINE_bool("quick", False, "Few and short cases; the figures mean nothing.")
OUT = flags.DEFINE_string("out", "benchmarks.json", "The JSON file; it is written after each case.")


def main(_) -> None:
    unknown = [name for name in ONLY.value if name not in SECTIONS]
    if unknown:
        sys.exit(f"error: --only={unknown[0]}: the sections are {', '.join(SECTIONS)}")
    try:
        out = output(OUT.value, "--out", (".json",))
    except ValueError as error:
        sys.exit(f"error: {error}")
    on_cpu = jax.default_backend() == "cpu"
    chosen = ONLY.value or [s for s in SECTIONS if s != "accelerator" or not on_cpu or QUICK.value]
    cases = {section: SECTIONS[section].cases(QUICK.value) for section in chosen}
    todo = [(section, case) for section in chosen for case in cases[section].items()]
    result = {"machine": timing.machine(), "rows": []}
    for section, (name, case) in (bar := tqdm(todo, unit=" cases", file=sys.stderr)):
        bar.set_description(f"{section}: {name}")
        try:
            figures = SECTIONS[section].measure(case, QUICK.value)
        except jax.errors.JaxRuntimeError as error:  # a card's memory is too small for a batch
            figures = {"error": str(error).splitlines()[0]}
        result["rows"].append({"section": section, "case": name} | figures)
        write_json(out, result)
    print(table(result))
    print(f"Wrote {out}")


def table(result: dict) -> str:
    """All rows as text, a block a section: a line for each case, a column for each figure."""
    lines = [", ".join(f"{name} {value}" for name, value in result["machine"].items())]
    blocks = {}
    for row in map(dict, result["rows"]):
        blocks.setdefault(row.pop("section"), {})[row.pop("case")] = row
    for section, rows in blocks.items():
        lines += ["", f"{section}: {SECTIONS[section].__doc__.splitlines()[0]}", columns(rows)]
    return "\n".join(lines)


if __name__ == "__main__":
    app.run(main)
