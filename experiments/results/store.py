"""Runs of the tables' rows: which is next, and what is kept of those that have ended."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.results.rows import Row
from experiments.run import data
from experiments.run.from_config import from_config
from experiments.run.workdir import (
    ended,
    failure,
    portable,
    portable_config,
    read_config,
    what_differs,
    write_json,
)

POINTS = 60  # of a learning curve that is kept


class Results(NamedTuple):
    """What is known of a row."""

    finals: dict[int, dict]  # seed -> final.json
    failed: dict[int, str]  # seed -> why


def folder(results: Path, row: Row, seed: int) -> Path:
    """Where the results of a seed are kept."""
    return results / f"{row.name}-seed{seed}"


def kept(results: Path, row: Row, seed: int) -> bool:
    """Whether a seed has its results; a failure is one."""
    return ended(folder(results, row, seed))


def read(results: Path, row: Row) -> Results:
    """The results of every seed of a row that are kept.

    Raises:
      ValueError: one of them is a run of another configuration than the row's, or on other scenes
        than the other results of the same data.
    """
    finals, failed = {}, {}
    for seed, last, run in workdirs(row, results):
        if seed != last or not ended(run):
            continue
        check(run, row, seed)
        check_scenes(run, row, results)
        if (run / "final.json").exists():
            finals[seed] = json.loads((run / "final.json").read_text())
        else:
            failed[seed] = failure(run)
    return Results(dict(sorted(finals.items())), dict(sorted(failed.items())))


def workdirs(row: Row, runs: Path) -> list[tuple[int, int, Path]]:
    """(first seed, last seed, workdir) of every run of a row that has begun."""
    found = []
    for workdir in sorted(runs.glob(f"{row.name}-seed*")):
        seeds = re.fullmatch(r"seeds?(\d+)(?:-(\d+))?", workdir.name.removeprefix(f"{row.name}-"))
        if seeds and (workdir / "config.json").exists():
            found.append((int(seeds[1]), int(seeds[2] or seeds[1]), workdir))
    return found


def ended_runs(row: Row, runs: Path) -> dict[int, Path]:
    """seed -> the folder of its run, of those that have ended."""
    found = {}
    for first, last, workdir in workdirs(row, runs):
        for seed in range(first, last + 1):
            run = workdir if first == last else workdir / f"seed{seed}"
            if ended(run):
                found.setdefault(seed, run)
    return found


def check(run: Path, row: Row, seed: int) -> None:
    """Raises ValueError if the run in a folder is not that seed of the row."""
    saved = read_config(run)
    facts = {name: saved[name] for name in ("scenes", "canvas", "devices") if name in saved}
    differences = what_differs(saved, json.loads(row.config(seed).to_json()) | facts)
    if differences:
        raise ValueError(
            f"{run} holds a run of another configuration than {row.name} now has "
            f"({'; '.join(differences)}): move it elsewhere, and it is run again"
        )


def check_scenes(run: Path | None, row: Row, results: Path) -> None:
    """Raises ValueError if a run saw other scenes than what is kept of the same data.

    The same settings give other scenes where other digits lie. No run: this machine's scenes.
    """
    wanted = json.loads(row.config().to_json())["data"]
    own = ("data_dir", "digits_dir")  # of a machine
    for other in sorted(results.glob(f"{row.data.replace('_', '-')}-*/config.json")):
        known = read_config(other.parent)
        about = {name: value for name, value in known["data"].items() if name not in own}
        if any(wanted.get(name) != value for name, value in about.items()):
            continue  # a variant with data of its own
        found = _scenes_here(row) if run is None else read_config(run)["scenes"]
        if found != known["scenes"]:
            raise ValueError(
                f"{run or 'this machine'} has scenes {found} for {row.name}, and "
                f"{other.parent} was run on {known['scenes']}: set ASR_MNIST_DIR to the same "
                "digits, or keep your own results elsewhere with --results"
            )
        return


def _scenes_here(row: Row) -> str:
    return data.load(from_config(row.config()).data).facts(sharded=False)["scenes"]


def next_run(row: Row, seeds: int, runs: Path, results: Path) -> tuple[Path, list[str]] | None:
    """A row's next run: its workdir, and the command; None: all seeds have their results.

    Seeds that follow each other are one command, which trains them side by side where that helps.
    """
    missing = [s for s in range(seeds) if not kept(results, row, s)]
    if not missing:
        return None
    group = missing[:1]
    while group[-1] + 1 in missing:
        group.append(group[-1] + 1)
    for first, last, workdir in workdirs(row, runs):  # one that was stopped goes on
        if not ended(workdir) and any(first <= seed <= last for seed in missing):
            group = range(first, last + 1)
            break
    first, last = group[0], group[-1]
    workdir = runs / f"{row.name}-{f'seed{first}' if first == last else f'seeds{first}-{last}'}"
    command = [*row.command(), f"--config.seed={first}", f"--config.seeds={len(group)}"]
    command += [f"--workdir={workdir}", *(["--resume"] if workdir.exists() else [])]
    return workdir, command


def keep(row: Row, runs: Path, results: Path) -> None:
    """Copies what the page needs of a row's runs that have ended, if it is not there yet.

    Raises:
      ValueError: a run has another configuration than the row, or saw other scenes than the rest.
    """
    for seed, run in ended_runs(row, runs).items():
        if kept(results, row, seed):
            continue
        check(run, row, seed)
        check_scenes(run, row, results)
        kept_in = folder(results, row, seed)
        kept_in.mkdir(parents=True, exist_ok=True)
        log = run / "metrics.jsonl"
        write_json(kept_in / "curve.json", curve(log.read_text() if log.exists() else ""))
        write_json(kept_in / "config.json", portable_config(read_config(run)))
        if (run / "final.json").exists():  # what says "ended" comes last
            final = json.loads((run / "final.json").read_text())
            write_json(kept_in / "final.json", portable(final))
        else:  # what failed, without where its checkpoint lies
            write_json(kept_in / "failed.json", {"error": failure(run).partition(";")[0]})


def curve(metrics: str) -> dict[str, list[float]]:
    """The nELBO of a metrics.jsonl, as means over at most POINTS parts of the run."""
    lines = [json.loads(line) for line in metrics.splitlines()]
    if not lines:  # it failed at once
        return {"step": [], "nelbo": []}
    parts = np.array_split(np.arange(len(lines)), min(POINTS, len(lines)))
    return {
        name: [round(float(np.mean([lines[i][name] for i in part])), 2) for part in parts]
        for name in ("step", "nelbo")
    }
