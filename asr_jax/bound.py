"""The evidence lower bound, exact in the number of objects (Eqn. 9 of the paper)::

    ELBO(x) = sum_k q(n = k) log p(x | z^{1..k}) - KL(q(n) || p(n))
              - sum_t P(n >= t) KL(q(z^t | z^{<t}, x) || p(z^t | z^{<t}))

The sum over n is exact, so presence needs no score function, no temperature and no baseline; the
continuous latents are reparameterised. `concrete` relaxes presence instead, as the authors'
released code does.

In a presence logit its gradient vanishes where q(n) is sure of itself. `Terms.count_gap` is a term
whose gradient does not: it pulls q(n) to the best count posterior of the sample.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.scipy.special import gammaln

from asr_jax import random_keys
from asr_jax.config import ModelConfig
from asr_jax.constraints.base import Constraint, values
from asr_jax.constraints.places import of_places, places_only
from asr_jax.distributions import CountChain, binary_concrete, kl, mixed
from asr_jax.generative import log_likelihood, log_likelihoods, standard
from asr_jax.images import to_float
from asr_jax.model import Model, Params
from asr_jax.types import Posterior, Prior, Terms

LATENTS = ("shift", "scale", "appearance")
STOP = 0.9  # lost presence at which the relaxed chain ends


def elbo(
    params: Params,
    key: jax.Array,
    images: jax.Array,
    *,
    model: Model,
    constraints: Sequence[Constraint] = (),
    prior_constraints: Sequence[Constraint] = (),
    presence_prior: jax.Array | None = None,
    count_mix: jax.Array | None = None,
    counts: jax.Array | None = None,
    axis_name: str | None = None,
) -> Terms:
    """The ELBO of each image and its terms, [B]; F_i is evaluated, the penalty is 0.

    Arguments as in `elbo_with_penalty`; `prior_constraints` are those with a prior weight.

    Raises:
      ValueError: images or keys that do not fit; a functional that does not return [B].
    """
    return _elbo(
        params,
        key,
        model.check(images),
        presence_prior,
        count_mix,
        counts,
        model=model,
        constraints=tuple(constraints),
        prior_constraints=tuple(prior_constraints),
        axis_name=axis_name,
    )


@functools.partial(
    jax.jit, static_argnames=("model", "constraints", "prior_constraints", "axis_name")
)
def _elbo(
    params,
    key,
    images,
    presence_prior,
    count_mix,
    counts,
    *,
    model,
    constraints,
    prior_constraints,
    axis_name,
):
    keys = random_keys.per_image(key, len(images), axis_name)
    posterior = model.decoded(params, model.posterior(params, keys, images))
    terms, _ = elbo_terms(
        params,
        posterior,
        to_float(images),
        model=model,
        presence_prior=presence_prior,
        count_mix=count_mix,
        prior_constraints=prior_constraints,
    )
    posterior = posterior.replace(known_count=counts)
    return terms.replace(constraints=values(constraints, posterior, model.config.canvas, axis_name))


def count_scores(
    prior: Prior, log_p: jax.Array, gains: jax.Array, config: ModelConfig
) -> jax.Array:
    """What speaks for each n: log p(n | z) + log p(x | z^{1..n}) + sum_{t <= n} gains_t.

    Where objects lie over each other, minus log n!: see `orders`.

    Args:
      prior: along the sample z.
      log_p: [B, N] log p(x | z^{1..n}) for n in `config.counts`.
      gains: [B, K] log p(z^t) - log q(z^t | x), or its expectation, minus the KL of step t.
      config: of the model.

    Returns:
      [B, N] for n in `config.counts`, nats.
    """
    of_n = jnp.pad(jnp.cumsum(gains, axis=1), [(0, 0), (1, 0)])  # [B, K+1], n = 0..K
    of_n = of_n + CountChain(prior.presence_logits).log_probs
    return of_n[:, jnp.array(config.counts)] + log_p - orders(config)[None]


def orders(config: ModelConfig) -> jax.Array:
    """log n! for n in `config.counts`, where objects lie over each other, else 0: [N], nats.

    The posterior sees which of the n! orders it is, and all are as likely before.
    """
    if config.compositing == "sum":
        return jnp.zeros(len(config.counts))
    return gammaln(jnp.array(config.counts) + 1.0)


def elbo_terms(
    params: Params,
    posterior: Posterior,
    images: jax.Array,
    *,
    model: Model,
    presence_prior: jax.Array | None = None,
    count_mix: jax.Array | None = None,
    prior_constraints: Sequence[Constraint] = (),
) -> tuple[Terms, jax.Array]:
    """The ELBO on a given sample of the posterior of images [B, H, W], floats in [0, 1].

    No constraints on the posterior are evaluated.

    Returns:
      The terms, [B] each, and `count_scores` of the sample with the minus KLs for gains, [B, N]:
      the n that the ELBO would choose has the largest.
    """
    config, latents = model.config, posterior.latents
    prior = model.prior(params, latents, presence_prior)
    windows = model.decoded(params, posterior).windows
    layers, behind = model.layers(params, latents, windows), model.background(params, latents)
    log_p = log_likelihoods(images, layers, behind, config)
    seen = posterior
    if count_mix is not None and config.count is None:
        logits = mixed(posterior.presence_logits, config.counts, count_mix)
        seen = posterior.replace(presence_logits=logits)
    if config.estimator == "concrete":
        expected, kl_count, exists = _concrete(seen, prior, layers.light, images, config)
    else:
        expected, kl_count, exists = _marginal(seen, prior, log_p, config)

    kls = {  # KL(q(z^t | z^{<t}, x) || p(z^t | z^{<t})), [B, K]
        name: kl(getattr(posterior, name), getattr(prior, name), getattr(latents, name))
        for name in LATENTS
    }
    # Only objects that exist have something to encode.
    kl_shift, kl_scale, kl_appearance = (jnp.sum(exists * kls[name], axis=1) for name in LATENTS)
    kl_background = None
    if posterior.background is not None:
        z = latents.background
        kl_background = kl(posterior.background, standard(z.shape), z)  # [B]
    scores = count_scores(prior, log_p, -sum(kls.values()), config)
    constrained = {}
    if prior_constraints:  # a price that places pay, not the posterior that they are learned from
        alone = model.prior(places_only(params), jax.lax.stop_gradient(latents))
        constrained = of_places(prior_constraints, posterior, alone, config.canvas)
    elbo = expected - kl_count - kl_shift - kl_scale - kl_appearance
    terms = Terms(
        elbo=elbo if kl_background is None else elbo - kl_background,
        log_likelihood=expected,
        kl_count=kl_count,
        kl_shift=kl_shift,
        kl_scale=kl_scale,
        kl_appearance=kl_appearance,
        penalty=jnp.zeros_like(expected),
        prior_penalty=jnp.zeros_like(expected),
        count_gap=_count_gap(posterior, scores, config),
        kl_background=kl_background,
        constraints={},
        prior_constraints=constrained,
    )
    return terms, scores


def exact(model: Model) -> Model:
    """The same model, with the ELBO that is exact in n."""
    return Model(dataclasses.replace(model.config, estimator="marginal"))


def _marginal(posterior: Posterior, prior: Prior, log_p: jax.Array, config: ModelConfig):
    """Exact in n -> (E log p(x | z, n) [B], KL of the count [B], P(n >= t) [B, K])."""
    q_n, p_n = CountChain(posterior.presence_logits), CountChain(prior.presence_logits)
    q = jnp.exp(q_n.log_probs)[:, jnp.array(config.counts)]  # [B, N]
    kl_count = q_n.kl_divergence(p_n) + q @ orders(config)
    return jnp.sum(q * log_p, axis=1), kl_count, q_n.survival


def _concrete(posterior: Posterior, prior: Prior, light, images, config: ModelConfig):
    """One sample of a relaxed presence that scales each window, as in the released code.

    A step is executed until the presences before it have lost 0.9 in all; its object counts when
    its own presence has not lost that either. The count's "KL" is the one-sample log-ratio.
    """
    q = binary_concrete(posterior.presence_logits, config.temperature)
    p = binary_concrete(prior.presence_logits, config.temperature)
    y = (posterior.presence_logits + posterior.presence_noise) / config.temperature  # [B, K]
    presence = jax.nn.sigmoid(y)
    lost = jnp.cumsum(1 - presence, axis=1)
    exists = (lost < STOP).astype(jnp.float32)
    executed = jnp.pad(exists, [(0, 0), (1, 0)], constant_values=1)[:, :-1]
    canvas = jnp.einsum("bk...hw,bk->b...hw", light, presence * exists)
    canvas = canvas if canvas.ndim == 3 else jnp.moveaxis(canvas, 1, -1)
    log_p = log_likelihood(images, canvas[:, None], config)[:, 0]
    return log_p, jnp.sum(executed * (q.log_prob(y) - p.log_prob(y)), axis=1), exists


def _count_gap(posterior: Posterior, scores: jax.Array, config: ModelConfig) -> jax.Array:
    """KL(q*(n) || q(n)) -> [B], where q* maximises the ELBO of this sample and has no gradient.

    The ELBO is log sum_n exp(score_n) - KL(q || q*). In a presence logit that KL's gradient has a
    factor u (1 - u), and vanishes where q is sure of a wrong count. That of KL(q* || q), least for
    the same q, does not.
    """
    if config.count is not None or not config.count_gap_weight:
        return jnp.zeros(len(scores))
    best = jax.lax.stop_gradient(jax.nn.log_softmax(scores, axis=1))  # [B, N]
    log_q = CountChain(posterior.presence_logits).log_probs[:, jnp.array(config.counts)]
    return jnp.sum(jnp.exp(best) * (best - log_q), axis=1)
