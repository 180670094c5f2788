"""From windows to canvases: objects are drawn, and come together with the background.

With "sum" light adds up on black, as in the paper. With "over" nearer objects lie in front::

    C_n = sum_{t <= n} s_t a_t colour_t + prod_{t <= n} (1 - a_t) background

Of an object the nearer ones leave its scope s_t = prod (1 - a_i) in sight. What lies in front of an
object may be found before it or after, so depth is a latent, and not the order of the objects.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from asr_jax import boxes, spatial
from asr_jax.types import Latents, Layers, Windows

TINY = 1e-6  # alpha of pixels where there is nothing, whose colour is black


def draw(windows: Windows, latents: Latents, canvas: tuple[int, int]) -> Layers:
    """Each object around its box on an empty canvas (H, W)."""
    centre = boxes.centre(latents.shift)
    side = boxes.window_side(latents.scale, windows.border)
    alpha = spatial.write(windows.alpha, centre, side, canvas)
    colour = windows.colour
    if colour is None or colour.shape[-2:] == (1, 1):
        return Layers(alpha, colour, latents.depth)
    light = windows.alpha[:, :, None] * colour  # [B, K, C, h, w]
    light = spatial.write(light, centre[:, :, None], side[:, :, None], canvas)
    return Layers(alpha, light / (alpha[:, :, None] + TINY), latents.depth)


def canvases(layers: Layers, background: jax.Array | None, counts: tuple[int, ...]) -> jax.Array:
    """The first n of the objects together, for each n in counts.

    Args:
      layers: [B, K, ...].
      background: [B, C, H, W] for "over", or None for a "sum" on black.
      counts: N of them.

    Returns:
      [B, N, H, W], or [B, N, H, W, C] if objects have colours.
    """
    if background is None:
        return channels_last(sums(layers.light, counts))
    objects = one_by_one(layers)
    return channels_last(jnp.stack([over(objects[:n], background) for n in counts], axis=1))


def over(objects: Sequence[Layers], background: jax.Array) -> jax.Array:
    """Objects of `one_by_one` over each other and a background: [B, C, H, W], as this has."""
    canvas, rest = 0.0, jnp.ones_like(background[:, 0])
    for one, scope in zip(objects, in_sight(objects), strict=True):
        share = (scope * one.alpha)[:, None]  # of one channel, as long as can be: faster
        canvas = canvas + (share if one.colour is None else share * one.colour)
        rest = rest * (1 - one.alpha)
    return canvas + rest[:, None] * background


def one_by_one(layers: Layers) -> list[Layers]:
    """Each object of layers [B, K, ...] by itself, [B, ...]."""
    if layers.depth is None:
        layers = layers.replace(depth=jnp.zeros(layers.alpha.shape[:2]))
    objects = zip(*(jnp.unstack(leaf, axis=1) for leaf in jax.tree.leaves(layers)), strict=True)
    return [jax.tree.structure(layers).unflatten(one) for one in objects]


def in_sight(objects: Sequence[Layers]) -> list[jax.Array]:
    """What nearer objects leave in sight of each, prod (1 - a_i): [B, H, W], of `one_by_one`."""

    def scope(t, one):
        left = jnp.ones_like(one.alpha)
        for i, other in enumerate(objects):
            if i != t:  # of equals the earlier is in front
                nearer = other.depth <= one.depth if i < t else other.depth < one.depth
                left = left * (1 - nearer.astype(left.dtype)[:, None, None] * other.alpha)
        return left

    return [scope(t, one) for t, one in enumerate(objects)]


def sums(objects: jax.Array, counts: tuple[int, ...]) -> jax.Array:
    """Sums of the first n of the objects [B, K, ...], for each n in counts -> [B, N, ...]."""
    if len(counts) == 1:
        return objects[:, : counts[0]].sum(1, keepdims=True)
    empty = jnp.zeros_like(objects[:, :1])
    totals = jnp.concatenate([empty, jnp.cumsum(objects, axis=1)], axis=1)  # n = 0..K
    return totals[:, jnp.array(counts)]


def scopes(layers: Layers) -> jax.Array:
    """`in_sight` of layers [B, K, ...]: [B, K, H, W]."""
    return jnp.stack(in_sight(one_by_one(layers)), axis=1)


def depths(alpha: jax.Array, apart: jax.Array, least: float) -> jax.Array:
    """The order in which objects lie over each other, as colours say: [B, K], 0 is nearest.

    Where two objects are both drawn, the one whose colour the image has is in front. If neither
    fits better by `least`, the order of the objects decides. An object is as deep as the longest
    chain of objects that lie over it. A fact: no gradients flow through it.

    Args:
      alpha: [B, K, H, W] of each object on the canvas.
      apart: [B, K, H, W], the squared distance of a pixel's colour from the object's.
      least: difference of the sums of these.
    """
    flat = alpha.reshape(*alpha.shape[:2], -1)  # [B, K, pixels]
    misfit = flat @ (flat * apart.reshape(flat.shape)).mT  # [B, i, j]: of j, where both are drawn
    over = (misfit - misfit.mT > least).astype(alpha.dtype)
    depth = jnp.zeros(over.shape[:2])
    for _ in range(over.shape[1] - 1):
        depth = jnp.max(over * (depth[:, :, None] + 1), axis=1)
    return jax.lax.stop_gradient(depth)


def exist(layers: Layers, presence: jax.Array) -> Layers:
    """Layers as far as their objects exist, by presence [B, K] in [0, 1]."""

    return layers.replace(alpha=layers.alpha * presence[:, :, None, None])


def mask(layers: Layers, compositing: str) -> jax.Array:
    """What is seen at each pixel: 0 for the background, t for object t = 1..K -> [B, H, W].

    That is what has the largest share. Over each other, an object's share is what nearer ones
    leave of its alpha. Where light adds up it is alpha, and the background has the rest of 1.
    """
    alpha = layers.alpha
    if compositing == "over":
        rest = jnp.prod(1 - alpha, axis=1, keepdims=True)
        shares = jnp.concatenate([rest, alpha * scopes(layers)], axis=1)
    else:
        rest = jnp.maximum(1 - alpha.sum(1, keepdims=True), 0)
        shares = jnp.concatenate([rest, alpha], axis=1)  # [B, 1 + K, H, W]
    return jnp.argmax(shares, axis=1).astype(jnp.uint8)  # K is at most 100


def channels_last(canvas: jax.Array) -> jax.Array:
    """[B, N, C, H, W] -> [B, N, H, W, C], or [B, N, H, W] of one channel; [B, N, H, W] stays."""
    if canvas.ndim == 4:
        return canvas
    return canvas[:, :, 0] if canvas.shape[2] == 1 else jnp.moveaxis(canvas, 2, -1)
