"""From windows to canvases: objects are drawn, and come together with the background.

With "sum" light adds up on black, as in the paper. With "over" earlier objects lie in front::

    C_n = sum_{t <= n} s_t a_t colour_t + s_{n+1} background,  s_t = prod_{i < t} (1 - a_i)

so one pass gives the canvases of all n = 0..K. The scope s_t is what the first objects leave for
later ones (Burgess et al. 2019), and nothing can be drawn over an object that is found already.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from asr_jax import boxes, spatial
from asr_jax.types import Latents, Layers, Windows


def draw(windows: Windows, latents: Latents, canvas: tuple[int, int]) -> Layers:
    """Each object in its box on an empty canvas (H, W)."""
    centre, side = boxes.centre(latents.shift), boxes.side(latents.scale)
    alpha = spatial.write(windows.alpha, centre, side, canvas)
    if windows.colour is None:
        return Layers(alpha, alpha)
    if windows.colour.shape[-2:] == (1, 1):  # drawing each channel would take as long again
        return Layers(alpha, alpha[:, :, None] * windows.colour)
    light = windows.alpha[:, :, None] * windows.colour  # [B, K, C, h, w]
    return Layers(alpha, spatial.write(light, centre[:, :, None], side[:, :, None], canvas))


def canvases(layers: Layers, background: jax.Array | None, counts: tuple[int, ...]) -> jax.Array:
    """The first n of the objects together, for each n in counts.

    Args:
      layers: [B, K, ...].
      background: [B, C, H, W] for "over", or None for a "sum" on black.
      counts: N of them.

    Returns:
      [B, N, H, W], or [B, N, H, W, C] if objects have colours.
    """
    if background is not None:
        scope, light = jnp.ones_like(layers.alpha[:, 0, None]), jnp.zeros_like(background)
        found = [background]
        for t in range(max(counts)):
            light = light + scope * layers.light[:, t]
            scope = scope * (1 - layers.alpha[:, t, None])  # [B, 1, H, W]
            found.append(light + scope * background)
        return channels_last(jnp.stack([found[n] for n in counts], axis=1))
    return channels_last(sums(layers.light, counts))


def sums(objects: jax.Array, counts: tuple[int, ...]) -> jax.Array:
    """Sums of the first n of the objects [B, K, ...], for each n in counts -> [B, N, ...]."""
    if len(counts) == 1:
        return objects[:, : counts[0]].sum(1, keepdims=True)
    empty = jnp.zeros_like(objects[:, :1])
    totals = jnp.concatenate([empty, jnp.cumsum(objects, axis=1)], axis=1)  # n = 0..K
    return totals[:, jnp.array(counts)]


def scopes(alpha: jax.Array) -> jax.Array:
    """What the objects before each leave in sight, prod_{i < t} (1 - a_i); alpha: [B, K, ...]."""
    clear = jnp.cumprod(1 - alpha, axis=1)
    return jnp.concatenate([jnp.ones_like(alpha[:, :1]), clear[:, :-1]], axis=1)


def exist(layers: Layers, presence: jax.Array) -> Layers:
    """Layers as far as their objects exist, by presence [B, K] in [0, 1]."""

    def scaled(x):
        return x * presence.reshape(presence.shape + (1,) * (x.ndim - 2))

    return jax.tree.map(scaled, layers)


def mask(layers: Layers, compositing: str) -> jax.Array:
    """What is seen at each pixel: 0 for the background, t for object t = 1..K -> [B, H, W].

    That is what has the largest share. Over each other, an object's share is what earlier ones
    leave of its alpha. Where light adds up it is alpha, and the background has the rest of 1.
    """
    alpha = layers.alpha
    if compositing == "over":
        scope = scopes(alpha)
        rest = scope[:, -1:] * (1 - alpha[:, -1:])
        shares = jnp.concatenate([rest, alpha * scope], axis=1)
    else:
        rest = jnp.maximum(1 - alpha.sum(1, keepdims=True), 0)
        shares = jnp.concatenate([rest, alpha], axis=1)  # [B, 1 + K, H, W]
    return jnp.argmax(shares, axis=1).astype(jnp.uint8)  # K is at most 100


def channels_last(canvas: jax.Array) -> jax.Array:
    """[B, N, C, H, W] -> [B, N, H, W, C], or [B, N, H, W] of one channel; [B, N, H, W] stays."""
    if canvas.ndim == 4:
        return canvas
    return canvas[:, :, 0] if canvas.shape[2] == 1 else jnp.moveaxis(canvas, 2, -1)
