"""Constraints on the prior: what the places that it would draw violate, given earlier boxes.

A prior learns places from the posterior, and a density ends less sharply than what it learns from.
Here it pays for the places themselves, as expectations that are exact up to the lattice::

    sum_t P(n >= t) ( E_{c ~ p(c^t | s^t, z^{<t})} max(F(z^{<t}, s^t, c), 0) - max(F(z^{<t}), 0) )

The earlier boxes z^{<t} and the side s^t are the posterior's, and have no gradient: a price on
whole samples of the prior is paid least by tiny boxes, or by one layout that is always safe.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from asr_jax.constraints.base import Constraint, statistics
from asr_jax.distributions import CERTAIN, CountChain
from asr_jax.types import Latents, Lattice, Posterior, Prior


def of_places(
    constraints: Sequence[Constraint], posterior: Posterior, prior: Prior, canvas: tuple[int, int]
) -> dict[str, jax.Array]:
    """The expression above for every constraint, under its name, [B] each, in the unit of F.

    Args:
      constraints: of single images; sides alone say nothing of a place, and have no gradient.
      posterior: of B images.
      prior: along the posterior's latents, with `place_prior="relations"`. Gradients go to its
        probabilities alone.
      canvas: (H, W) in pixels.

    Raises:
      ValueError: a constraint on the mean of a batch; a prior whose places are Gaussian; as
        `values`.
    """
    check(constraints)
    if not isinstance(prior.shift, Lattice):
        raise ValueError(
            "a prior whose places are Gaussian cannot be constrained, got prior_weights for "
            f"{', '.join(c.name for c in constraints)}: use place_prior='relations'"
        )
    exists = CountChain(posterior.presence_logits).survival  # [B, K]
    posterior, exists, points = jax.lax.stop_gradient((posterior, exists, prior.shift.points))
    probability = jax.nn.softmax(prior.shift.logits)  # [B, K, M]
    shift = jnp.arctanh(points)[:, :, :, None]  # [B, K, M, 1, 2]
    batch, steps, number = probability.shape
    this = np.eye(steps, dtype=bool)  # of step t, which object it is
    so_far = np.tril(np.ones((steps, steps), bool))  # and which there are by then
    drawn = _with_boxes(posterior, jnp.where(this[:, None, :, None], shift, _spread(posterior)))
    drawn = drawn.replace(presence_logits=_sure(so_far[None, :, None], batch, steps, number))
    before = _with_boxes(posterior, _spread(posterior) + jnp.zeros((1, steps, 1, 1, 1)))
    before = before.replace(presence_logits=_sure((so_far & ~this)[None, :, None], batch, steps, 1))

    def violations(of: Posterior) -> dict[str, jax.Array]:
        found = statistics(constraints, of, canvas)
        return {n: jnp.maximum(f, 0).reshape(batch, steps, -1) for n, f in found.items()}

    more, less = violations(drawn), violations(before)
    return {
        name: jnp.sum(exists * (jnp.sum(probability * more[name], 2) - less[name][..., 0]), axis=1)
        for name in more
    }


def places_only(params: dict) -> dict:
    """The same parameters; a gradient reaches the density of places, and not what it is given."""
    tree = params["prior"]["params"]
    held = {k: v if k == "place" else jax.lax.stop_gradient(v) for k, v in tree.items()}
    return params | {"prior": {"params": held}}


def check(constraints: Sequence[Constraint], field: str = "prior_weights") -> None:
    """Raises ValueError for a constraint that places cannot be held to; `field` named it."""
    for constraint in constraints:
        if constraint.of_mean is not None:
            raise ValueError(
                f"{field}.{constraint.name} is of the mean of a batch, which the places of a prior "
                "are not held to: leave it out"
            )


def _spread(posterior: Posterior) -> jax.Array:
    """Shifts [B, 1, 1, K, 2]."""
    return posterior.latents.shift[:, None, None]


def _sure(exist: np.ndarray, batch: int, steps: int, number: int) -> jax.Array:
    """Presence logits [B * K * M, K] of objects that exist [1, K, 1, K] or do not."""
    logits = np.where(exist, CERTAIN, -CERTAIN).astype(np.float32)
    return jnp.broadcast_to(logits, (batch, steps, number, steps)).reshape(-1, steps)


def _with_boxes(posterior: Posterior, shift: jax.Array) -> Posterior:
    """The posterior of B images, each as often as there are shifts [B, T, M, K, 2]."""
    copies = shift.shape[1:3]

    def spread(x):
        x = jnp.broadcast_to(x[:, None, None], (len(x), *copies, *x.shape[1:]))
        return x.reshape(-1, *x.shape[3:])

    spread_all = jax.tree.map(spread, posterior)
    latents = spread_all.latents
    shift = shift.reshape(-1, *shift.shape[3:])
    return spread_all.replace(latents=Latents(shift, latents.scale, latents.appearance))
