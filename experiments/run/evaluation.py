"""What is measured of a model, while it trains and after: held-out scenes, and its samples."""

from __future__ import annotations

import warnings
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure

import asr_jax
from asr_jax import generation, plots
from asr_jax.constraints.base import penalty
from asr_jax.evaluation import REFINED
from asr_jax.random_keys import APART
from data_gen.scenes import Scenes
from experiments.run import steps
from experiments.run.data import Data
from experiments.run.from_config import Run

COLUMNS = ("nelbo", "se", "acc", "miou")  # of the paper's tables
OF_MASKS = ("mask_miou", "fg_ari")
# And the accuracy of the count that the ELBO would choose.
WATCHED = (*COLUMNS, "acc_elbo", *OF_MASKS)
OF_REFINED = tuple(name + REFINED for name in ("nelbo", "se", "miou"))  # where it was asked for
OF_COUNTS = ("possible", "number", "balance", "counted")  # constraints in nats
OF_OBJECTS = ("visible",)  # in objects; all others are in pixels
HELD_OUT = "held_out_"  # before the name of a metric that was measured while training
TINY = 1e-30  # least probability whose logarithm is taken
OFF = 2.0  # pixels that a centre may be off
SIZES = 1.5  # samples whose sides are off by more than this factor are warned of
PICTURES = 8  # reconstructions in TensorBoard
# Folded into a seed's key: noise that no step of training and no other seed has.
EXPLAIN, GENERATE, SAMPLE, LOOK = (APART - i for i in range(4))


class Look:
    """Looks at some held-out scenes while a run trains; the same ones, with the same noise."""

    def __init__(self, run: Run, test: Scenes, seed: int):
        fields = (test.image, all_counts(test), test.box, test.mask)
        self.model = run.model
        self.scenes = [
            None if field is None else field[: run.evaluate.scenes or 1] for field in fields
        ]
        self.key = jax.random.fold_in(steps.key(seed), LOOK)

    def __call__(self, params: Any) -> tuple[dict[str, float], Figure | None]:
        """Means over the scenes of what is watched, and the first ones' reconstructions."""
        params = jax.device_get(params)  # they may lie on devices of other processes
        found = asr_jax.evaluate(params, self.key, *self.scenes, model=self.model)
        # Some measures are of those scenes alone for which they are defined.
        watched = [name for name in WATCHED if name in found and found[name].size]
        means = {HELD_OUT + name: float(found[name].mean()) for name in watched}
        images = self.scenes[0][:PICTURES] / np.float32(255)
        scene = jax.device_get(self.model.reconstruct(params, images))
        return means, plots.reconstructions(images, {"inferred": scene})


def measure(run: Run, data: Data, params: Any, seed: int, refine: int = 0) -> dict:
    """The part of final.json that is measured: of held-out scenes, and of generated ones.

    With `refine` steps, of the refined posterior as well.
    """
    result = explanations(run, data.test, params, seed, refine)
    if run.evaluate.generated:
        generated = samples_of_prior(run, data, params, seed)
        tidy, number = generated["model"]["tidy"], run.evaluate.generated
        result |= {"tidy": tidy, "tidy_stderr": float(np.sqrt(tidy * (1 - tidy) / number))}
        result["generation"] = generated
    return result


def samples_of_prior(run: Run, data: Data, params: Any, seed: int) -> dict[str, dict]:
    """What `asr_jax.generation` says of samples of the prior, and of the held-out scenes.

    Returns:
      model, data -> see `asr_jax.generation.describe`; mean and 1 % quantile of the distances to
      the nearest training scene; for the model the mean of every F, and, where true counts are
      known, the total variation between its counts, and the places of its objects, and the data's.
    """
    # Those of counts are about images, of which a posterior may be unsure.
    of_boxes = tuple(c for c in run.reported if c.name not in OF_COUNTS and c.of_mean is None)
    key = jax.random.fold_in(steps.key(seed), GENERATE)
    samples = asr_jax.generate(
        params, key, run.evaluate.generated, model=run.model, constraints=of_boxes
    )
    train, test = data.train.image, data.test
    canvas, largest = run.model.config.canvas, run.model.config.max_objects
    ours = generation.describe(samples["boxes"], samples["count"], canvas, largest)
    ours |= _distances(generation.nearest(samples["canvas"], train))
    ours |= {c.name: float(samples[c.name].mean()) for c in of_boxes}
    theirs = _distances(generation.nearest(test.image, train))
    if test.box is not None:
        theirs |= generation.describe(test.box, test.count, canvas, largest)
        ours["count_tv"] = generation.total_variation(ours["counts"], theirs["counts"])
        if ours["places"] and theirs["places"]:
            ours["place_tv"] = generation.total_variation(ours["places"], theirs["places"])
        warn_of_sides(ours["side_mean"], theirs["side_mean"])
    return {"model": ours, "data": theirs}


