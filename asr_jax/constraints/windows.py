"""A constraint on what is seen: an object that counts shows itself (not in the paper).

Constraints on counts can be met by objects that are transparent, or hidden behind others: nothing
else says that they are there, and they cost next to nothing.
"""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp

from asr_jax import compositing
from asr_jax.constraints.base import Constraint
from asr_jax.distributions import CountChain
from asr_jax.types import Posterior


@dataclasses.dataclass(frozen=True)
class Visible:
    """F = E sum_i max(1 - v_i / least, 0) -> [B], objects, where v_i pixels of object i are seen.

    Those are the sum of its alpha on the canvas, as far as earlier objects leave it in sight. What
    they leave is a fact, without a gradient: no object makes way for one that hides behind it.

    Raises:
      ValueError: a number of pixels that is not above 0 and finite.
    """

    least: float  # pixels
    over: bool  # whether earlier objects lie over later ones, or light adds up

    def __post_init__(self):
        if not 0 < self.least < math.inf:
            raise ValueError(
                f"the least that is seen of an object must be above 0 pixels, got {self.least}"
            )

    def __call__(self, posterior: Posterior, canvas: tuple[int, int]) -> jax.Array:
        alpha = compositing.draw(posterior.windows, posterior.latents, canvas).alpha
        if self.over:
            alpha = alpha * jax.lax.stop_gradient(compositing.scopes(alpha))
        seen = alpha.sum((-2, -1))  # [B, K]
        exists = CountChain(posterior.presence_logits).survival
        return jnp.sum(exists * jnp.maximum(1 - seen / self.least, 0), axis=1)


def visible_constraint(least: float = 25.0, over: bool = True) -> Constraint:
    """`visible`: of an object that counts, at least so many pixels are seen.

    Its tolerance is 0.01 objects an image that are not seen.

    Args:
      least: pixels.
      over: whether the model's objects lie over each other, `compositing="over"`.

    Raises:
      ValueError: a number of pixels that is not above 0 and finite.
    """
    return Constraint("visible", Visible(least, over), weight=100.0, tolerance=0.01)
