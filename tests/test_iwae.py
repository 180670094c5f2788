"""The importance weighted bound: its weights in float64, and log p(x) by brute force."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import norm

from asr_jax import Lattice, elbo, iwae
from asr_jax.compositing import canvases
from asr_jax.generative import log_likelihood
from tests.small import (
    PRESENCE_KERNEL,
    image_keys,
    small_images,
    small_model,
    small_params,
    with_leaf,
)
from tests.test_bound import bernoulli, lattice_logpdf
from tests.test_distributions import enumerated_pmf

MODEL, IMAGES = small_model(), small_images()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"place_prior": "relations"},
        {"prior": "fixed", "possible_counts": (1, 3)},
        {"count": 2},
        {"count": 0},
    ],
)
def test_the_bound_is_a_float64_mean_of_importance_weights(changes):
    """p(n, z^{1..n}) p(x | z^{1..n}) / q(z^{1..n} | x), summed over n, averaged over samples."""
    model, samples, batch = small_model(**changes), 4, len(IMAGES)
    look = small_model(count=model.config.count)  # whose posterior and decoder are the same
    params, log_weights = small_params(model), np.zeros((samples, batch))
    for s in range(samples):
        fresh = jax.vmap(jax.random.fold_in, (0, None))(image_keys(), s)
        posterior = look.posterior(params, fresh, IMAGES)
        prior = model.prior(params, posterior.latents)
        objects = np.asarray(look.render(params, posterior.latents), np.float64)
        for b in range(batch):
            p_n, terms = enumerated_pmf(np.float64(prior.presence_logits[b])), []
            for n in model.config.counts:
                if not p_n[n]:
                    continue
                ratio = 0.0
                for name in ("shift", "scale", "appearance"):
                    z = np.float64(getattr(posterior.latents, name)[b, :n])
                    for sign, of in ((1, getattr(prior, name)), (-1, getattr(posterior, name))):
                        of = jax.tree.map(lambda x, b=b, n=n: np.float64(x[b, :n]), of)
                        if isinstance(of, Lattice):
                            ratio += sign * lattice_logpdf(of, z).sum()
                        else:
                            ratio += sign * norm.logpdf(z, of.loc, of.std).sum()
                canvas = objects[b, :n].sum(0)
                log_p = bernoulli(np.float64(IMAGES[b]), canvas, model.config.epsilon)
                terms.append(np.log(p_n[n]) + ratio + log_p)
            log_weights[s, b] = logsumexp(terms)
    expected = logsumexp(log_weights, axis=0) - np.log(samples)
    got = iwae(params, image_keys(), IMAGES, model=model, samples=samples)
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_many_samples_come_to_log_p_of_x():
    """p(x) = E p(x | z) over the prior, by brute force, where pixels say little about z."""
    model = small_model(
        max_objects=2, appearance=1, likelihood="gaussian", sigma=1.0, scale_prior=(0.0, 0.25)
    )
    params, images = small_params(model, seed=1), small_images(2, seed=3)
    # A proposal around the prior, but a little wider: weights have a variance, and a small one.
    for path, wider in (
        (("step", "shift", "Dense_1"), 1.5),
        (("step", "scale", "Dense_1"), 0.3),
        (("appearance", "code", "Dense_0"), 0.3),
    ):
        last = ("inference", "params", *path)
        params = with_leaf(params, (*last, "kernel"), lambda kernel: kernel / 3)
        params = with_leaf(
            params, (*last, "bias"), lambda bias, w=wider: bias.at[len(bias) // 2 :].add(w)
        )
    dreams = 40_000

    @jax.jit
    def log_likelihoods(keys):
        latents, _, count = model.sample_latents(params, keys)
        every = canvases(model.layers(params, latents), None, (0, 1, 2))
        canvas = every[jnp.arange(len(count)), count]
        return jnp.stack(
            [log_likelihood(x[None], canvas[None], model.config)[0] for x in jnp.asarray(images)]
        )

    chunks = image_keys(dreams, seed=7).reshape(20, -1)
    log_p = np.concatenate([np.float64(log_likelihoods(chunk)) for chunk in chunks], axis=1)
    expected = logsumexp(log_p, axis=1) - np.log(dreams)
    relative = np.exp(log_p - expected[:, None]).std(axis=1) / np.sqrt(dreams)
    # 200 samples for each of 100 keys, 20,000 in all.
    bounds = iwae(params, image_keys(200), np.repeat(images, 100, 0), model=model, samples=200)
    got = logsumexp(np.float64(bounds).reshape(2, 100), axis=1) - np.log(100)
    assert relative.max() < 0.005
    # Both sides are estimates: five standard errors of the brute force, and as much for ours.
    np.testing.assert_allclose(got, expected, atol=10 * relative.max())


def test_more_samples_give_a_tighter_bound_and_all_are_above_the_elbo():
    params = with_leaf(small_params(MODEL), PRESENCE_KERNEL, lambda kernel: 3 * kernel)
    images = np.repeat(IMAGES[:1], 4, axis=0)  # the same image: means are expectations
    keys = image_keys(400, seed=2).reshape(100, 4)
    bounds = [
        lambda k: elbo(params, k, images, model=MODEL).elbo,
        lambda k: iwae(params, k, images, model=MODEL, samples=1),
        lambda k: iwae(params, k, images, model=MODEL, samples=4),
    ]
    values = [np.float64([bound(k) for k in keys]).ravel() for bound in bounds]
    for below, above in zip(values, values[1:], strict=False):
        gain = above - below  # of the same noise
        assert gain.mean() > 3 * gain.std() / 20, [x.mean() for x in values]


def test_the_estimator_does_not_matter():
    params = small_params(MODEL)
    marginal, concrete = (
        iwae(params, image_keys(), IMAGES, model=small_model(estimator=kind), samples=4)
        for kind in ("marginal", "concrete")
    )
    np.testing.assert_array_equal(marginal, concrete)


def test_a_bound_of_no_samples_is_refused():
    with pytest.raises(ValueError, match="samples must be at least 1, got 0"):
        iwae(None, image_keys(), IMAGES, model=MODEL, samples=0)
