"""What a finished run leaves: final.json, figures, and a table against the paper's row."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

import asr_jax
from asr_jax import plots, processes
from data_gen.scenes import Scenes
from experiments.build import Data
from experiments.loop import Trained
from experiments.measure import COLUMNS, NUMBER, measure
from experiments.workdir import write_json

SHOWN = 10  # scenes in the figure of reconstructions
SAMPLES = 32
# A bound of log p(x), and the share of samples whose boxes are disjoint and inside, go beyond
# the paper's table.
TABLE = (*COLUMNS, "iwae", "tidy")


def finish(
    config: ConfigDict,
    model: asr_jax.Model,
    constraints: tuple[asr_jax.Constraint, ...],
    data: Data,
    trained: Trained,
    workdir: Path,
    paper: dict[str, str],
) -> dict:
    """Evaluates, draws, writes final.json last, prints the table, and returns what it wrote.

    Args:
      constraints: all of the experiment's, weighted or not: every method reports every F.
      paper: the paper's values for this row, name -> text.
    """
    final = {
        "method": config.method,
        "name": config.name,
        "data": data.source,
        "split": config.data.split,
        "images": len(data.test.image),
        "seed": config.seed,
        "steps": trained.steps,
        "seconds": trained.seconds,
        "steps_per_second": trained.steps_per_second,
        "compile_seconds": trained.compile_seconds,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(trained.params)),
        "hardware": hardware(),
    } | measure(config, model, constraints, data, trained.params)
    draw(config, model, data.test, trained, final, workdir / "figures")
    if processes.is_primary():
        write_json(workdir / "final.json", final)
    print(table(final, paper), flush=True)
    return final


def draw(config, model, scenes: Scenes, trained: Trained, final, folder: Path) -> None:
    """Writes reconstructions, samples, learning_curves and, of inferred counts, counts (.png)."""
    images = scenes.image[:SHOWN, ..., 0].astype(np.float32) / 255
    scene = jax.device_get(model.reconstruct(trained.params, jnp.asarray(images)))
    title = f"{config.name}, seed {config.seed}"
    dreamt = samples(model, trained.params, config.seed, SAMPLES)
    kls = ["kl_shift", "kl_scale", "kl_appearance"]
    if model.config.count is None:
        kls.insert(0, "kl_count")
    panels = {"negative ELBO (nats)": ["nelbo"], "KL (nats)": kls}
    weighted = [name for name in config.constraints.weights if name in trained.history[-1]]
    number = [name for name in weighted if name in NUMBER]
    if number:
        panels["R_num, unweighted (nats)"] = number
    if len(weighted) > len(number):
        panels["constraints F (pixels)"] = [name for name in weighted if name not in NUMBER]
    figures = {
        "reconstructions": plots.reconstructions(
            images, {"inferred": scene}, f"{title}: held-out scenes"
        ),
        "samples": plots.samples(dreamt, f"{title}: samples of the prior"),
        "learning_curves": plots.learning_curves(trained.history, panels, title),
    }
    if "counts" in final:
        figures["counts"] = plots.counts(
            {int(n): row["inferred"] for n, row in final["counts"].items()},
            {int(n): row["posterior"] for n, row in final["counts"].items()},
            f"{title}: {config.data.split} scenes",
        )
    if not processes.is_primary():
        return
    folder.mkdir(exist_ok=True)
    for name, figure in figures.items():
        figure.savefig(folder / f"{name}.png", dpi=160)


def samples(model: asr_jax.Model, params, seed: int, num: int) -> asr_jax.Scene:
    """Samples of the prior; the same seed gives the same ones, and fewer are the first of more."""
    scenes = asr_jax.generate(params, jax.random.key(seed), num, model=model)
    return asr_jax.Scene(scenes["canvas"], scenes["count"], scenes["boxes"])


def hardware() -> str:
    """What the run had, as a table says it: 1 NVIDIA H100, or 2 CPU cores."""
    devices = jax.devices()
    if devices[0].platform != "cpu":
        return f"{len(devices)} {devices[0].device_kind}"
    own = getattr(os, "sched_getaffinity", None)  # not on every system
    cores = len(own(0)) if own else os.cpu_count()
    return f"{cores} CPU core{'s' if cores > 1 else ''}"


def portable(final: dict) -> dict:
    """A final.json for readers elsewhere, whom the folder that its digits lay in tells nothing."""
    return final | {"data": final["data"].partition(" in ")[0]}


def portable_config(settings: dict) -> dict:
    """A config.json for readers elsewhere."""
    return settings | {"data": settings["data"] | {"digits_dir": "", "data_dir": ""}}


def ended(workdir: Path) -> bool:
    """Whether a seed is finished, or has failed."""
    return (workdir / "final.json").exists() or (workdir / "failed.json").exists()


def failure(workdir: Path) -> str:
    """Why a run stopped."""
    return json.loads((workdir / "failed.json").read_text())["error"]


def finish_seeds(
    config: ConfigDict, folders: Mapping[int, Path], workdir: Path, paper: Mapping[str, str]
) -> dict:
    """Writes final.json over all seeds, prints every seed's row, and returns what it wrote.

    Args:
      folders: seed -> its run, finished or failed.
      paper: the paper's values for this row, name -> text.
    """
    finals = {
        seed: json.loads((folder / "final.json").read_text())
        for seed, folder in folders.items()
        if (folder / "final.json").exists()
    }
    failed = [seed for seed in folders if seed not in finals]
    final = {"name": config.name, "seeds": list(folders), "failed": failed}
    if finals:
        first = next(iter(finals.values()))
        final |= {name: first[name] for name in ("method", "data", "split", "images", "steps")}
        # A seed that was resumed at its end has no steps a second: the mean is that of the others.
        numbers = [n for row in finals.values() for n, v in row.items() if isinstance(v, float)]
        for name in (n for n in dict.fromkeys(numbers) if not n.endswith("_stderr")):
            values = [row[name] for row in finals.values() if row[name] is not None]
            final[name] = float(np.mean(values))
            # Over seeds, of the population they are drawn from; one seed says nothing about it.
            final[f"{name}_std"] = float(np.std(values, ddof=1)) if len(values) > 1 else None
    final["rows"] = list(finals.values())
    write_json(workdir / "final.json", final)
    rows = {f"seed {seed}": cells(row) for seed, row in finals.items()}
    rows |= {f"seed {seed}": {COLUMNS[0]: "failed"} for seed in failed}
    rows["mean of seeds"] = {
        c: f"{final[c]:.3f} ± {final[c + '_std']:.3f}"
        for c in TABLE
        if final.get(c + "_std") is not None
    }
    rows["paper"] = paper
    print(f"\n{config.name}, {len(folders)} seeds, {len(failed)} failed")
    print(columns(rows))
    print("± a seed: standard error over images; mean, paper: standard deviation over runs.")
    return final


def table(final: dict, paper: dict[str, str]) -> str:
    """Our row against the paper's, as text."""
    rows = {"this run": cells(final), "paper": paper}
    title = f"\n{final['name']}, {final['images']} {final['split']} scenes"
    note = "± this run: standard error over images; paper: standard deviation over 3 runs."
    lines = [title, columns(rows), note]
    names = {"model": "samples", "data": "held-out scenes"}
    for who, row in final.get("generation", {}).items():
        parts = [f"nearest training scene at {row['nearest']:.2f}"]
        if "count_tv" in row:
            parts.append(f"counts differ from the data's by {row['count_tv']:.3f}")
        lines.append(f"{names[who]}: {', '.join(parts)}")
    for n, row in final.get("counts", {}).items():
        means = ", ".join(f"{name} {row[name]:.3f}" for name in COLUMNS if name in row)
        found = ", ".join(f"{k}: {images}" for k, images in enumerate(row["inferred"]) if images)
        lines.append(f"{row['images']} scenes of {n}: {means}; inferred {{{found}}}")
    return "\n".join(lines)


def cells(final: dict) -> dict[str, str]:
    """The metrics of a final.json as text."""
    return {c: f"{final[c]:.3f} ± {final[c + '_stderr']:.3f}" for c in TABLE if c in final}


def columns(rows: dict[str, dict[str, str]]) -> str:
    """Rows of named cells, aligned; a cell that a row does not have is a dash."""
    names = [name for name in TABLE if any(name in row for row in rows.values())]
    lines = [["", *names]]
    lines += [[label, *(row.get(name, "–") for name in names)] for label, row in rows.items()]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        for line in lines
    )
