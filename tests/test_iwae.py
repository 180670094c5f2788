"""The importance weighted bound: its weights in float64, and log p(x) by brute force."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import norm

from asr_jax import elbo, iwae
from asr_jax.generative import canvases, log_likelihood
from tests.small import small_images, small_model, with_leaf
from tests.test_distributions import enumerated_pmf
from tests.test_objective import PRESENCE_KERNEL, bernoulli


def keys(batch, seed=0):
    return jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(seed), jnp.arange(batch))


@pytest.mark.parametrize(
    "changes", [{}, {"prior": "fixed", "possible_counts": (1, 3)}, {"count": 2}, {"count": 0}]
)
def test_the_bound_is_a_float64_mean_of_importance_weights(changes):
    """p(n, z^{1..n}) p(x | z^{1..n}) / q(z^{1..n} | x), summed over n, averaged over samples."""
    model, samples, batch = small_model(**changes), 4, 3
    params, images = model.init(jax.random.key(0)), small_images(batch)
    images64, log_weights = np.float64(images), np.zeros((samples, batch))
    for s in range(samples):
        fresh = jax.vmap(jax.random.fold_in, (0, None))(keys(batch), s)
        posterior = model.posterior(params, fresh, images)
        prior = model.prior(params, posterior.latents)
        objects = np.asarray(model.render(params, posterior.latents), np.float64)
        for b in range(batch):
            p_n, terms = enumerated_pmf(np.float64(prior.presence_logits[b])), []
            for n in model.config.counts:
                if not p_n[n]:
                    continue
                ratio = 0.0
                for name in ("shift", "scale", "appearance"):
                    z = np.float64(getattr(posterior.latents, name)[b, :n])
                    for sign, of in ((1, getattr(prior, name)), (-1, getattr(posterior, name))):
                        loc, std = np.float64(of.loc[b, :n]), np.float64(of.std[b, :n])
                        ratio += sign * norm.logpdf(z, loc, std).sum()
                canvas = objects[b, :n].sum(0)
                log_p = bernoulli(images64[b], canvas, model.config.epsilon)
                terms.append(np.log(p_n[n]) + ratio + log_p)
            log_weights[s, b] = logsumexp(terms)
    expected = logsumexp(log_weights, axis=0) - np.log(samples)
    got = iwae(params, keys(batch), images, model=model, samples=samples)
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_many_samples_come_to_log_p_of_x():
    """p(x) = E p(x | z) over the prior, by brute force, where pixels say little about z."""
    model = small_model(
        max_objects=2, appearance=1, likelihood="gaussian", sigma=1.0, scale_prior=(0.0, 0.25)
    )
    params, images = model.init(jax.random.key(1)), small_images(2, seed=3)
    # A proposal that is wider than the prior, or weights have no variance.
    step = ("inference", "params", "step")
    for head, layer in (("shift", "Dense_1"), ("scale", "Dense_1"), ("appearance", "Dense_0")):
        wider = lambda bias: bias.at[len(bias) // 2 :].add(1.5)  # noqa: E731
        params = with_leaf(params, (*step, head, layer, "bias"), wider)
    dreams = 40_000

    @jax.jit
    def log_likelihoods(keys):
        latents, _, count = model.sample_latents(params, keys)
        every = canvases(model.render(params, latents), (0, 1, 2))
        canvas = every[jnp.arange(len(count)), count]
        return jnp.stack(
            [log_likelihood(x[None], canvas[None], model.config)[0] for x in jnp.asarray(images)]
        )

    chunks = keys(dreams, seed=7).reshape(20, -1)
    log_p = np.concatenate([np.float64(log_likelihoods(chunk)) for chunk in chunks], axis=1)
    expected = logsumexp(log_p, axis=1) - np.log(dreams)
    relative = np.exp(log_p - expected[:, None]).std(axis=1) / np.sqrt(dreams)
    got = iwae(params, keys(2), images, model=model, samples=20_000)
    assert relative.max() < 0.005
    # Both sides are estimates: five standard errors of the brute force, and as much for ours.
    np.testing.assert_allclose(got, expected, atol=10 * relative.max())


def test_more_samples_give_a_tighter_bound_and_all_are_above_the_elbo():
    model = small_model()
    params = with_leaf(model.init(jax.random.key(0)), PRESENCE_KERNEL, lambda kernel: 30 * kernel)
    images = np.repeat(small_images(1), 400, axis=0)  # the same image: means are expectations
    bounds = [
        np.float64(iwae(params, keys(400, seed), images, model=model, samples=samples))
        for seed, samples in enumerate((1, 8, 64))
    ]
    below = np.float64(elbo(params, jax.random.key(9), images, model=model).elbo)
    means = [values.mean() for values in [below, *bounds]]
    errors = [values.std() / 20 for values in [below, *bounds]]
    for i in range(3):
        assert means[i + 1] - means[i] > 3 * np.hypot(errors[i], errors[i + 1]), means


def test_the_estimator_does_not_matter():
    images = small_images(2)
    params = small_model().init(jax.random.key(0))
    for samples in (1, 3):
        values = [
            iwae(params, keys(2), images, model=small_model(estimator=e), samples=samples)
            for e in ("marginal", "concrete")
        ]
        np.testing.assert_array_equal(*values)


def test_a_bound_of_no_samples_is_refused():
    model = small_model()
    with pytest.raises(ValueError, match="samples must be at least 1, got 0"):
        iwae(model.init(jax.random.key(0)), keys(2), small_images(2), model=model, samples=0)
