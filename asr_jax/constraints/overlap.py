"""F1..F7: objects do not overlap, lie inside the image, and are of similar size (section 4.2).

The paper's penalty (Eqn. 11) is their weighted sum.

All in pixels, on one sample of the posterior's latents. Each term is weighted by the probability
that its objects exist, which makes the expectation over the number of objects n exact. Pairs are
counted in both orders, as in the paper's sums. l(x) = max(x, 0).
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from asr_jax import boxes
from asr_jax.constraints.base import Constraint
from asr_jax.distributions import CountChain
from asr_jax.types import Posterior


def overlap(posterior: Posterior, canvas: tuple[int, int]) -> jax.Array:
    """F1 = E sum_{i != j} l((s_i + s_j) / 2 - max(|x_i - x_j|, |y_i - y_j|)) -> [B], pixels."""
    middle, side, _ = _pixels(posterior, canvas)
    offset = jnp.abs(middle[:, :, None] - middle[:, None])  # [B, K, K, 2]
    # Not offset.max(-1): its gradient divides by the number of entries that equal the maximum,
    # which a compiler that recomputes the entries with other rounding can find to be 0.
    distance = jnp.maximum(offset[..., 0], offset[..., 1])  # [B, K, K]
    reach = (side[:, :, None] + side[:, None]) / 2
    return _sum_pairs(posterior, _l(reach - distance))


def left(posterior: Posterior, canvas: tuple[int, int]) -> jax.Array:
    """F2 = E sum_i l(s_i / 2 - x_i) -> [B], pixels beyond the left edge."""
    middle, side, exists = _pixels(posterior, canvas)
    return jnp.sum(exists * _l(side / 2 - middle[..., 0]), axis=1)


def right(posterior: Posterior, canvas: tuple[int, int]) -> jax.Array:
    """F3 = E sum_i l(x_i + s_i / 2 - W) -> [B], pixels beyond the right edge."""
    middle, side, exists = _pixels(posterior, canvas)
    return jnp.sum(exists * _l(middle[..., 0] + side / 2 - canvas[1]), axis=1)


def top(posterior: Posterior, canvas: tuple[int, int]) -> jax.Array:
    """F4 = E sum_i l(s_i / 2 - y_i) -> [B], pixels beyond the upper edge."""
    middle, side, exists = _pixels(posterior, canvas)
    return jnp.sum(exists * _l(side / 2 - middle[..., 1]), axis=1)


def bottom(posterior: Posterior, canvas: tuple[int, int]) -> jax.Array:
    """F5 = E sum_i l(y_i + s_i / 2 - H) -> [B], pixels beyond the lower edge."""
    middle, side, exists = _pixels(posterior, canvas)
    return jnp.sum(exists * _l(middle[..., 1] + side / 2 - canvas[0]), axis=1)


@dataclasses.dataclass(frozen=True)
class Size:
    """F6 = E sum_i l(c_min - s_i) + l(s_i - c_max) -> [B], pixels outside the allowed sides.

    Raises:
      ValueError: bounds below 0, out of order or infinite; on a canvas that c_min does not fit.
    """

    c_min: float  # pixels
    c_max: float

    def __post_init__(self):
        if not 0 <= self.c_min <= self.c_max < float("inf"):
            raise ValueError(
                f"sides need 0 <= c_min <= c_max (pixels), got {self.c_min} and {self.c_max}"
            )

    def __call__(self, posterior: Posterior, canvas: tuple[int, int]) -> jax.Array:
        if self.c_min > min(canvas):
            raise ValueError(
                f"c_min={self.c_min} pixels is more than the shorter edge of a canvas of {canvas}: "
                "sides are in pixels of the image"
            )
        _, side, exists = _pixels(posterior, canvas)
        return jnp.sum(exists * (_l(self.c_min - side) + _l(side - self.c_max)), axis=1)


@dataclasses.dataclass(frozen=True)
class Similar:
    """F7 = E sum_{i, j} l(|s_i - s_j| - epsilon) -> [B], pixels of difference in side.

    Raises:
      ValueError: an epsilon below 0 or infinite.
    """

    epsilon: float  # pixels

    def __post_init__(self):
        if not 0 <= self.epsilon < float("inf"):
            raise ValueError(f"epsilon must be at least 0 (pixels), got {self.epsilon}")

    def __call__(self, posterior: Posterior, canvas: tuple[int, int]) -> jax.Array:
        _, side, _ = _pixels(posterior, canvas)
        difference = jnp.abs(side[:, :, None] - side[:, None])  # [B, K, K]
        return _sum_pairs(posterior, _l(difference - self.epsilon))


def sides(posterior: Posterior, canvas: tuple[int, int]) -> jax.Array:
    """E sum_i s_i and E n -> [B, 2], whose means `Larger` divides.

    Who exists is a fact here, without a gradient: one more object that is small, and hidden behind
    another, would lower the mean side of all.
    """
    _, side, exists = _pixels(posterior, canvas)
    exists = jax.lax.stop_gradient(exists)
    return jnp.stack([jnp.sum(exists * side, axis=1), jnp.sum(exists, axis=1)], axis=-1)


@dataclasses.dataclass(frozen=True)
class Larger:
    """By how many pixels objects are larger than `side` on average; below 0 if they are smaller."""

    side: float  # pixels

    def __call__(self, mean: jax.Array) -> jax.Array:
        return mean[0] / jnp.maximum(mean[1], 1e-6) - self.side


def overlap_constraints(
    c_min: float = 11.0,
    c_max: float = 15.0,
    epsilon: float = 3.0,
    tight: float | None = None,
    side: float | None = None,
) -> tuple[Constraint, ...]:
    """F1..F7 of the paper, for objects whose side lies in [c_min, c_max] pixels.

    They carry the paper's weights: 1 for F1 to F5, 20 for F6, 10 for F7; and tolerances. The
    default sides are those of the paper's digits; sides of one image may differ by `epsilon`
    pixels.

    With `side` (pixels, not in the paper), one more under that name: objects are no larger than
    that on average over all images.

    With `tight` (pixels, not in the paper), one more under that name: F6 with this smaller upper
    bound. A window that is larger than its object costs nothing and forgives a centre that is off;
    a small one from the start slows learning. So it wants a weight that grows while the model
    trains: a ramp.

    Raises:
      ValueError: sides out of order, a negative epsilon, a `tight` below c_min, a `side` that lies
        outside the bounds; a c_min above the image's shorter edge when the constraint is evaluated.
    """
    if tight is not None and not c_min <= tight < float("inf"):
        raise ValueError(f"tight must be at least c_min={c_min} (pixels), got {tight}")
    if side is not None and not c_min <= side <= c_max:
        raise ValueError(
            f"side must lie between c_min={c_min} and c_max={c_max} (pixels), got {side}: it is "
            "the average of what they bound"
        )
    constraints = (
        Constraint("F1", overlap, tolerance=0.3),
        Constraint("F2", left, tolerance=0.05),
        Constraint("F3", right, tolerance=0.05),
        Constraint("F4", top, tolerance=0.05),
        Constraint("F5", bottom, tolerance=0.05),
        Constraint("F6", Size(c_min, c_max), weight=20.0, tolerance=0.05),
        Constraint("F7", Similar(epsilon), weight=10.0, tolerance=0.05),
    )
    if tight is not None:
        constraints += (Constraint("tight", Size(c_min, tight), tolerance=0.05),)
    if side is not None:
        constraints += (Constraint("side", sides, tolerance=0.1, of_mean=Larger(side)),)
    return constraints


def _l(x: jax.Array) -> jax.Array:
    return jnp.maximum(x, 0)


def _pixels(posterior: Posterior, canvas: tuple[int, int]):
    """Centres [B, K, 2] and sides [B, K] in pixels, and P(n >= t) [B, K]."""
    middle = boxes.centre_in_pixels(boxes.centre(posterior.latents.shift), canvas)
    side = boxes.side_in_pixels(boxes.side(posterior.latents.scale), canvas)[..., 0]
    return middle, side, CountChain(posterior.presence_logits).survival


def _sum_pairs(posterior: Posterior, values: jax.Array) -> jax.Array:
    """Sum of values [B, K, K] over ordered pairs i != j of objects that both exist -> [B].

    Objects come one after the other, so both exist when the later one does.
    """
    exists = CountChain(posterior.presence_logits).survival  # [B, K]
    steps = jnp.arange(exists.shape[1])
    both = exists[:, jnp.maximum(steps[:, None], steps[None])]  # [B, K, K]
    different = 1 - jnp.eye(len(steps))[None]
    return jnp.sum(both * values * different, axis=(1, 2))
