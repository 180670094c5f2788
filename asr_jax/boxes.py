"""The coordinate convention, in one place.

A centre is (x, y) in [-1, 1], x to the right and y down; -1 and 1 are the canvas's edges. A side
is a fraction of the canvas's shorter edge. A box in pixels is (x0, y0, x1, y1), half-open and
continuous: the pixel in row i and column j covers [j, j+1) x [i, i+1).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from asr_jax.types import Latents

LEAST = 1e-3  # pixels of a side: the square of one that is much smaller is 0 in float32


def centre(shift: jax.Array) -> jax.Array:
    """Shift latents [..., 2] -> centres (x, y) [..., 2] in [-1, 1]."""
    return jnp.tanh(shift)


def side(scale: jax.Array) -> jax.Array:
    """Scale latents [..., 1] -> sides [..., 1], a fraction of the shorter edge in (0, 1)."""
    return jax.nn.sigmoid(scale)


def window_side(scale: jax.Array, border: float) -> jax.Array:
    """The side of an object's window, which reaches beyond its box by `border` sides each way."""
    return side(scale) * (1 + 2 * border)


def centre_in_pixels(centre: jax.Array, canvas: tuple[int, int]) -> jax.Array:
    """Centres [..., 2] in [-1, 1] -> (x, y) [..., 2] in pixels."""
    height, width = canvas
    size = jnp.broadcast_to(jnp.array([width, height], jnp.float32), centre.shape)
    return (centre + 1) / 2 * size


def side_in_pixels(side: jax.Array, canvas: tuple[int, int]) -> jax.Array:
    """Sides as a fraction of the shorter edge -> pixels, at least LEAST; any shape."""
    return jnp.maximum(side * min(canvas), LEAST)


def to_pixels(centre: jax.Array, side: jax.Array, canvas: tuple[int, int]) -> jax.Array:
    """Centres [..., 2] and sides [..., 1] -> boxes [..., 4] (x0, y0, x1, y1) in pixels."""
    middle = centre_in_pixels(centre, canvas)
    half = side_in_pixels(side, canvas) / 2
    return jnp.concatenate([middle - half, middle + half], axis=-1)


def latents_to_pixels(latents: Latents, canvas: tuple[int, int]) -> jax.Array:
    """Latents of [B, K] objects -> boxes [B, K, 4] in pixels."""
    return to_pixels(centre(latents.shift), side(latents.scale), canvas)


def middle(box: jax.Array) -> jax.Array:
    """Boxes [..., 4] in pixels -> their centres (x, y) [..., 2] in pixels."""
    return (box[..., :2] + box[..., 2:]) / 2


def iou(a: jax.Array, b: jax.Array) -> jax.Array:
    """Intersection over union of boxes [..., 4] and [..., 4] (broadcast) -> [...].

    No pixel is added to a side, so that disjoint boxes have exactly 0; two empty boxes have 0.
    """
    low = jnp.maximum(a[..., :2], b[..., :2])
    high = jnp.minimum(a[..., 2:], b[..., 2:])
    intersection = jnp.prod(jnp.maximum(high - low, 0), axis=-1)
    union = area(a) + area(b) - intersection
    return jnp.where(union > 0, intersection / jnp.where(union > 0, union, 1), 0)


def area(box: jax.Array) -> jax.Array:
    """Boxes [..., 4] in pixels -> areas [...] in square pixels."""
    return jnp.prod(jnp.maximum(box[..., 2:] - box[..., :2], 0), axis=-1)
