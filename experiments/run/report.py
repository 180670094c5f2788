"""What a finished run leaves: final.json, figures, and a table against the paper's row."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np

from asr_jax import processes
from experiments.run import drawings, multipliers, printed
from experiments.run.data import Data
from experiments.run.evaluation import measure, samples
from experiments.run.from_config import Run
from experiments.run.train import Trained
from experiments.run.workdir import write_json

SAMPLES = 32  # of the prior, in their figure


def finish(
    run: Run, data: Data, trained: Trained, seed: int, folder: Path, paper: Mapping[str, str]
) -> dict:
    """Evaluates, writes final.json, draws, prints the table, and returns what it wrote.

    Args:
      run, data: what was trained, and on what.
      trained: the result of the seed.
      seed: which it was.
      folder: of this seed.
      paper: the paper's values for this row, name -> text.
    """
    found = {}
    if trained.multipliers is not None:
        found = {"multipliers": multipliers.found(run, trained.multipliers)}
        run = multipliers.with_found(run, found["multipliers"])
        multipliers.warn_of_unmet(found["multipliers"], run.largest)
    final = {
        "method": run.method,
        "name": run.name,
        "data": data.source,
        "split": run.data.split,
        "images": len(data.test.image),
        "seed": seed,
        "steps": trained.steps,
        "seconds": trained.seconds,
        "steps_per_second": trained.steps_per_second,
        "compile_seconds": trained.compile_seconds,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(trained.params)),
        "hardware": hardware(),
        **found,
    } | measure(run, data, trained.params, seed)
    dreams = samples(run.model, trained.params, seed, SAMPLES)  # by all processes of the run
    if processes.is_primary():
        write_json(folder / "final.json", final)
        try:  # a figure cannot lose a result
            drawings.draw(run, data.test, dreams, trained, final, folder / "figures")
        except Exception as error:
            warnings.warn(f"figures could not be drawn ({error})", stacklevel=1)
    print(printed.table(final, paper), flush=True)
    return final


def hardware() -> str:
    """What the run had, as a table says it: 1 NVIDIA H100, or 2 CPU cores."""
    devices = jax.devices()
    if devices[0].platform != "cpu":
        return f"{len(devices)} {devices[0].device_kind}"
    own = getattr(os, "sched_getaffinity", None)  # not on every system
    cores = len(own(0)) if own else os.cpu_count()
    return f"{cores} CPU core{'s' if cores > 1 else ''}"


def finish_seeds(
    name: str, folders: Mapping[int, Path], workdir: Path, paper: Mapping[str, str]
) -> dict:
    """Writes final.json over all seeds, prints every seed's row, and returns what it wrote.

    Args:
      name: of the run.
      folders: seed -> its run, finished or failed.
      paper: the paper's values for this row, name -> text.
    """
    finals = {
        seed: json.loads((folder / "final.json").read_text())
        for seed, folder in folders.items()
        if (folder / "final.json").exists()
    }
    failed = [seed for seed in folders if seed not in finals]
    final = {"name": name, "seeds": list(folders), "failed": failed}
    if finals:
        first = next(iter(finals.values()))
        final |= {name: first[name] for name in ("method", "data", "split", "images", "steps")}
        # A seed that was resumed at its end has no steps a second, and one that finds nothing no
        # median of centres: the mean is that of the others.
        numbers = [n for row in finals.values() for n, v in row.items() if isinstance(v, float)]
        for metric in (n for n in dict.fromkeys(numbers) if not n.endswith("_stderr")):
            found = (row.get(metric) for row in finals.values())
            values = [value for value in found if value is not None]
            final[metric] = float(np.mean(values))
            # Over seeds, of the population they are drawn from; one seed says nothing about it.
            final[f"{metric}_std"] = float(np.std(values, ddof=1)) if len(values) > 1 else None
    final["rows"] = list(finals.values())
    write_json(workdir / "final.json", final)
    print(printed.seeds(final, finals, paper), flush=True)
    return final
