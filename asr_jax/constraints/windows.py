"""Constraints on what boxes show (none is in the paper).

`visible`: an object that counts shows itself. Constraints on counts can be met by objects that are
transparent, or hidden behind others: nothing else says that they are there, and they cost next to
nothing.

`snug` and `centred`: a box fits its object. A window shows an object as well at half its size, in
the middle or not, so nothing else says what a box is.
"""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp

from asr_jax import boxes, compositing
from asr_jax.constraints.base import Constraint
from asr_jax.distributions import CountChain
from asr_jax.types import Posterior


@dataclasses.dataclass(frozen=True)
class Visible:
    """F = E sum_i max(1 - v_i / least, 0) -> [B], objects, where v_i pixels of object i are seen.

    Those are the sum of its alpha on the canvas, as far as nearer objects leave it in sight. What
    they leave is a fact, without a gradient: no object makes way for one that hides behind it.

    Raises:
      ValueError: a number of pixels that is not above 0 and finite.
    """

    least: float  # pixels
    over: bool  # whether nearer objects lie over others, or light adds up

    def __post_init__(self):
        if not 0 < self.least < math.inf:
            raise ValueError(
                f"the least that is seen of an object must be above 0 pixels, got {self.least}"
            )

    def __call__(self, posterior: Posterior, canvas: tuple[int, int]) -> jax.Array:
        layers = compositing.draw(posterior.windows, posterior.latents, canvas)
        alpha = layers.alpha
        if self.over:
            alpha = alpha * jax.lax.stop_gradient(compositing.scopes(layers))
        seen = alpha.sum((-2, -1))  # [B, K]
        exists = CountChain(posterior.presence_logits).survival
        return jnp.sum(exists * jnp.maximum(1 - seen / self.least, 0), axis=1)


def visible_constraint(least: float = 25.0, over: bool = True) -> Constraint:
    """`visible`: of an object that counts, at least so many pixels are seen.

    Its tolerance is 0.02 objects an image that are not seen.

    Args:
      least: pixels.
      over: whether the model's objects lie over each other, `compositing="over"`.

    Raises:
      ValueError: a number of pixels that is not above 0 and finite.
    """
    return Constraint("visible", Visible(least, over), weight=100.0, tolerance=0.02)


def snug(posterior: Posterior, canvas: tuple[int, int]) -> jax.Array:
    """F = E sum_i (1 - e_i) -> [B], objects, where e_i is the ink of object i at its box's edges.

    The smallest square around an object has ink at two opposite edges, a pixel of the canvas or
    more: e is how much of one there is within a pixel of the edge that has less, or beyond it, of
    the axis where that is more. How many objects there are, and their sides, are facts, without a
    gradient.
    """
    size, sums = _ink(posterior, canvas)
    border = posterior.windows.border
    beyond = border / (1 + 2 * border) * posterior.windows.alpha.shape[-1]  # rows
    at_edges = []
    for ink in sums:  # of rows, of columns
        rows = jnp.arange(ink.shape[-1])[None, None]
        outermost = jnp.clip(beyond + size - rows, 0, 1)  # the share of a row
        first, last = ((outermost * of).sum(-1) for of in (ink, ink[..., ::-1]))
        at_edges.append(jnp.minimum(first, last) / size[..., 0] ** 2)
    return jnp.sum(_exists(posterior) * (1 - jnp.minimum(jnp.maximum(*at_edges), 1)), axis=1)


def centred(posterior: Posterior, canvas: tuple[int, int]) -> jax.Array:
    """F = E sum_i (|x_i| + |y_i|) -> [B], pixels from a box's middle to that of its object.

    That of an object is the mean place of its rows and of its columns, which are there if they
    have a pixel of ink: halfway between where it begins and ends, wherever most of it is. How many
    objects there are, and their sides, are facts, without a gradient.
    """
    size, sums = _ink(posterior, canvas)
    off = sum(jnp.abs(_middle(jnp.minimum(ink / size, 1))) / size[..., 0] for ink in sums)
    return jnp.sum(_exists(posterior) * off, axis=1)


def _exists(posterior: Posterior) -> jax.Array:
    return jax.lax.stop_gradient(CountChain(posterior.presence_logits).survival)


def _ink(
    posterior: Posterior, canvas: tuple[int, int]
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    """How many pixels of a window are one of the canvas, [B, K, 1]; and ink, in those.

    The ink is that of each row, [B, K, h], and of each column, [B, K, w]. A window has finer pixels
    than the canvas: ink that is less than one there would be put where no likelihood sees it.
    """
    alpha = posterior.windows.alpha
    side = boxes.window_side(posterior.latents.scale, posterior.windows.border)
    side = boxes.side_in_pixels(side, canvas)
    return jax.lax.stop_gradient(alpha.shape[-1] / side), (alpha.sum(-1), alpha.sum(-2))


def _middle(there: jax.Array) -> jax.Array:
    """The mean place of rows, [..., n] -> [...], in rows from the window's middle."""
    places = jnp.arange(there.shape[-1]) + 0.5 - there.shape[-1] / 2
    return there @ places / jnp.maximum(there.sum(-1), 1e-3)


def snug_constraints() -> tuple[Constraint, Constraint]:
    """`snug` and `centred`: a box is the smallest square around its object, which is in its middle.

    Their tolerances are 0.1 objects and 0.1 pixels, summed over the objects of an image.
    """
    return Constraint("snug", snug, tolerance=0.1), Constraint("centred", centred, tolerance=0.1)
