"""How fast asr_jax is on this machine: one table, and the same as JSON.

    python -m benchmarks.run                                  # everything that fits the machine
    python -m benchmarks.run --only=training --out=here.json
    python -m benchmarks.run --only=accelerator               # what is asked of a GPU, in one call
    python -m benchmarks.run --quick                          # a look at whether it works

Each case is measured in a process of its own, so that its memory is its own. Close what else runs:
figures are medians, and those that are compared were timed in turn.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from absl import app, flags
from tqdm import tqdm

from benchmarks import accelerator, inference, report, timing, training
from experiments.run.workdir import write_json

SECTIONS = {
    "training": training,
    "inference": inference,
    "accelerator": accelerator,
}
ONLY = flags.DEFINE_list("only", [], f"Sections: {', '.join(SECTIONS)}; all that fit if empty.")
QUICK = flags.DEFINE_bool("quick", False, "Few and short cases; the figures mean nothing.")
OUT = flags.DEFINE_string("out", "benchmarks.json", "The JSON file; it is written after each case.")
CHILD = flags.DEFINE_string("child", "", "Internal: SECTION/CASE to measure in this process.")


def main(_) -> None:
    if CHILD.value:
        section, name = CHILD.value.split("/", 1)
        write_json(Path(OUT.value), child(section, name))
        return
    unknown = [name for name in ONLY.value if name not in SECTIONS]
    if unknown:
        sys.exit(f"error: --only={unknown[0]}: the sections are {', '.join(SECTIONS)}")
    out = Path(OUT.value)
    if not out.parent.is_dir():
        sys.exit(f"error: --out={out}: there is no folder {out.parent}: make it, or name another")
    result = {"machine": in_a_process("/", out), "rows": []}
    on_cpu = result["machine"]["platform"] == "cpu"
    chosen = ONLY.value or [s for s in SECTIONS if s != "accelerator" or not on_cpu or QUICK.value]
    todo = [(section, name) for section in chosen for name in SECTIONS[section].cases(QUICK.value)]
    for section, name in (bar := tqdm(todo, unit=" cases", file=sys.stderr)):
        bar.set_description(f"{section}: {name}")
        row = in_a_process(f"{section}/{name}", out)
        result["rows"].append({"section": section, "case": name} | row)
        write_json(out, result)
    print(table(result))
    print(f"Wrote {out}")


def child(section: str, name: str) -> dict:
    """The figures of one case, or the facts about the machine."""
    if not section:
        return timing.machine()
    module = SECTIONS[section]
    return module.measure(module.cases(QUICK.value)[name], QUICK.value)


def in_a_process(path: str, out: Path) -> dict:
    """As `child`, in a process of its own; what it raises becomes a row that says so."""
    section, name = path.split("/", 1)
    environment = dict(os.environ)
    if hasattr(SECTIONS.get(section), "environment"):
        module = SECTIONS[section]
        environment |= module.environment(module.cases(QUICK.value)[name])
    file = out.with_name(out.name + ".case")
    command = [sys.executable, "-m", "benchmarks.run", f"--child={path}", f"--out={file}"]
    command += ["--quick"] if QUICK.value else []
    done = subprocess.run(command, env=environment, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        if not section:
            sys.exit(f"error: JAX does not start: {done.stderr[-500:]}")
        return {"error": done.stderr.strip().splitlines()[-1]}
    row = json.loads(file.read_text())
    file.unlink()
    return row


def table(result: dict) -> str:
    """All rows as text, a block a section: a line for each case, a column for each figure."""
    lines = [", ".join(f"{name} {value}" for name, value in result["machine"].items())]
    for section in dict.fromkeys(row["section"] for row in result["rows"]):
        rows = [row for row in result["rows"] if row["section"] == section]
        rows = [{name: row[name] for name in row if name != "section"} for row in rows]
        lines += ["", f"{section}: {SECTIONS[section].__doc__.splitlines()[0]}", report.table(rows)]
    return "\n".join(lines)


if __name__ == "__main__":
    app.run(main)
