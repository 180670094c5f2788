"""The spatial transformer without rotation: `read` (canvas -> window), `write` (window -> canvas).

Because boxes are parallel to the axes, bilinear sampling separates into rows and columns: two
small matrix products with the weights max(0, 1 - |p - j|) of a position p over the pixels j, and no
gathers.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from asr_jax import boxes


def read(images: jax.Array, centre: jax.Array, side: jax.Array, window: int) -> jax.Array:
    """Cuts a window out of each image; what lies outside the image reads 0.

    Args:
      images: [B, H, W], or of several planes [B, C, H, W].
      centre: [B, 2], (x, y) in [-1, 1].
      side: [B, 1], a fraction of the shorter edge.
      window: h = w, pixels.

    Returns:
      [B, h, w] or [B, C, h, w], sampled at the centres of the window's pixels.
    """
    if images.ndim == 4:
        return jax.vmap(read, in_axes=(1, None, None, None), out_axes=1)(
            images, centre, side, window
        )
    canvas = images.shape[-2:]
    rows, columns = _window_in_canvas(centre, side, window, canvas)  # [B, h], [B, w]
    to_rows = _hat(rows, canvas[0])  # [B, h, H]
    to_columns = _hat(columns, canvas[1])  # [B, w, W]
    return _product(to_rows, images, to_columns.mT)


def write(
    windows: jax.Array, centre: jax.Array, side: jax.Array, canvas: tuple[int, int]
) -> jax.Array:
    """Draws each window into its box on an empty canvas; the inverse of `read`.

    Args:
      windows: [..., h, w].
      centre: [..., 2], (x, y) in [-1, 1].
      side: [..., 1], a fraction of the shorter edge.
      canvas: (H, W), pixels.

    Returns:
      [..., H, W].
    """
    window = windows.shape[-1]
    middle = boxes.centre_in_pixels(centre, canvas)  # [..., 2]
    size = boxes.side_in_pixels(side, canvas)  # [..., 1]

    def positions(length, middle):  # of the canvas's pixels, in window pixels [..., length]
        pixels = _range(length, middle.ndim) + 0.5
        return ((pixels - middle) / size + 0.5) * window - 0.5

    from_rows = _hat(positions(canvas[0], middle[..., 1:]), window)  # [..., H, h]
    from_columns = _hat(positions(canvas[1], middle[..., :1]), window)  # [..., W, w]
    return _product(from_rows, windows, from_columns.mT)


def _window_in_canvas(centre, side, window, canvas):
    """Where the window's rows and columns lie, in canvas pixels: [B, h] and [B, w]."""
    middle = boxes.centre_in_pixels(centre, canvas)
    size = boxes.side_in_pixels(side, canvas)
    offsets = size * ((_range(window, 2) + 0.5) / window - 0.5) - 0.5  # [B, w]
    return middle[..., 1:] + offsets, middle[..., :1] + offsets


def _product(*matrices: jax.Array) -> jax.Array:
    """Their product in full float32: accelerators round matmuls, and positions, by default."""
    return functools.reduce(functools.partial(jnp.matmul, precision="highest"), matrices)


def _hat(positions: jax.Array, length: int) -> jax.Array:
    """Bilinear weights of positions [..., P] over the pixels 0..length-1 -> [..., P, length]."""
    distance = jnp.abs(positions[..., None] - _range(length, positions.ndim + 1))
    return jnp.maximum(0, 1 - distance)


def _range(length: int, rank: int) -> jax.Array:
    """0..length-1 along the last of `rank` axes."""
    return jnp.arange(length, dtype=jnp.float32).reshape((1,) * (rank - 1) + (length,))
