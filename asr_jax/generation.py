"""Samples of a model's prior, and how good they are: counts, boxes, and whether they are copies."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from asr_jax import boxes, metrics, processes, random_keys
from asr_jax.constraints.base import Constraint, check_constraints, statistics
from asr_jax.distributions import CERTAIN
from asr_jax.evaluation import map_batches
from asr_jax.generative import as_posterior
from asr_jax.images import check, to_float
from asr_jax.model import Model, Params

PARTS = 6  # of an edge, in which centres are counted


def generate(
    params: Params,
    key: jax.Array,
    num: int,
    *,
    model: Model,
    constraints: Sequence[Constraint] = (),
    batch_size: int = 250,
) -> dict[str, np.ndarray]:
    """Ancestral samples of the generative model, n, then where, how large, and what.

    Args:
      params: of the model.
      key: one random key, or [N]; the samples do not depend on `batch_size`.
      num: N, how many.
      model: static, as the next.
      constraints: evaluated on the samples' latents; of one on a mean, the statistic of each.
      batch_size: samples at a time.

    Returns:
      canvas [N, H, W] or [N, H, W, C] in [0, 1], count [N], boxes [N, K, 4] in pixels, of which
      the first `count` exist, and F of every constraint [N].

    Raises:
      ValueError: fewer than one, or another number of keys; constraints that are none.
    """
    if num < 1:
        raise ValueError(f"num must be at least 1, got {num}")
    keys = random_keys.per_image(key, num)
    function = functools.partial(
        _generate, params, model=model, constraints=check_constraints(constraints)
    )
    return map_batches(function, batch_size, np.asarray(jax.random.key_data(keys)))


def describe(
    box: np.ndarray, count: np.ndarray, canvas: tuple[int, int], max_count: int
) -> dict[str, float | list[float] | None]:
    """What boxes say of scenes, generated or true.

    Args:
      box: [N, M, 4] in pixels, of which the first `count` [N] exist.
      canvas: (H, W) in pixels.
      max_count: the largest count that has a place in the histogram.

    Returns:
      A dictionary of `images`, N; `counts`, the share of scenes with n = 0..max_count objects;
      `disjoint`, `inside` and `tidy`, the share of scenes whose boxes do not overlap, lie inside
      the canvas, and both; `places`, the share of objects whose centre lies in each of 6 x 6 parts
      of the canvas, row by row; `side_mean` and `side_std` of all objects' sides, in pixels (both,
      and `places`, None where there are no objects).
    """
    apart = np.asarray(metrics.disjoint(box, count))
    within = np.asarray(metrics.inside(box, count, canvas))
    exist = np.arange(box.shape[1]) < count[:, None]
    sides = (box[..., 2] - box[..., 0])[exist]
    centres = boxes.middle(box)[exist] / np.array([canvas[1], canvas[0]])
    column, row = np.clip((centres * PARTS).astype(int), 0, PARTS - 1).T
    places = np.bincount(row * PARTS + column, minlength=PARTS**2) / max(len(sides), 1)
    return {
        "images": len(count),
        "counts": (np.bincount(count, minlength=max_count + 1) / len(count)).tolist(),
        "disjoint": float(apart.mean()),
        "inside": float(within.mean()),
        "tidy": float((apart & within).mean()),
        "places": places.tolist() if len(sides) else None,
        "side_mean": float(sides.mean()) if len(sides) else None,
        "side_std": float(sides.std()) if len(sides) else None,
    }


def total_variation(p: list[float], q: list[float]) -> float:
    """Half the sum of absolute differences of two distributions over 0, 1, ...: 0 if equal."""
    longest = max(len(p), len(q))
    p, q = (np.pad(x, (0, longest - len(x))) for x in (p, q))
    return float(np.abs(p - q).sum() / 2)


def nearest(images: np.ndarray, others: np.ndarray, batch_size: int = 1000) -> np.ndarray:
    """The Euclidean distance of each image to the nearest of the others, in pixel space.

    Args:
      images: [N, H, W], or [N, H, W, 3] in colour: uint8, or floats in [0, 1].
      others: [M, H, W], the same; in a run of several processes, each may give its own.
      batch_size: how many of each are compared at a time.

    Returns:
      [N]; a copy is at 0, give or take the rounding of float32 (0.1).

    Raises:
      ValueError: images of two sizes, or out of range.
    """
    images = np.asarray(check(images, may_be_black=True, channels=None))
    channels = 1 if images.ndim == 3 else images.shape[3]
    others = np.asarray(check(others, images.shape[1:3], "others", channels=channels))

    def of(some):  # [b, H, W]
        chunks = (others[i : i + batch_size] for i in range(0, len(others), batch_size))
        return functools.reduce(jnp.minimum, (_squared_distance(some, chunk) for chunk in chunks))

    squares = map_batches(of, batch_size, images, divide=False)
    return np.sqrt(processes.smallest(squares))


@functools.partial(jax.jit, static_argnames=("model", "constraints"))
def _generate(params, key_data, *, model: Model, constraints):
    keys = jax.random.wrap_key_data(key_data, impl=random_keys.IMPLEMENTATION)
    latents, prior, count = model.sample_latents(params, keys)
    windows = model.windows(params, latents)
    scene = model.scene(params, latents, count, windows)
    # Sure of n, so that the functionals are of the objects that were drawn.
    exist = jnp.arange(model.config.max_objects)[None] < count[:, None]
    certain = prior.replace(presence_logits=jnp.where(exist, CERTAIN, -CERTAIN))
    values = {"canvas": scene.canvas, "count": count, "boxes": scene.boxes}
    drawn = as_posterior(certain, latents, windows)
    return values | statistics(constraints, drawn, model.config.canvas)


@jax.jit
def _squared_distance(images: jax.Array, others: jax.Array) -> jax.Array:
    """[b, H, W] and [m, H, W] -> [b], to the nearest."""
    x = to_float(images).reshape(len(images), -1)
    y = to_float(others).reshape(len(others), -1)
    product = jnp.matmul(x, y.T, precision="highest")
    squares = jnp.sum(x**2, 1)[:, None] - 2 * product + jnp.sum(y**2, 1)[None]
    return jnp.maximum(squares.min(1), 0)
