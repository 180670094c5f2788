"""Figures of several finished runs: side by side, for a comparison and for the results' page."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np
from matplotlib.figure import Figure

import asr_jax
from asr_jax import charts, plots
from experiments.results import rows, store
from experiments.run import drawings, finished
from experiments.run.evaluation import samples
from experiments.run.finished import Finished

SHOWN = 10  # scenes in a row
DPI = 110  # of figures that are kept with the code


def side_by_side(
    loaded: Mapping[str, Finished], shown: int = SHOWN, refine: int = 0
) -> tuple[Figure, Figure]:
    """How runs explain the first held-out scenes, and their samples below true scenes.

    Args:
      loaded: label -> a run, all on the same scenes.
      shown: how many scenes a row shows.
      refine: steps of a refined explanation, in a row of its own below each run's; 0: none.

    Raises:
      ValueError: their scenes differ, or are not those of this machine.
    """
    first = next(iter(loaded))
    for label, one in loaded.items():
        if one.scenes != loaded[first].scenes:
            raise ValueError(
                f"{label} was trained on scenes {one.scenes}, {first} on {loaded[first].scenes}: "
                "compare runs on the same scenes"
            )
    test = finished.scenes(loaded[first]).test
    images = test.image[:shown] / np.float32(255)
    explained, sampled = {}, {}
    if test.box is not None:
        sampled["data"] = asr_jax.Scene(images, test.count[: len(images)], test.box[: len(images)])
    for label, one in loaded.items():
        model = one.run.model
        scene = explained[label] = jax.device_get(model.reconstruct(one.params, images))
        if model.config.coloured:
            nothing = np.zeros_like(scene.count)
            explained[f"{label}: masks"] = asr_jax.Scene(
                plots.masks(scene.mask), nothing, scene.boxes
            )
        if refine:
            refined = model.reconstruct(
                one.params, images, refine=refine, constraints=one.run.constraints
            )
            explained[f"{label}, refined"] = jax.device_get(refined)
        sampled[label] = samples(model, one.params, one.seed, len(images))
    return plots.reconstructions(images, explained), plots.rows(sampled)


def draw(table: rows.Table, runs_folder: Path, results: Path, figures: Path) -> None:
    """The page's figures of a table, <table>*.png; one that cannot be drawn here stays as it is.

    Curves and counts need what is kept of the runs; reconstructions and samples, a run of every row
    that has results or, where there is no figure yet, of some. What AIR-ASR's objects in colour are
    made of, <row>-apart.png, needs its run.
    """
    figures.mkdir(parents=True, exist_ok=True)
    finals = {row: store.read(results, row).finals for row in table.rows}
    curves, counts = {}, {}
    for row, of_seeds in finals.items():
        files = [store.folder(results, row, seed) / "curve.json" for seed in of_seeds]
        curves[row.label] = [json.loads(file.read_text()) for file in files if file.exists()]
        per_count = of_seeds.get(0, {}).get("counts")
        if per_count:
            counts[row.label] = {int(n): of_n["inferred"] for n, of_n in per_count.items()}
    curves = {label: of_seeds for label, of_seeds in curves.items() if of_seeds}
    if curves:
        charts.curves(curves, table.title).savefig(figures / f"{table.name}-curves.png", dpi=DPI)
    if counts:
        charts.confusions(counts).savefig(figures / f"{table.name}-counts.png", dpi=DPI)

    first, reconstructions = table.rows[0].config(), figures / f"{table.name}.png"
    try:
        here = {row: _run(row, of_seeds, runs_folder) for row, of_seeds in finals.items()}
        for row, run in here.items():
            if run and run.run.method == "asr" and run.run.model.config.coloured:
                taken_apart(run, row).savefig(figures / f"{row.name}-apart.png", dpi=DPI)
        here = {row: run for row, run in here.items() if row.config().data == first.data}
        missing = [row for row, run in here.items() if run is None and finals[row]]
        shown = {_label(row, run): run for row, run in here.items() if run}
        if shown and not (missing and reconstructions.exists()):
            explained, sampled = side_by_side(shown)
            explained.savefig(reconstructions, dpi=DPI)
            sampled.savefig(figures / f"{table.name}-samples.png", dpi=DPI)
    except ValueError as error:  # scenes or checkpoints are not here
        print(f"warning: {reconstructions} stays as it is: {error}", file=sys.stderr)


def taken_apart(one: Finished, row: rows.Row) -> Figure:
    """What the first held-out scenes are made of."""
    images = finished.scenes(one).test.image[:SHOWN] / np.float32(255)
    return drawings.taken_apart(one.run.model, one.params, images, f"{row.label}: held-out scenes")


def _run(row: rows.Row, finals: Mapping[int, dict], runs_folder: Path) -> Finished | None:
    """The first of a row's kept results whose parameters are here, as a run or with the package."""
    ended = store.ended_runs(row, runs_folder)
    known = row.data in asr_jax.pretrained_names()
    exported = finished.pretrained(row.data) if known else None
    for seed, kept in sorted(finals.items()):
        final = ended.get(seed, Path()) / "final.json"  # there is none if that run failed
        if final.exists() and _same(json.loads(final.read_text()), kept):
            return finished.load(ended[seed])
        of_this = exported and (exported.run.name, exported.seed) == (row.name, seed)
        if of_this and _same(exported.final, kept):
            return exported
    return None


def _same(final: Mapping, kept: Mapping) -> bool:
    """Whether two results of one seed are of one run: no two take equally long."""
    return final["seconds"] == kept["seconds"]


def _label(row: rows.Row, run: Finished) -> str:
    seed = run.seed
    return f"{row.label} (seed\N{NO-BREAK SPACE}{seed})" if seed else row.label
