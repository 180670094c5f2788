"""The figures of a finished run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure

from asr_jax import Model, Scene, charts, plots
from asr_jax.compositing import canvases, channels_last
from asr_jax.constraints import default_tolerances
from asr_jax.distributions import CountChain
from asr_jax.training import PRIOR, WEIGHT
from data_gen.scenes import Scenes
from experiments.run.evaluation import HELD_OUT, OF_COUNTS, OF_OBJECTS
from experiments.run.from_config import Run
from experiments.run.train import Trained

SHOWN = 10  # scenes in the figure of reconstructions
SHARES = "held-out scenes"  # the panel of ACC and mean IoU


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
