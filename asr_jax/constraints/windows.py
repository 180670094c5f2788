"""Constraints on what boxes show (none is in the paper).

`visible`: an object that counts shows itself. Constraints on counts can be met by objects that are
transparent, or hidden behind others: nothing else says that they are there, and they cost next to
nothing.

`snug` and `centred`: a box fits what it shows. A window shows an object as well at half its size,
in the middle or not, so nothing else says what a box is.
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
    """F = E sum_i |s_i - e_i| -> [B], pixels from a box's side to the extent of its object.

    The extent is the larger one of width and height, as `_shown` has them. What is shown is a fact,
    as is how many objects there are: it is the box that follows, and the window then shows the
    object larger or smaller for the sake of the likelihood. An object that shows nothing is left
    alone, and of one that reaches beyond the canvas its part inside counts.
    """
    first, last, shows = _shown(posterior, canvas)
    box = boxes.latents_to_pixels(posterior.latents, canvas)
    off = jnp.abs(box[..., 2] - box[..., 0] - jnp.max(last - first, axis=-1))
    return jnp.sum(shows * off, axis=1)


def centred(posterior: Posterior, canvas: tuple[int, int]) -> jax.Array:
    """F = E sum_i (|x_i| + |y_i|) -> [B], pixels from a box's middle to that of its object.

    That of an object is halfway between where it begins and ends, wherever most of it is; a fact,
    as in `snug`.
    """
    first, last, shows = _shown(posterior, canvas)
    middle = boxes.middle(boxes.latents_to_pixels(posterior.latents, canvas))
    off = jnp.abs(middle - (first + last) / 2).sum(-1)
    return jnp.sum(shows * off, axis=1)


def _shown(posterior: Posterior, canvas: tuple[int, int]) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Where the pixels of each object begin and end, those of at least half its alpha: facts.

    Returns:
      first, last: [B, K, 2] (x, y) in pixels; shows: [B, K] the probability that an object exists,
      and 0 where it has no such pixel.
    """
    alpha = compositing.draw(posterior.windows, posterior.latents, canvas).alpha
    seen = jax.lax.stop_gradient(alpha) >= 0.5
    lines = seen.any(-2), seen.any(-1)  # columns and rows
    first = jnp.stack([line.argmax(-1) for line in lines], -1)
    last = jnp.stack([line.shape[-1] - line[..., ::-1].argmax(-1) for line in lines], -1)
    exists = jax.lax.stop_gradient(CountChain(posterior.presence_logits).survival)
    return first, last, jnp.where(seen.any((-2, -1)), exists, 0)


def snug_constraints() -> tuple[Constraint, Constraint]:
    """`snug` and `centred`: a box is the smallest square around its object, which is in its middle.

    Their tolerances are 1 pixel each, summed over the objects of an image.
    """
    return Constraint("snug", snug, tolerance=1.0), Constraint("centred", centred, tolerance=1.0)
