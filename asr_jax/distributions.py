"""Distributions of posterior and prior: the count chain, Gaussians, relaxed presence.

The stop chain: u_t = sigmoid(presence_logits_t) is the probability of one more object at step t,
so q(n = k) = (prod_{t <= k} u_t) (1 - u_{k+1}), the last factor absent for k = K (Eqns. 1, 4 and 5
of the paper). All in log space.
"""

from __future__ import annotations

import distrax
import jax
import jax.numpy as jnp
import numpy as np

from asr_jax.types import Gaussian, Lattice

# Log-odds that stand for certainty where the count is known: exp(-110) is exactly 0 in float32,
# and its logarithm still finite, so that products with 0 are 0 and not NaN.
CERTAIN = 110.0


class CountChain(distrax.Distribution):
    """The number of objects n in 0..K, from the log-odds of one more object at every step."""

    def __init__(self, presence_logits: jax.Array):
        """presence_logits: [..., K]."""
        self.presence_logits = presence_logits

    @property
    def event_shape(self):
        return ()

    @property
    def batch_shape(self):
        return self.presence_logits.shape[:-1]

    @property
    def log_probs(self) -> jax.Array:
        """log q(n = k) for k = 0..K -> [..., K+1]."""
        log_stop = jax.nn.log_sigmoid(-self.presence_logits)
        ones = jnp.zeros_like(log_stop[..., :1])
        return jnp.concatenate([ones, self.log_survival], -1) + jnp.concatenate(
            [log_stop, ones], -1
        )

    @property
    def log_survival(self) -> jax.Array:
        """log P(n >= t) for t = 1..K -> [..., K]."""
        return jnp.cumsum(jax.nn.log_sigmoid(self.presence_logits), axis=-1)

    @property
    def survival(self) -> jax.Array:
        """P(n >= t) for t = 1..K, the probability that object t exists -> [..., K]."""
        return jnp.exp(self.log_survival)

    def log_prob(self, value: jax.Array) -> jax.Array:
        """log q(n = value); value [...] of integers in 0..K."""
        return jnp.take_along_axis(self.log_probs, value[..., None], axis=-1)[..., 0]

    def _sample_n(self, key, n):
        shape = (n,) + self.batch_shape
        return jax.random.categorical(key, self.log_probs, shape=shape)

    def mode(self) -> jax.Array:
        """The most likely count [...]; the smaller one of equals."""
        return jnp.argmax(self.log_probs, axis=-1)

    def mean(self) -> jax.Array:
        """E n = sum_t P(n >= t) -> [...]."""
        return self.survival.sum(-1)

    def entropy(self) -> jax.Array:
        """The exact sum over n = 0..K -> [...], nats."""
        return -jnp.sum(jnp.exp(self.log_probs) * self.log_probs, axis=-1)

    def kl_divergence(self, other: CountChain, **unused) -> jax.Array:
        """KL(self || other), the exact sum over n = 0..K -> [...], nats."""
        log_q = self.log_probs
        return jnp.sum(jnp.exp(log_q) * (log_q - other.log_probs), axis=-1)


def known_presence(counts: tuple[int, ...], batch: int, steps: int) -> jax.Array:
    """Presence logits [B, K] of a count that is uniform over `counts`; one count is certain.

    P(n >= t | n >= t - 1) is a ratio of numbers of counts. A count that is not possible gets a
    log-probability of about -CERTAIN, not minus infinity.
    """
    at_least = np.sum(np.array(counts)[:, None] >= np.arange(steps + 1), axis=0)  # of t = 0..K
    more, stop = at_least[1:], at_least[:-1] - at_least[1:]
    with np.errstate(divide="ignore", invalid="ignore"):
        logits = np.log(more) - np.log(stop)  # 0 / 0 beyond the largest count
    logits = np.clip(np.nan_to_num(logits, nan=-CERTAIN), -CERTAIN, CERTAIN)
    return jnp.broadcast_to(jnp.asarray(logits, jnp.float32), (batch, steps))


def bounded(presence_logits: jax.Array, bound: float) -> jax.Array:
    """Presence logits within (-bound, bound), bound tanh(l / bound): none is certain."""
    return bound * jnp.tanh(presence_logits / bound)


def restrict(presence_logits: jax.Array, counts: tuple[int, ...]) -> jax.Array:
    """Presence logits [..., K] of a chain that ends at one of `counts` only.

    A step keeps its logit where both answers are possible: the chain may stop before it, and a
    larger count is possible. Elsewhere the answer is certain. So a step still depends on the steps
    before it alone, as the KLs of the ELBO need it.
    """
    stopped = np.arange(presence_logits.shape[-1])  # n if step t = 1..K is the first without object
    more = stopped < max(counts)
    free = np.broadcast_to(more & np.isin(stopped, counts), presence_logits.shape)
    certain = np.broadcast_to(np.float32(np.where(more, CERTAIN, -CERTAIN)), free.shape)
    return jnp.where(free, presence_logits, certain)


def mixed(presence_logits: jax.Array, counts: tuple[int, ...], share: jax.Array) -> jax.Array:
    """Presence logits [B, K] of (1 - share) q(n) + share / N for n in `counts`, N of them.

    share: in [0, 1], a scalar. A step still depends on the steps before it alone.
    """
    uniform = CountChain(known_presence(counts, *presence_logits.shape)).log_probs
    log_q = CountChain(presence_logits).log_probs + jnp.log1p(-share)
    log_probs = jnp.logaddexp(log_q, uniform + jnp.log(share))  # [B, K+1]
    at_least = jax.lax.cumlogsumexp(log_probs, axis=1, reverse=True)
    return at_least[:, 1:] - log_probs[:, :-1]


def gaussian(parameters: Gaussian) -> distrax.MultivariateNormalDiag:
    """Arrays [..., D] -> a distribution with batch shape [...] over vectors of size D."""
    return distrax.MultivariateNormalDiag(parameters.loc, parameters.std)


def log_prob(parameters: Gaussian | Lattice, value: jax.Array) -> jax.Array:
    """log p(value) of values [..., D] -> [...], nats; of a lattice, the value it goes through.

    On the canvas, which has an area of 4, the density of a lattice is exp(logit) over its integral,
    the mean of the points times 4.
    """
    if isinstance(parameters, Gaussian):
        return gaussian(parameters).log_prob(value)
    points = parameters.logits.shape[-1]
    log_integral = jax.nn.logsumexp(parameters.logits, axis=-1) + np.log(4 / points)
    # d tanh(z) / dz = 1 - tanh(z)^2 = 4 / (e^z + e^-z)^2
    log_slope = 2 * (np.log(2) - value - jax.nn.softplus(-2 * value))
    return parameters.logit - log_integral + log_slope.sum(-1)


def kl(q: Gaussian, p: Gaussian | Lattice, sample: jax.Array) -> jax.Array:
    """KL(q || p) -> [...], nats; exact between Gaussians, else by a sample [..., D] of q.

    The latter is unbiased, -H(q) - log p(sample), and may be negative. The entropy of q is exact:
    where p is much wider than q, as over places, that leaves out nearly all of the noise.
    """
    if isinstance(p, Lattice):
        return -gaussian(q).entropy() - log_prob(p, sample)
    return gaussian(q).kl_divergence(gaussian(p))


def binary_concrete(logits: jax.Array, temperature: float) -> distrax.Logistic:
    """The binary Concrete distribution (Maddison et al. 2017) of the *logit* of a presence.

    In logit space it is a logistic distribution, and does not saturate; a ratio of two densities
    is the same in both spaces, since the Jacobian cancels.
    """
    return distrax.Logistic(logits / temperature, 1 / temperature)
