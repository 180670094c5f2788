"""The evidence lower bound, and the bound with a structural penalty (Eqns. 9 and 10 of the paper)::

    ELBO(x) = sum_k q(n = k) log p(x | z^{1..k}) - KL(q(n) || p(n))
              - sum_t P(n >= t) KL(q(z^t | z^{<t}, x) || p(z^t | z^{<t}))

The sum over n is exact, so presence needs no score function, no temperature and no baseline; the
continuous latents are reparameterised. `concrete` relaxes presence instead, as the authors'
released code does.

In a presence logit its gradient vanishes where q(n) is sure of itself. What is maximised may hold
one more term, the same for every method, that pulls q(n) to the best count posterior of the sample
however sure it is; see `_count_gap`.

The penalty is on the posterior, from which the prior learns. It can be on samples of the prior as
well: a Gaussian has tails, and generates what no posterior has seen unless it is told.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp

from asr_jax import random_keys
from asr_jax.config import ModelConfig
from asr_jax.constraints.base import (
    Constraint,
    check_known,
    default_weights,
    penalty,
    values,
)
from asr_jax.distributions import CountChain, binary_concrete, choice, kl, log_prob, mixed
from asr_jax.generative import as_posterior, canvases, log_likelihood
from asr_jax.images import to_float
from asr_jax.model import Model, Params
from asr_jax.types import Posterior, Prior, Terms

STOP = 0.9  # lost presence at which the relaxed chain ends


def elbo_with_penalty(
    params: Params,
    key: jax.Array,
    images: jax.Array,
    weights: Mapping[str, jax.Array] | None = None,
    *,
    model: Model,
    constraints: Sequence[Constraint] = (),
    presence_prior: jax.Array | None = None,
    count_mix: jax.Array | None = None,
    prior_weights: Mapping[str, jax.Array] | None = None,
    axis_name: str | None = None,
) -> tuple[jax.Array, Terms]:
    """The objective of ASR, to be *maximised*: the batch's mean of ELBO - gap - penalty.

    The gap is `Terms.count_gap` times the model's `count_gap_weight`, by default 0. The penalty is
    sum_i weights_i max(F_i - tolerance_i, 0). Compiled once for a model, constraints and shapes.
    `jax.value_and_grad(elbo_with_penalty, has_aux=True)` is all that training does.

    Args:
      params: from `model.init`.
      key: one random key, or one an image.
      images: [B, H, W]: uint8, or floats in [0, 1].
      weights: one multiplier for each constraint, under its name; traced, so that another value
        does not compile again. None: the weights that the constraints carry.
      model: what to evaluate (static).
      constraints: functionals of the posterior (static).
      presence_prior: log-odds of one more object in the geometric prior over n, traced, for a
        schedule; None: the model's. Other priors over n do not look at it.
      count_mix: share of a uniform distribution over the counts in the q(n) that the ELBO sees,
        traced, for a schedule: latents learn to explain an image with every n before q(n) has
        settled on one. None: of q(n) alone. Gap and constraints are of q(n) itself.
      prior_weights: multipliers for some of the constraints, evaluated on samples of the prior,
        one an image, instead of on the posterior; None: the prior learns from the posterior alone.
        Their noise is another for one key than for the keys that it stands for.
      axis_name: the mapped axis over devices, where there is one. Noise follows the *global*
        index of an example, and constraints on the mean see every device's images, so that a
        batch split over devices gives the same values.

    Returns:
      The objective, a scalar (nats), and its `Terms`, [B] each.

    Raises:
      ValueError: images or keys that do not fit; a constraint without a weight, or a weight (of
        either kind) without a constraint; a functional that does not return [B].
    """
    images, constraints = model.check(images), tuple(constraints)
    if prior_weights:
        check_known("prior_weights", prior_weights, [c.name for c in constraints])
    return _elbo_with_penalty(
        params,
        key,
        images,
        default_weights(constraints) if weights is None else dict(weights),
        dict(prior_weights or {}),
        presence_prior,
        count_mix,
        model=model,
        constraints=constraints,
        axis_name=axis_name,
    )


@functools.partial(jax.jit, static_argnames=("model", "constraints", "axis_name"))
def _elbo_with_penalty(
    params,
    key,
    images,
    weights,
    prior_weights,
    presence_prior,
    count_mix,
    *,
    model,
    constraints,
    axis_name,
):
    terms = elbo(
        params,
        key,
        images,
        model=model,
        constraints=constraints,
        presence_prior=presence_prior,
        count_mix=count_mix,
        axis_name=axis_name,
    )
    price = jnp.zeros_like(terms.elbo)  # [B]
    terms = terms.replace(penalty=price + penalty(constraints, terms.constraints, weights))
    if prior_weights:
        keys = random_keys.per_image(random_keys.apart(key), len(images), axis_name)
        latents, prior, _ = model.sample_latents(params, keys)
        some = tuple(c for c in constraints if c.name in prior_weights)
        found = values(some, as_posterior(prior, latents), model.config.canvas, axis_name)
        paid = price + penalty(some, found, prior_weights)
        chosen = jnp.sum(choice(prior.shift, latents.shift), axis=1)  # 0, and a gradient
        paid += jax.lax.stop_gradient(_above_the_others(paid, axis_name)) * chosen
        terms = terms.replace(prior_penalty=paid)
    objective = terms.elbo - terms.penalty - terms.prior_penalty
    if model.config.count_gap_weight:
        objective -= model.config.count_gap_weight * terms.count_gap
    return jnp.mean(objective), terms


def _above_the_others(values: jax.Array, axis_name: str | None) -> jax.Array:
    """Each of the values [B] minus the mean of all others, on every device; of one, itself."""
    number, mean = len(values), jnp.mean(values)
    if axis_name is not None:
        number, mean = number * jax.lax.psum(1, axis_name), jax.lax.pmean(mean, axis_name)
    return values if number == 1 else (values - mean) * (number / (number - 1))


def elbo(
    params: Params,
    key: jax.Array,
    images: jax.Array,
    *,
    model: Model,
    constraints: Sequence[Constraint] = (),
    presence_prior: jax.Array | None = None,
    count_mix: jax.Array | None = None,
    axis_name: str | None = None,
) -> Terms:
    """The ELBO of each image and its terms, [B]; F_i is evaluated, the penalty is 0.

    Arguments as in `elbo_with_penalty`.

    Raises:
      ValueError: images or keys that do not fit; a functional that does not return [B].
    """
    return _elbo(
        params,
        key,
        model.check(images),
        presence_prior,
        count_mix,
        model=model,
        constraints=tuple(constraints),
        axis_name=axis_name,
    )


@functools.partial(jax.jit, static_argnames=("model", "constraints", "axis_name"))
def _elbo(params, key, images, presence_prior, count_mix, *, model, constraints, axis_name):
    keys = random_keys.per_image(key, len(images), axis_name)
    posterior = model.posterior(params, keys, images)
    terms = elbo_terms(
        params,
        posterior,
        to_float(images),
        model=model,
        presence_prior=presence_prior,
        count_mix=count_mix,
    )
    return terms.replace(constraints=values(constraints, posterior, model.config.canvas, axis_name))


def iwae(
    params: Params, key: jax.Array, images: jax.Array, *, model: Model, samples: int
) -> jax.Array:
    """The importance weighted bound of log p(x) (Burda et al. 2016), tighter than the ELBO::

        E log 1/S sum_s sum_n p(n | z_s) p(x | z_s^{1..n}) prod_{t <= n} p(z_s^t) / q(z_s^t | x)

    A sample has latents of all K steps, hence a weight for every n, and the sum over n is exact.

    Args:
      params: of the model.
      key: one random key, or one an image.
      images: [B, H, W]: uint8, or floats in [0, 1].
      model: static; whichever its estimator, this bound is the same.
      samples: S, at least 1 (static); memory does not depend on it.

    Returns:
      [B] in nats.

    Raises:
      ValueError: images or keys that do not fit; fewer than one sample.
    """
    if samples < 1:
        raise ValueError(f"samples must be at least 1, got {samples}")
    return _iwae(params, key, model.check(images), model=model, samples=samples)


@functools.partial(jax.jit, static_argnames=("model", "samples"))
def _iwae(params, key, images, *, model, samples):
    config, keys = model.config, random_keys.per_image(key, len(images))

    def log_weight(s):
        posterior = model.posterior(params, random_keys.fold(keys, s), images)
        latents = posterior.latents
        prior = model.prior(params, latents)
        ratios = sum(  # [B, K]: log p(z^t) - log q(z^t | x)
            log_prob(p, z) - log_prob(q, z)
            for p, q, z in (
                (prior.shift, posterior.shift, latents.shift),
                (prior.scale, posterior.scale, latents.scale),
                (prior.appearance, posterior.appearance, latents.appearance),
            )
        )
        objects = model.render(params, latents)
        log_w = count_scores(prior, objects, to_float(images), ratios, config)
        return jax.nn.logsumexp(log_w, axis=1)

    def add(total, s):
        return jnp.logaddexp(total, log_weight(s)), None

    total, _ = jax.lax.scan(add, log_weight(0), jnp.arange(1, samples))
    return total - jnp.log(samples)


def count_scores(
    prior: Prior, objects: jax.Array, images: jax.Array, gains: jax.Array, config: ModelConfig
) -> jax.Array:
    """What speaks for each n: log p(n | z) + log p(x | z^{1..n}) + sum_{t <= n} gains_t.

    Args:
      prior: along the sample z.
      objects: [B, K, H, W], the sample's, drawn.
      images: [B, H, W], floats in [0, 1].
      gains: [B, K] log p(z^t) - log q(z^t | x), or its expectation, minus the KL of step t.
      config: of the model.

    Returns:
      [B, N] for n in `config.counts`, nats.
    """
    of_n = jnp.pad(jnp.cumsum(gains, axis=1), [(0, 0), (1, 0)])  # [B, K+1], n = 0..K
    of_n = (of_n + CountChain(prior.presence_logits).log_probs)[:, jnp.array(config.counts)]
    return of_n + log_likelihood(images, canvases(objects, config.counts), config)


def step_kl(posterior: Posterior, prior: Prior) -> jax.Array:
    """KL(q(z^t | z^{<t}, x) || p(z^t | z^{<t})) of shift, scale and appearance -> [B, K], nats."""
    return sum(
        kl(getattr(posterior, name), getattr(prior, name), getattr(posterior.latents, name))
        for name in ("shift", "scale", "appearance")
    )


def elbo_terms(
    params: Params,
    posterior: Posterior,
    images: jax.Array,
    *,
    model: Model,
    presence_prior: jax.Array | None = None,
    count_mix: jax.Array | None = None,
) -> Terms:
    """The ELBO on a given sample of the posterior of images [B, H, W], floats in [0, 1].

    No constraints are evaluated.
    """
    prior = model.prior(params, posterior.latents, presence_prior)
    objects = model.render(params, posterior.latents)  # [B, K, H, W]
    estimate = {"marginal": _marginal, "concrete": _concrete}[model.config.estimator]
    seen = posterior
    if count_mix is not None and model.config.count is None:
        logits = mixed(posterior.presence_logits, model.config.counts, count_mix)
        seen = posterior.replace(presence_logits=logits)
    log_p, kl_count, exists = estimate(seen, prior, objects, images, model.config)

    def of_objects(q, p, z):  # [B, K] -> [B]: only objects that exist have something to encode
        return jnp.sum(exists * kl(q, p, z), axis=1)

    latents = posterior.latents
    kl_shift = of_objects(posterior.shift, prior.shift, latents.shift)
    kl_scale = of_objects(posterior.scale, prior.scale, latents.scale)
    kl_appearance = of_objects(posterior.appearance, prior.appearance, latents.appearance)
    return Terms(
        elbo=log_p - kl_count - kl_shift - kl_scale - kl_appearance,
        log_likelihood=log_p,
        kl_count=kl_count,
        kl_shift=kl_shift,
        kl_scale=kl_scale,
        kl_appearance=kl_appearance,
        penalty=jnp.zeros_like(log_p),
        prior_penalty=jnp.zeros_like(log_p),
        count_gap=_count_gap(posterior, prior, objects, images, model.config),
        constraints={},
    )


def exact(model: Model) -> Model:
    """The same model, with the ELBO that is exact in n."""
    return Model(dataclasses.replace(model.config, estimator="marginal"))


def _marginal(posterior: Posterior, prior: Prior, objects, images, config: ModelConfig):
    """Exact in n -> (E log p(x | z, n) [B], KL of the count [B], P(n >= t) [B, K])."""
    q_n, p_n = CountChain(posterior.presence_logits), CountChain(prior.presence_logits)
    q = jnp.exp(q_n.log_probs)[:, jnp.array(config.counts)]  # [B, N]
    log_p = log_likelihood(images, canvases(objects, config.counts), config)  # [B, N]
    return jnp.sum(q * log_p, axis=1), q_n.kl_divergence(p_n), q_n.survival


def _concrete(posterior: Posterior, prior: Prior, objects, images, config: ModelConfig):
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
    canvas = jnp.einsum("bkhw,bk->bhw", objects, presence * exists)
    log_p = log_likelihood(images, canvas[:, None], config)[:, 0]
    return log_p, jnp.sum(executed * (q.log_prob(y) - p.log_prob(y)), axis=1), exists


def _count_gap(posterior: Posterior, prior: Prior, objects, images, config: ModelConfig):
    """KL(q*(n) || q(n)) -> [B], where q* maximises the ELBO of this sample and has no gradient.

    The ELBO is log sum_n exp(score_n) - KL(q || q*), with the minus KLs for gains. In a presence
    logit that KL's gradient has a factor u (1 - u), and vanishes where q is sure of a wrong count.
    That of KL(q* || q), least for the same q, does not.
    """
    if config.count is not None or not config.count_gap_weight:
        return jnp.zeros(len(images))
    scores = count_scores(prior, objects, images, -step_kl(posterior, prior), config)
    best = jax.lax.stop_gradient(jax.nn.log_softmax(scores, axis=1))  # [B, N]
    log_q = CountChain(posterior.presence_logits).log_probs[:, jnp.array(config.counts)]
    return jnp.sum(jnp.exp(best) * (best - log_q), axis=1)
