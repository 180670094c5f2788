"""The spatial transformer with gathers, as most AIR codes have it; compare `asr_jax.spatial`."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates

from asr_jax import boxes


def read(images: jax.Array, centre: jax.Array, side: jax.Array, window: int) -> jax.Array:
    """As `asr_jax.spatial.read`: images [B, H, W] -> windows [B, h, w]."""
    canvas = images.shape[-2:]
    middle = boxes.centre_in_pixels(centre, canvas)  # [B, 2]
    size = boxes.side_in_pixels(side, canvas)  # [B, 1]
    offsets = size * ((jnp.arange(window)[None] + 0.5) / window - 0.5) - 0.5  # [B, w]
    return jax.vmap(_sample)(images, middle[:, 1:] + offsets, middle[:, :1] + offsets)


def write(
    windows: jax.Array, centre: jax.Array, side: jax.Array, canvas: tuple[int, int]
) -> jax.Array:
    """As `asr_jax.spatial.write`: windows [B, h, w] -> canvases [B, H, W]."""
    middle = boxes.centre_in_pixels(centre, canvas)
    size = boxes.side_in_pixels(side, canvas)

    def positions(length, middle):  # [B, length], in window pixels
        pixels = jnp.arange(length)[None] + 0.5
        return ((pixels - middle) / size + 0.5) * windows.shape[-1] - 0.5

    rows, columns = positions(canvas[0], middle[:, 1:]), positions(canvas[1], middle[:, :1])
    return jax.vmap(_sample)(windows, rows, columns)


def _sample(image: jax.Array, rows: jax.Array, columns: jax.Array) -> jax.Array:
    """Bilinear samples of image [H, W] at rows [P] x columns [Q] -> [P, Q]; outside it is 0."""
    grid = jnp.meshgrid(rows, columns, indexing="ij")
    return map_coordinates(image, grid, order=1, mode="constant")