def warn_of_sides(ours: float | None, theirs: float | None) -> None:
    """Warns of samples whose objects are of another size: those are tidy who are hardly there."""
    if ours and theirs and not 1 / SIZES < ours / theirs < SIZES:
        warnings.warn(
            f"samples of the prior have sides of {ours:.1f} pixels on average, and held-out scenes "
            f"{theirs:.1f}: their tidiness says nothing; say in config.model.scale_prior what is "
            "known of sides",
            stacklevel=2,
        )


def _distances(nearest: np.ndarray) -> dict[str, float]:
    return {
        "nearest": float(nearest.mean()),
        "nearest_1_percent": float(np.quantile(nearest, 0.01)),
    }


def explanations(run: Run, scenes: Scenes, params: Any, seed: int, refine: int = 0) -> dict:
    """What `asr_jax.evaluate` says: means and standard errors over images.

    Refinement climbs what the run was trained with: its constraints, with their final weights.
    Where the count is inferred and known to us, `counts` says the same for each true count; where
    it is known of some images, acc is of those.
    """
    values = asr_jax.evaluate(
        params,
        jax.random.fold_in(steps.key(seed), EXPLAIN),
        scenes.image,
        all_counts(scenes),
        scenes.box,
        scenes.mask,
        model=run.model,
        constraints=run.reported,
        iwae_samples=run.evaluate.iwae_samples,
        refine=refine,
        refine_constraints=run.constraints,
    )
    count_probs = values.pop("count_probs")
    if scenes.count is not None and all_counts(scenes) is None:
        known = scenes.count >= 0
        if known.any():
            values["acc"] = values["count"][known] == scenes.count[known]
        if steps.COUNTED in values:
            of_known = count_probs[known, scenes.count[known]]
            values[steps.COUNTED] = np.zeros(len(known))
            values[steps.COUNTED][known] = -np.log(np.maximum(of_known, TINY))
    priced = {c.name: values[c.name] for c in run.constraints}
    price = penalty(priced, run.weights)
    values["penalty"] = np.broadcast_to(price, len(scenes.image))
    result = asr_jax.summarise(values) | {"iwae_samples": run.evaluate.iwae_samples}
    for ending in ("", REFINED):
        off = off_centre(values["centre" + ending]) if "centre" + ending in values else {}
        result |= {name + ending: value for name, value in off.items()}
    if refine:
        result["refine_steps"] = refine
    if run.model.config.count is None and all_counts(scenes) is not None:
        result["counts"] = by_count(values, count_probs, scenes.count)
    return result


def off_centre(distances: np.ndarray) -> dict[str, float | None]:
    """What the distances of `asr_jax.evaluate`, pixels [N, M], say of all objects together.

    Returns:
      centre, their median, None unless more than half of the objects have a box; centre_off, the
      share that is off by more than `OFF` pixels, or has none.
    """
    of_objects = distances[distances >= 0]
    if not of_objects.size:
        return {}
    median = float(np.median(of_objects))
    off = float((of_objects > OFF).mean())
    return {"centre": median if np.isfinite(median) else None, "centre_off": off}


def all_counts(scenes: Scenes) -> np.ndarray | None:
    """The counts [N], once every one is known."""
    known = scenes.count is not None and (scenes.count >= 0).all()
    return scenes.count if known else None


def by_count(values: dict, count_probs: np.ndarray, true_count: np.ndarray) -> dict[str, dict]:
    """What a model makes of the images of each true count.

    Args:
      values: name -> [N], of `asr_jax.evaluate`.
      count_probs: [N, K+1], q(n | x).
      true_count: [N].

    Returns:
      true count -> number of images; means of nelbo, acc, ...; `inferred`, a row of the confusion
      matrix: how many images got n = 0..K; `inferred_elbo`, the same of the n that the ELBO would
      choose; `posterior`, the mean of q(n | x) for n = 0..K.
    """
    result = {}
    for n in np.unique(true_count):
        mine = true_count == n
        row = {"images": int(mine.sum())}
        row |= {
            name: float(values[name][mine].mean())
            for name in (*WATCHED, *OF_REFINED)
            if name in values and name != "fg_ari"  # it is of fewer images
        }
        for inferred, count in (("inferred", "count"), ("inferred_elbo", "count_elbo")):
            found = np.bincount(values[count][mine], minlength=count_probs.shape[1])
            row[inferred] = found.tolist()
        row["posterior"] = count_probs[mine].mean(0, dtype=np.float64).tolist()
        result[str(n)] = row
    return result


def samples(model: asr_jax.Model, params: Any, seed: int, num: int) -> asr_jax.Scene:
    """Samples of the prior; the same seed gives the same ones, and fewer are the first of more."""
    key = jax.random.fold_in(steps.key(seed), SAMPLE)
    scenes = asr_jax.generate(params, key, num, model=model)
    return asr_jax.Scene(scenes["canvas"], scenes["count"], scenes["boxes"])
