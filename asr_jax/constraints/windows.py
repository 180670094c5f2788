"""A constraint on what boxes show: an object that counts is seen (not in the paper).

Constraints on counts can be met by objects that are transparent, where nothing else says that they
are there.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from asr_jax.constraints.base import Constraint
from asr_jax.distributions import CountChain
from asr_jax.types import Posterior


@dataclasses.dataclass(frozen=True)
class Visible:
    """F = E sum_i max(least - a_i, 0) -> [B], with the mean alpha a_i of box i's window.

    Raises:
      ValueError: a least share that is not between 0 and 1.
    """

    least: float  # share of a window

    def __post_init__(self):
        if not 0 < self.least < 1:
            raise ValueError(f"the least share that is visible must be in (0, 1), got {self.least}")

    def __call__(self, posterior: Posterior, canvas: tuple[int, int]) -> jax.Array:
        share = posterior.windows.alpha.mean((-2, -1))  # [B, K]
        exists = CountChain(posterior.presence_logits).survival
        return jnp.sum(exists * jnp.maximum(self.least - share, 0), axis=1)


def visible_constraint(least: float = 0.1) -> Constraint:
    """`visible`: on average at least this share of an object's box shows the object.

    A share of a window, not a number of pixels; the tolerance is 0.01.

    Raises:
      ValueError: a share that is not between 0 and 1.
    """
    return Constraint("visible", Visible(least), weight=100.0, tolerance=0.01)
