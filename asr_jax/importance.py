"""The importance weighted bound of log p(x) (Burda et al. 2016), exact in n."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from asr_jax import random_keys
from asr_jax.bound import LATENTS, count_scores
from asr_jax.distributions import log_prob
from asr_jax.generative import log_likelihoods, standard
from asr_jax.images import to_float
from asr_jax.model import Model, Params


def iwae(
    params: Params, key: jax.Array, images: jax.Array, *, model: Model, samples: int
) -> jax.Array:
    """The importance weighted bound of log p(x) (Burda et al. 2016), tighter than the ELBO::

        E log 1/S sum_s sum_n p(n | z_s) p(x | z_s^{1..n}) prod_{t <= n} p(z_s^t) / q(z_s^t | x)

    A sample has latents of all K steps, hence a weight for every n, and the sum over n is exact.

    Args:
      params: of the model.
      key: one random key, or one an image.
      images: [B, H, W] or [B, H, W, C]: uint8, or floats in [0, 1].
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
            log_prob(getattr(prior, name), getattr(latents, name))
            - log_prob(getattr(posterior, name), getattr(latents, name))
            for name in LATENTS
        )
        layers, behind = model.layers(params, latents), model.background(params, latents)
        log_p = log_likelihoods(to_float(images), layers, behind, config)
        log_w = jax.nn.logsumexp(count_scores(prior, log_p, ratios, config), axis=1)
        if posterior.background is not None:
            z = latents.background
            log_w += log_prob(standard(z.shape), z) - log_prob(posterior.background, z)
        return log_w

    def add(total, s):
        return jnp.logaddexp(total, log_weight(s)), None

    total, _ = jax.lax.scan(add, log_weight(0), jnp.arange(1, samples))
    return total - jnp.log(samples)
