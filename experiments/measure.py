"""What is measured of a trained model: on held-out scenes, and on scenes that it dreams of."""

from __future__ import annotations

import jax
import numpy as np

import asr_jax
from asr_jax import generation
from asr_jax.evaluate import summarise
from data_gen.scenes import Scenes
from experiments.build import Data

COLUMNS = ("nelbo", "se", "acc", "miou")  # of the paper's tables
NUMBER = ("number", "balance")  # the constraints in nats; the others are in pixels


def measure(config, model, constraints, data: Data, params) -> dict:
    """The part of final.json that is measured: of held-out scenes, and of generated ones."""
    key_evaluate, key_generate = jax.random.split(jax.random.key(config.seed + 1))
    result = explanations(config, model, constraints, data.test, params, key_evaluate)
    if config.evaluate.generated:
        # R_num is about images, of which a posterior may be unsure.
        of_boxes = tuple(c for c in constraints if c.name not in NUMBER)
        generated = dreams(config, model, of_boxes, data, params, key_generate)
        tidy, number = generated["model"]["tidy"], config.evaluate.generated
        result |= {"tidy": tidy, "tidy_stderr": float(np.sqrt(tidy * (1 - tidy) / number))}
        result["generation"] = generated
    return result


def dreams(config, model, constraints, data: Data, params, key) -> dict[str, dict]:
    """What `asr_jax.generation` says of samples of the prior, and of the held-out scenes.

    Returns:
      model, data -> see `asr_jax.generation.describe`; mean and 1 % quantile of the distances to
      the nearest training scene; for the model the mean of every F, and, where true counts are
      known, the total variation between its counts and the data's.
    """
    samples = asr_jax.generate(
        params, key, config.evaluate.generated, model=model, constraints=constraints
    )
    train, test = (scenes.image[..., 0] for scenes in (data.train, data.test))
    canvas, largest = model.config.canvas, model.config.max_steps
    ours = generation.describe(samples["boxes"], samples["count"], canvas, largest)
    ours |= _distances(generation.nearest(samples["canvas"], train))
    ours |= {c.name: float(samples[c.name].mean()) for c in constraints}
    theirs = _distances(generation.nearest(test.astype(np.float32) / 255, train))
    if data.test.box is not None:
        theirs |= generation.describe(data.test.box, data.test.count, canvas, largest)
        ours["count_tv"] = generation.total_variation(ours["counts"], theirs["counts"])
    return {"model": ours, "data": theirs}


def _distances(nearest: np.ndarray) -> dict[str, float]:
    return {
        "nearest": float(nearest.mean()),
        "nearest_1_percent": float(np.quantile(nearest, 0.01)),
    }


def explanations(config, model, constraints, scenes: Scenes, params, key) -> dict:
    """What `asr_jax.evaluate` says: means and standard errors over images.

    Where the count is inferred and known to us, `counts` says the same for each true count.
    """
    values = asr_jax.evaluate(
        params,
        key,
        scenes.image[..., 0],
        scenes.count,
        scenes.box,
        model=model,
        constraints=constraints,
        iwae_samples=config.evaluate.iwae_samples,
    )
    weights = config.constraints.weights
    values["penalty"] = sum(
        (weights[name] * np.maximum(values[name], 0) for name in weights),
        np.zeros(len(scenes.image)),
    )
    count_probs = values.pop("count_probs")
    result = summarise(values) | {"iwae_samples": config.evaluate.iwae_samples}
    if model.config.count is None and scenes.count is not None:
        result["counts"] = by_count(values, count_probs, scenes.count)
    return result


def by_count(values: dict, count_probs: np.ndarray, true_count: np.ndarray) -> dict[str, dict]:
    """What a model makes of the images of each true count.

    Args:
      values: name -> [N], of `asr_jax.evaluate`.
      count_probs: [N, K+1], q(n | x).
      true_count: [N].

    Returns:
      true count -> number of images; means of nelbo, acc, ...; `inferred`, a row of the confusion
      matrix: how many images got n = 0..K; `posterior`, the mean of q(n | x) for n = 0..K.
    """
    result = {}
    for n in np.unique(true_count):
        mine = true_count == n
        row = {"images": int(mine.sum())}
        row |= {name: float(values[name][mine].mean()) for name in COLUMNS if name in values}
        row["inferred"] = np.bincount(
            values["count"][mine], minlength=count_probs.shape[1]
        ).tolist()
        row["posterior"] = count_probs[mine].mean(0, dtype=np.float64).tolist()
        result[str(n)] = row
    return result
