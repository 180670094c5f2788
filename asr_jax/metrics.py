"""How good an explanation or a generated scene is. Arrays in, arrays out."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from optax.assignment import hungarian_algorithm

from asr_jax import boxes

FAR = 1e4  # pixels, more than a canvas has: between boxes of which one does not exist


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

    return _matched(boxes.iou(box[:, :, None], true_box[:, None]), count, true_count)


def centre_distance(
    box: jax.Array, count: jax.Array, true_box: jax.Array, true_count: jax.Array
) -> jax.Array:
    """How far the centre of each true box is from that of the box that is matched to it.

    Boxes are matched so that the distances have the least sum. Sizes do not matter.

    Args:
      box, count, true_box, true_count: as in `mean_iou`.

    Returns:
      [B, M] pixels; inf of a true box that is left without one, and -1 where there is no true box.
    """

    def one(box, count, true_box, true_count):
        there, truly = jnp.arange(len(box)) < count, jnp.arange(len(true_box)) < true_count
        apart = boxes.middle(box)[:, None] - boxes.middle(true_box)[None]
        distance = jnp.sqrt(jnp.square(apart).sum(-1))  # [K, M]
        distance = jnp.where(there[:, None] & truly[None], distance, FAR)
        rows, columns = hungarian_algorithm(distance)
        matched = jnp.full(len(true_box), FAR).at[columns].set(distance[rows, columns])
        return jnp.where(truly, jnp.where(matched < FAR, matched, jnp.inf), -1)

    return jax.vmap(one)(box, count, true_box, true_count)


def mask_iou(
    mask: jax.Array,
    count: jax.Array,
    true_mask: jax.Array,
    true_count: jax.Array,
    *,
    objects: int,
    true_objects: int,
) -> jax.Array:
    """As `mean_iou`, of the pixels at which objects are seen in place of their boxes.

    An object without a visible pixel matches nothing, and keeps its place in the denominator.

    Args:
      mask: [B, H, W] whole numbers, 0 the background, t the t-th object, of which the first `count`
        [B] exist.
      true_mask: [B, H, W], of which the first `true_count` [B] exist.
      objects, true_objects: K and M, the most that counts and masks can be; static.

    Returns:
      [B] in [0, 1].
    """
    shared = _shared_pixels(mask, true_mask, objects, true_objects)  # [B, K+1, M+1]
    union = shared.sum(2, keepdims=True) + shared.sum(1, keepdims=True) - shared
    overlap = shared / jnp.maximum(union, 1)
    return _matched(overlap[:, 1:, 1:], count, true_count)


def foreground_ari(
    mask: jax.Array, true_mask: jax.Array, *, objects: int, true_objects: int
) -> tuple[jax.Array, jax.Array]:
    """FG-ARI: how far two masks agree on which pixels of the true objects belong together.

    The adjusted Rand index (Hubert and Arabie, 1985) of all pairs of pixels with true_mask > 0: 1
    is agreement, 0 what chance would reach. Background in `mask` is one more part of them.

    Args:
      mask: [B, H, W] whole numbers, 0 the background, t the t-th object.
      true_mask: the same of what is true.
      objects, true_objects: K and M, the most that the masks can be; static.

    Returns:
      ([B] in [-1, 1], 0 where it is not defined; [B] bool, where it is: images with at least two
      true objects that are seen).
    """
    shared = _shared_pixels(mask, true_mask, objects, true_objects)[:, :, 1:]  # [B, K+1, M]
    total = shared.sum((1, 2))  # [B]
    together = _pairs(shared).sum((1, 2))  # in one part of both masks
    found, true = _pairs(shared.sum(2)).sum(1), _pairs(shared.sum(1)).sum(1)
    # Of the pairs that the masks do not agree on, in one part of one mask alone.
    split, merged = true - together, found - together
    apart = _pairs(total) - together - split - merged
    most = (together + split) * (split + apart) + (together + merged) * (merged + apart)
    ari = 2 * (together * apart - split * merged) / jnp.where(most > 0, most, 1)
    ari = jnp.where(most > 0, ari, 1.0)  # no two pixels belong together, in either mask
    defined = jnp.sum(shared.sum(1) > 0, axis=1) >= 2
    return jnp.where(defined, ari, 0.0), defined


def _matched(overlap: jax.Array, count: jax.Array, true_count: jax.Array) -> jax.Array:
    """Overlaps [B, K, M] of one object each, best matched, over the larger count: [B]."""

    def one(overlap, count, true_count):
        found, true = overlap.shape
        exist = (jnp.arange(found) < count)[:, None] & (jnp.arange(true) < true_count)[None]
        overlap = jnp.where(exist, overlap, 0)
        rows, columns = hungarian_algorithm(-overlap)
        most = jnp.maximum(count, true_count)
        return jnp.where(most > 0, overlap[rows, columns].sum() / jnp.maximum(most, 1), 1.0)

    return jax.vmap(one)(overlap, count, true_count)


def _shared_pixels(
    mask: jax.Array, true_mask: jax.Array, objects: int, true_objects: int
) -> jax.Array:
    """How many pixels two masks [B, H, W] share, for each pair of their values: [B, K+1, M+1]."""

    def one_hot(mask, objects):
        return jax.nn.one_hot(mask.reshape(len(mask), -1), objects + 1)  # [B, H*W, objects + 1]

    return jnp.einsum(
        "bpk,bpm->bkm",
        one_hot(mask, objects),
        one_hot(true_mask, true_objects),
        precision=jax.lax.Precision.HIGHEST,
    )


def _pairs(pixels: jax.Array) -> jax.Array:
    """How many pairs so many pixels make."""
    return pixels * (pixels - 1) / 2


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
