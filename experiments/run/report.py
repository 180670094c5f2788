"""What a finished run leaves: final.json, figures, and a table against the paper's row."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure

from asr_jax import Model, Scene, charts, plots, processes
from asr_jax.compositing import canvases, channels_last
from asr_jax.constraints import default_tolerances
from asr_jax.distributions import CountChain
from asr_jax.training import PRIOR, WEIGHT
from data_gen.scenes import Scenes
from experiments.run import multipliers
from experiments.run.data import Data
from experiments.run.evaluation import (
    COLUMNS,
    HELD_OUT,
    OF_COUNTS,
    OF_MASKS,
    OF_OBJECTS,
    OF_REFINED,
    measure,
    samples,
)
from experiments.run.from_config import Run
from experiments.run.train import Trained
from experiments.run.workdir import write_json

SHOWN = 10  # scenes in the figure of reconstructions
SAMPLES = 32
SHARES = "held-out scenes"  # the panel of ACC and mean IoU
# The accuracy of the ELBO's own choice of n, the refined posterior, a bound of log p(x), and the
# share of samples whose boxes are disjoint and inside, go beyond the paper's table.
TABLE = (*COLUMNS, *OF_MASKS, "acc_elbo", *OF_REFINED, "iwae", "tidy")


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
            draw(run, data.test, dreams, trained, final, folder / "figures")
        except Exception as error:
            warnings.warn(f"figures could not be drawn ({error})", stacklevel=1)
    print(table(final, paper), flush=True)
    return final


def taken_apart(model: Model, params: Any, images: np.ndarray, title: str) -> Figure:
    """What images are made of, at the posterior's mode."""
    posterior = model.posterior(params, None, images)
    count = CountChain(posterior.presence_logits).mode()
    scene = jax.device_get(model.scene(params, posterior.latents, count))
    layers = model.layers(params, posterior.latents)
    behind = model.background(params, posterior.latents)
    nothing = (0,)  # of the objects, with the background
    background = canvases(layers, behind, nothing)[:, 0]
    objects = channels_last(layers.light)
    return plots.taken_apart(images, scene, *jax.device_get((background, objects)), title)


def draw(
    run: Run, scenes: Scenes, dreams: Scene, trained: Trained, final: Mapping, folder: Path
) -> None:
    """Writes reconstructions, samples, learning_curves (.png).

    Of inferred counts also counts, and of colours or backgrounds taken_apart.
    """
    images = scenes.image[:SHOWN] / np.float32(255)
    scene = jax.device_get(run.model.reconstruct(trained.params, images))
    history = trained.history
    title = f"{run.name}, seed {final['seed']}"
    figures = {
        "reconstructions": plots.reconstructions(
            images, {"inferred": scene}, f"{title}: held-out scenes"
        ),
        "samples": plots.samples(dreams, f"{title}: samples of the prior"),
        "learning_curves": charts.learning_curves(
            history, panels(run, history), title, shares=[SHARES], limits=limits(run)
        ),
    }
    if run.model.config.coloured:
        figures["taken_apart"] = taken_apart(run.model, trained.params, images, title)
    if "counts" in final:
        figures["counts"] = charts.counts(
            {int(n): row["inferred"] for n, row in final["counts"].items()},
            {int(n): row["posterior"] for n, row in final["counts"].items()},
            f"{title}: {run.data.split} scenes",
        )
    folder.mkdir(exist_ok=True)
    for name, figure in figures.items():
        figure.savefig(folder / f"{name}.png", dpi=160)


def panels(run: Run, history: Sequence[Mapping]) -> dict[str, list[str]]:
    """What the learning curves show: panel -> names of metrics that the run logged."""
    logged = set().union(*history)
    weighted = [constraint.name for constraint in run.constraints]
    inferred = run.model.config.count is None
    gap = ["count_gap"] * (inferred and run.model.config.count_gap_weight > 0)
    wanted = {
        "negative ELBO (nats)": ["nelbo", HELD_OUT + "nelbo"],
        SHARES: [HELD_OUT + "acc", HELD_OUT + "acc_elbo"] * inferred + [HELD_OUT + "miou"],
        "KL (nats)": ["kl_count"] * inferred + ["kl_shift", "kl_scale", "kl_appearance"] + gap,
        "F of counts (nats)": [name for name in weighted if name in OF_COUNTS],
        "F of boxes (pixels)": [n for n in weighted if n not in OF_COUNTS + OF_OBJECTS],
        "F of what boxes show (objects)": [name for name in weighted if name in OF_OBJECTS],
        "F of samples (pixels)": [PRIOR + name for name in weighted],
        "multipliers (nats per unit of F)": [WEIGHT + name for name in weighted],
        "multipliers of samples": [WEIGHT + PRIOR + name for name in weighted],
    }
    shown = {title: [n for n in names if n in logged] for title, names in wanted.items()}
    return {title: names for title, names in shown.items() if names}


def limits(run: Run) -> dict[str, float]:
    """Metric -> the tolerance that its curve is seen against."""
    if run.rule is None:
        return {}
    of_prior = {PRIOR + name: value for name, value in run.prior_tolerances.items()}
    return default_tolerances(run.constraints) | of_prior


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
    rows = {f"seed {seed}": cells(row) for seed, row in finals.items()}
    rows |= {f"seed {seed}": {COLUMNS[0]: "failed"} for seed in failed}
    rows["mean of seeds"] = {
        c: f"{final[c]:.3f} ± {final[c + '_std']:.3f}"
        for c in TABLE
        if final.get(c + "_std") is not None
    }
    rows["paper"] = paper
    print(f"\n{name}, {len(folders)} seeds, {len(failed)} failed")
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
        if row.get("side_mean") is not None:
            parts.append(f"sides {row['side_mean']:.1f} ± {row['side_std']:.1f} pixels")
        if "count_tv" in row:
            parts.append(f"counts differ from the data's by {row['count_tv']:.3f}")
        if "place_tv" in row:
            parts.append(f"places by {row['place_tv']:.3f}")
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
