"""The paper's two tables, and an ablation: runs what is missing, and writes RESULTS.md.

    python -m experiments.tables                       # every row, three seeds each
    python -m experiments.tables --only=mnist3         # one table; the page still shows all
    python -m experiments.tables --collect             # nothing is run: writes what there is

Started again it goes on where it was: a row that has its results is not run twice, and a run that
was stopped is resumed. Runs lie in --runs; what is kept of them, in --results.
"""

from __future__ import annotations

import functools
import signal
import subprocess
import sys
from pathlib import Path

from absl import flags

from data_gen.paths import output, user_path
from experiments.results import figures, page, rows, store
from experiments.run import workdir
from experiments.run.main import main

ONLY = flags.DEFINE_list("only", [], "Tables to run; all if empty.")
SEEDS = flags.DEFINE_integer("seeds", 3, "Seeds of every row: 0, 1, ...", lower_bound=1)
COLLECT = flags.DEFINE_bool("collect", False, "Runs nothing.")
RUNS = flags.DEFINE_string("runs", "runs/tables", "Where the runs are, and go.")
RESULTS = flags.DEFINE_string("results", "docs/results", "Where their results are kept.")
FIGURES = flags.DEFINE_string("figures", "docs/figures", "Where the figures of the page go.")
OUT = flags.DEFINE_string("out", "RESULTS.md", "The page.")

ROOT = Path(__file__).parents[1]  # where configs/ lies


def tables(_) -> None:
    out = output(OUT.value, "--out")
    runs, results, pictures = (
        user_path(flag.value, f"--{flag.name}").absolute() for flag in (RUNS, RESULTS, FIGURES)
    )
    update = functools.partial(keep_all, runs, results, pictures, out)
    chosen = _chosen()
    update()
    for table in chosen if not COLLECT.value else ():
        for row in table.rows:
            seeds = row.seeds or table.seeds or SEEDS.value
            while todo := store.next_run(row, seeds, runs, results):
                store.check_scenes(None, row, results)  # before hours of training
                call(*todo)
                update()
    for table in (table for table in chosen if table not in rows.TABLES["ablation"]):
        figures.draw(table, runs, results, pictures)
    update()
    print(f"Wrote {out}")


def _chosen() -> list[rows.Table]:
    every = {table.name: table for table in rows.all_tables()}
    for name in ONLY.value:
        if name not in every:
            raise ValueError(f"--only must name some of {', '.join(every)}, got {name!r}")
    return [every[name] for name in ONLY.value or every]


def keep_all(runs: Path, results: Path, pictures: Path, out: Path) -> None:
    """Keeps the results of runs that have ended, and writes the page."""
    found = {}
    for row in (row for table in rows.all_tables() for row in table.rows):
        store.keep(row, runs, results)
        found[row] = store.read(results, row)
    out.write_text(page.page(rows.TABLES, found, results, pictures, out.parent), "utf-8")


def call(folder: Path, arguments: list[str]) -> None:
    """Runs a command of `next_run`; a signal that ends this process ends that one first."""
    print(f"+ python {' '.join(arguments)}", flush=True)
    process = subprocess.Popen([sys.executable, *arguments], cwd=ROOT)
    stopped = []

    def stop(*_):
        stopped.append(True)
        process.terminate()

    before = signal.signal(signal.SIGTERM, stop)
    try:
        code = process.wait()
    except KeyboardInterrupt:  # which the other process gets from the terminal as well
        stopped.append(True)
        code = process.wait()
    finally:
        signal.signal(signal.SIGTERM, before)
    if stopped:
        sys.exit("stopped: the same command goes on from here")
    if not workdir.ended(folder):  # a run that failed is a result, and is counted
        sys.exit(f"error: exit status {code}: mend what the run says, and start the tables again")


if __name__ == "__main__":
    main(tables)
