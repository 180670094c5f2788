"""R_num: every image has one of the possible numbers of objects, each equally often (section 4.1)::

    R_num = w1 E_x min_{k in L} KL(q_k || q(n | x)) + w2 KL(uniform(L) || E_x q(n | x))

where q_k is certain of n = k, so that KL(q_k || q(n | x)) = -log q(n = k | x). Both terms are in
nats. The second is a functional of the batch's mean: under data parallelism, of all devices' mean.

The first term asks for two things at once: that n be possible, which holds in every scene, and that
q be certain, which no price buys where objects hide each other. `possible` asks for the former
alone, so that much can be required of it, and less of the latter.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable

import jax
import jax.numpy as jnp
import numpy as np

from asr_jax.config import whole
from asr_jax.constraints.base import Constraint
from asr_jax.distributions import CERTAIN, CountChain
from asr_jax.types import Posterior

TINY = 1e-30  # keeps the logarithm of a mean that underflowed, and its gradient, finite


@dataclasses.dataclass(frozen=True)
class Number:
    """min_{k in L} -log q(n = k | x) -> [B], nats: 0 where one possible count is certain."""

    counts: tuple[int, ...]  # L

    def __call__(self, posterior: Posterior, canvas: tuple[int, int]) -> jax.Array:
        surprise = -_log_probs(posterior, self.counts)  # [B, |L|]
        # Not .min(-1): see `overlap.overlap` for the gradient of a reduction.
        return functools.reduce(jnp.minimum, jnp.unstack(surprise, axis=1))


@dataclasses.dataclass(frozen=True)
class Possible:
    """-log q(n in L | x) -> [B], nats: 0 where no other count is thought possible."""

    counts: tuple[int, ...]  # L

    def __call__(self, posterior: Posterior, canvas: tuple[int, int]) -> jax.Array:
        return -jax.nn.logsumexp(_log_probs(posterior, self.counts), axis=1)


@dataclasses.dataclass(frozen=True)
class Probabilities:
    """q(n = k | x) for k in L -> [B, |L|]."""

    counts: tuple[int, ...]  # L

    def __call__(self, posterior: Posterior, canvas: tuple[int, int]) -> jax.Array:
        return jnp.exp(_log_probs(posterior, self.counts))


def counted(posterior: Posterior, canvas: tuple[int, int]) -> jax.Array:
    """-log q(n = n_x | x) where n_x, `Posterior.known_count`, is known, and else 0 -> [B], nats.

    110 where n_x is above K, which no posterior can find.
    """
    log_q = CountChain(posterior.presence_logits).log_probs  # [B, K+1]
    if posterior.known_count is None:
        return jnp.zeros_like(log_q[:, 0])
    known = posterior.known_count >= 0
    possible = known & (posterior.known_count < log_q.shape[1])
    at = jnp.where(possible, posterior.known_count, 0)[:, None]
    surprise = -jnp.take_along_axis(log_q, at, axis=1)[:, 0]
    return jnp.where(possible, surprise, jnp.where(known, CERTAIN, 0.0))


def divergence_from_uniform(probabilities: jax.Array) -> jax.Array:
    """KL(uniform(L) || p) of p [|L|], which need not sum to 1: what is missing lies outside L."""
    return jnp.mean(-np.log(len(probabilities)) - jnp.log(probabilities + TINY))


def number_constraints(counts: Iterable[int]) -> tuple[Constraint, Constraint, Constraint]:
    """The two terms of R_num, `number` and `balance`, and `possible`, for `counts` objects, L.

    R_num carries the paper's weights, 10 and 100, and tolerances of 0.02 nats. `possible` is not in
    the paper: it has a weight of 0, and a tolerance of 0.0001 nats for multipliers that set
    themselves.

    Raises:
      ValueError: no counts, one twice, one below 0 or not whole; one above K when the constraint is
        evaluated.
    """
    counts = tuple(counts)
    if not counts or not whole(counts) or len(set(counts)) < len(counts) or min(counts) < 0:
        raise ValueError(
            f"the possible counts must be different whole numbers of 0 or more, got {counts}"
        )
    balance = Probabilities(counts)
    return (
        Constraint("number", Number(counts), weight=10.0, tolerance=0.02),
        Constraint(
            "balance", balance, weight=100.0, tolerance=0.02, of_mean=divergence_from_uniform
        ),
        Constraint("possible", Possible(counts), weight=0.0, tolerance=0.0001),
    )


def counted_constraint() -> Constraint:
    """Images whose count is known have that count: `counted`, for `elbo_with_penalty(counts=...)`.

    Not in the paper. It carries a weight of 10 and a tolerance of 0.001 nats, over all images.
    """
    return Constraint("counted", counted, weight=10.0, tolerance=0.001)


def _log_probs(posterior: Posterior, counts: tuple[int, ...]) -> jax.Array:
    """log q(n = k | x) for k in counts -> [B, |L|]."""
    steps = posterior.presence_logits.shape[1]
    if max(counts) > steps:  # an index out of range would be clipped in silence
        raise ValueError(
            f"the possible counts must lie in 0..K={steps}, got {counts}: raise max_objects "
            "or lower the counts"
        )
    return CountChain(posterior.presence_logits).log_probs[:, jnp.array(counts)]
