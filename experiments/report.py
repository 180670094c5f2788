"""What a finished run leaves: final.json, figures, and a table against the paper's row."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

import asr_jax
from asr_jax import plots
from asr_jax.evaluate import summarise
from data_gen.scenes import Scenes
from experiments.build import Data
from experiments.loop import Trained
from experiments.workdir import write_json

SHOWN = 10  # scenes in the figure of reconstructions
SAMPLES = 32
COLUMNS = ("nelbo", "se", "acc", "miou")


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
    key_evaluate, key_sample = jax.random.split(jax.random.key(config.seed + 1))
    result = evaluate(config, model, constraints, data.test, trained.params, key_evaluate)
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
    } | result
    draw(config, model, data.test, trained, workdir / "figures", key_sample)
    write_json(workdir / "final.json", final)
    print(table(final, paper), flush=True)
    return final


def evaluate(config, model, constraints, scenes: Scenes, params, key) -> dict[str, float]:
    """The flat part of final.json that is measured: means and standard errors over images."""
    values = asr_jax.evaluate(
        params,
        key,
        scenes.image[..., 0],
        scenes.count,
        scenes.box,
        model=model,
        constraints=constraints,
    )
    weights = config.constraints.weights
    values.pop("count_probs")
    values["penalty"] = sum(
        (weights[name] * np.maximum(values[name], 0) for name in weights),
        np.zeros(len(scenes.image)),
    )
    return summarise(values)


def draw(config, model, scenes: Scenes, trained: Trained, folder: Path, key) -> None:
    """Writes reconstructions.png, samples.png and learning_curves.png."""
    folder.mkdir(exist_ok=True)
    images = scenes.image[:SHOWN, ..., 0].astype(np.float32) / 255
    scene = jax.device_get(jax.jit(model.reconstruct)(trained.params, jnp.asarray(images)))
    title = f"{config.name}, seed {config.seed}"
    dreamt = jax.device_get(jax.jit(model.sample, static_argnums=2)(trained.params, key, SAMPLES))
    weighted = [name for name in config.constraints.weights if name in trained.history[-1]]
    panels = {
        "negative ELBO (nats)": ["nelbo"],
        "KL (nats)": ["kl_shift", "kl_scale", "kl_appearance"],
    }
    if weighted:
        panels["constraints F (pixels)"] = weighted
    for name, figure in {
        "reconstructions": plots.reconstructions(
            images, {"inferred": scene}, f"{title}: held-out scenes"
        ),
        "samples": plots.samples(dreamt, f"{title}: samples of the prior"),
        "learning_curves": plots.learning_curves(trained.history, panels, title),
    }.items():
        figure.savefig(folder / f"{name}.png", dpi=160)


def table(final: dict, paper: dict[str, str]) -> str:
    """Our row against the paper's, as text."""
    rows = {"this run": cells(final), "paper": paper}
    title = f"\n{final['name']}, {final['images']} {final['split']} scenes"
    note = "± this run: standard error over images; paper: standard deviation over 3 runs."
    return "\n".join([title, columns(rows), note])


def cells(final: dict) -> dict[str, str]:
    """The metrics of a final.json as text."""
    return {c: f"{final[c]:.3f} ± {final[c + '_stderr']:.3f}" for c in COLUMNS if c in final}


def columns(rows: dict[str, dict[str, str]]) -> str:
    """Rows of named cells, aligned; a cell that a row does not have is a dash."""
    names = [name for name in COLUMNS if any(name in row for row in rows.values())]
    lines = [["", *names]]
    lines += [[label, *(row.get(name, "–") for name in names)] for label, row in rows.items()]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        for line in lines
    )
