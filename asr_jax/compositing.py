"""From windows to canvases: objects are drawn, and come together with the background.

With "sum" light adds up on black, as in the paper. With "over" nearer objects lie in front::

    C_n = sum_{t <= n} s_t a_t colour_t + prod_{t <= n} (1 - a_t) background

Of an object the nearer ones leave its scope s_t = prod (1 - a_i) in sight. What lies in front of an
object may be found before it or after, so depth is a latent, and not the order of the objects.
"""

from __future__ import annotations

import functools
import operator

import jax
import jax.numpy as jnp

from asr_jax import boxes, spatial
from asr_jax.types import Latents, Layers, Windows


def draw(windows: Windows, latents: Latents, canvas: tuple[int, int]) -> Layers:
    """Each object in its box on an empty canvas (H, W)."""
    centre, side = boxes.centre(latents.shift), boxes.side(latents.scale)
    alpha = spatial.write(windows.alpha, centre, side, canvas)
    if windows.colour is None:
        return Layers(alpha, alpha, latents.depth)
    if windows.colour.shape[-2:] == (1, 1):  # drawing each channel would take as long again
        return Layers(alpha, alpha[:, :, None] * windows.colour, latents.depth)
    light = windows.alpha[:, :, None] * windows.colour  # [B, K, C, h, w]
    light = spatial.write(light, centre[:, :, None], side[:, :, None], canvas)
    return Layers(alpha, light, latents.depth)


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
    over, alpha = in_front(layers)[..., None, None], layers.alpha
    in_sight, rest, found = [], jnp.ones_like(alpha[:, 0]), [background]
    for n in range(max(counts)):  # one more object: it hides some, and some hide it
        in_sight = [scope * (1 - over[:, n, t] * alpha[:, n]) for t, scope in enumerate(in_sight)]
        hidden = [1 - over[:, t, n] * alpha[:, t] for t in range(n)]
        in_sight.append(functools.reduce(operator.mul, hidden, jnp.ones_like(rest)))
        rest = rest * (1 - alpha[:, n])
        light = sum(scope[:, None] * layers.light[:, t] for t, scope in enumerate(in_sight))
        found.append(light + rest[:, None] * background)
    return channels_last(jnp.stack([found[n] for n in counts], axis=1))


def sums(objects: jax.Array, counts: tuple[int, ...]) -> jax.Array:
    """Sums of the first n of the objects [B, K, ...], for each n in counts -> [B, N, ...]."""
    if len(counts) == 1:
        return objects[:, : counts[0]].sum(1, keepdims=True)
    empty = jnp.zeros_like(objects[:, :1])
    totals = jnp.concatenate([empty, jnp.cumsum(objects, axis=1)], axis=1)  # n = 0..K
    return totals[:, jnp.array(counts)]


def in_front(layers: Layers) -> jax.Array:
    """Whether object i lies in front of object j: [B, K, K], 0 or 1."""
    batch, steps = layers.alpha.shape[:2]
    depth = jnp.zeros((batch, steps)) if layers.depth is None else layers.depth
    one, other = depth[:, :, None], depth[:, None]
    earlier = jnp.triu(jnp.ones((1, steps, steps), bool), 1)
    return ((one < other) | ((one == other) & earlier)).astype(layers.alpha.dtype)


def scopes(layers: Layers) -> jax.Array:
    """What nearer objects leave in sight of each, prod (1 - a_i): [B, K, H, W]."""
    over, alpha = in_front(layers)[..., None, None], layers.alpha
    hidden = [1 - over[:, t] * alpha[:, t, None] for t in range(alpha.shape[1])]
    return functools.reduce(operator.mul, hidden)


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

    def scaled(x):
        return x * presence.reshape(presence.shape + (1,) * (x.ndim - 2))

    return layers.replace(alpha=scaled(layers.alpha), light=scaled(layers.light))


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
