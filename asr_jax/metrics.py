"""How good an explanation or a generated scene is. Arrays in, arrays out."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from optax.assignment import hungarian_algorithm

from asr_jax import boxes


def squared_error(images: jax.Array, canvas: jax.Array) -> jax.Array:
    """Sum over pixels and channels of the squared difference; twice [B, H, W(, C)] -> [B]."""
    return jnp.sum(jnp.square(images - canvas), axis=range(1, images.ndim))


def count_accuracy(count: jax.Array, true_count: jax.Array) -> jax.Array:
    """1 where the counts agree, else 0; [B] and [B] -> [B]."""
    return (count == true_count).astype(jnp.float32)


def mean_iou(
    box: jax.Array, count: jax.Array, true_box: jax.Array, true_count: jax.Array
) -> jax.Array:
    """max_pi sum_i IoU(box_pi(i), true_i) / max(count, true_count), section 6 of the paper.

    A true box is matched once, so a duplicated detection counts once and costs its place in the
    denominator. An empty scene explained as empty scores 1.

    Args:
      box: [B, K, 4] pixels, of which the first `count` [B] exist.
      true_box: [B, M, 4] pixels, of which the first `true_count` [B] exist.

    Returns:
      [B] in [0, 1].
    """

    def one(box, count, true_box, true_count):
        overlap = boxes.iou(box[:, None], true_box[None])  # [K, M]
        exist = jnp.arange(box.shape[0]) < count
        true_exist = jnp.arange(true_box.shape[0]) < true_count
        overlap = jnp.where(exist[:, None] & true_exist[None], overlap, 0)
        rows, columns = hungarian_algorithm(-overlap)
        most = jnp.maximum(count, true_count)
        return jnp.where(most > 0, overlap[rows, columns].sum() / jnp.maximum(most, 1), 1.0)

    return jax.vmap(one)(box, count, true_box, true_count)


def disjoint(box: jax.Array, count: jax.Array) -> jax.Array:
    """Whether no two of the first `count` boxes share area: [B, K, 4] and [B] -> [B] bool."""
    overlap = boxes.iou(box[:, :, None], box[:, None]) > 0  # [B, K, K]
    exist = jnp.arange(box.shape[1])[None] < count[:, None]
    pairs = exist[:, :, None] & exist[:, None] & ~jnp.eye(box.shape[1], dtype=bool)[None]
    return ~jnp.any(overlap & pairs, axis=(1, 2))


def inside(box: jax.Array, count: jax.Array, canvas: tuple[int, int]) -> jax.Array:
    """Whether the first `count` boxes lie inside the canvas: [B, K, 4] and [B] -> [B] bool."""
    height, width = canvas
    fits = jnp.all(box[..., :2] >= 0, -1) & (box[..., 2] <= width) & (box[..., 3] <= height)
    exist = jnp.arange(box.shape[1])[None] < count[:, None]
    return jnp.all(fits | ~exist, axis=1)
