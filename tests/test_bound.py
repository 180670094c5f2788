"""The ELBO against float64 numpy, enumeration and sampling over n; the gap; the estimators."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit, log_expit, logsumexp, rel_entr
from scipy.stats import logistic, norm

from asr_jax import elbo, elbo_with_penalty, number_constraints, overlap_constraints
from asr_jax.bound import elbo_terms
from asr_jax.distributions import CERTAIN
from tests.small import (
    PRESENCE_BIAS,
    PRESENCE_KERNEL,
    image_keys,
    leaf,
    small_images,
    small_model,
    small_params,
    with_leaf,
)

MODEL = small_model()  # a learned prior, and a count that is inferred
RELATIONS = small_model(place_prior="relations")
FIXED = small_model(prior="fixed", presence_prior=-0.5)
KNOWN = small_model(count=2)
POSSIBLE = small_model(prior="fixed", possible_counts=(1, 3), presence_bound=2.0)
KEY, IMAGES = jax.random.key(0), small_images()
OVERLAP = overlap_constraints(2.0, 5.0)


def more_objects(model, seed=0, by=0.4):
    """Parameters of a posterior that is less sure of n."""
    return with_leaf(small_params(model, seed), PRESENCE_BIAS, lambda bias: bias + by)


def parts(model, params, seed=0):
    """Posterior, prior and drawn objects of IMAGES as float64 numpy, by the public functions."""
    fields = ("count", "possible_counts", "presence_bound")
    settings = {name: getattr(model.config, name) for name in fields}
    if model.config.possible_counts:
        settings["prior"] = "fixed"
    look = small_model(**settings)  # which neither the learned prior nor the estimator changes
    posterior = look.posterior(params, image_keys(seed=seed), IMAGES)
    prior = model.prior(params, posterior.latents)
    objects = look.render(params, posterior.latents)
    return jax.tree.map(lambda x: np.asarray(x, np.float64), (posterior, prior, objects))


def bernoulli(images, canvas, epsilon):
    p = np.clip(canvas, epsilon, 1 - epsilon)
    return (images * np.log(p) + (1 - images) * np.log1p(-p)).sum((-2, -1))


def kl(q, p):
    """KL of diagonal Gaussians [B, K, D] -> [B, K]."""
    ratio = np.square(q.std / p.std)
    return 0.5 * (ratio - 1 - np.log(ratio) + np.square((q.loc - p.loc) / p.std)).sum(-1)


def elbo_given_n(model, posterior, prior, objects):
    """log p(x, z, n) - log q(z | n, x) with the continuous KLs analytic -> [B, K+1], for each n.

    log q(n) is left out; log p(n) is in.
    """
    batch, steps = posterior.presence_logits.shape
    values = np.zeros((batch, steps + 1))
    for n in range(steps + 1):
        log_p_n = sum(log_expit(prior.presence_logits[:, t]) for t in range(n))
        if n < steps:
            log_p_n = log_p_n + log_expit(-prior.presence_logits[:, n])
        divergence = sum(
            kl(q, p)[:, :n].sum(1)
            for q, p in (
                (posterior.shift, prior.shift),
                (posterior.scale, prior.scale),
                (posterior.appearance, prior.appearance),
            )
        )
        log_p_x = bernoulli(np.float64(IMAGES), objects[:, :n].sum(1), model.config.epsilon)
        values[:, n] = log_p_x + log_p_n - divergence
    return values


def log_q_n(posterior):
    """By enumeration over every presence vector that the chain can produce -> [B, K+1]."""
    logits = posterior.presence_logits
    steps = logits.shape[1]
    columns = []
    for n in range(steps + 1):
        value = log_expit(logits[:, :n]).sum(1)
        columns.append(value + (log_expit(-logits[:, n]) if n < steps else 0))
    return np.stack(columns, axis=1)


@pytest.mark.parametrize("model", [FIXED, MODEL, POSSIBLE], ids=["fixed", "learned", "possible"])
def test_marginal_elbo_equals_a_float64_sum_over_n(model):
    params = more_objects(model)
    posterior, *rest = parts(model, params)
    log_q = log_q_n(posterior)
    expected = (np.exp(log_q) * (elbo_given_n(model, posterior, *rest) - log_q)).sum(1)
    terms = elbo(params, KEY, IMAGES, model=model)
    np.testing.assert_allclose(terms.elbo, expected, rtol=2e-6)
    divergences = [terms.kl_count, terms.kl_shift, terms.kl_scale, terms.kl_appearance]
    np.testing.assert_allclose(terms.elbo, terms.log_likelihood - sum(divergences), rtol=1e-6)
    assert np.min(divergences) >= 0


def lattice_logpdf(p, shift):
    """log p(shift) in float64 of the shifts [...] that a lattice goes through, by its points."""
    logit, logits = np.float64(p.logit), np.float64(p.logits)
    log_integral = logsumexp(logits, axis=-1) + np.log(4 / logits.shape[-1])
    return logit - log_integral + np.log(1 - np.square(np.tanh(np.float64(shift)))).sum(-1)


def test_the_kl_of_places_to_a_lattice_is_by_the_posteriors_own_sample():
    """-H(q) - log p(z) in float64, for objects that exist; the rest is as with a Gaussian."""
    params = more_objects(RELATIONS)
    posterior, prior, _ = parts(RELATIONS, params)
    exists = np.exp(np.cumsum(log_expit(posterior.presence_logits), axis=1))  # [B, K]
    entropy = norm.entropy(0, posterior.shift.std).sum(-1)
    log_p = lattice_logpdf(prior.shift, posterior.latents.shift)
    terms = elbo(params, KEY, IMAGES, model=RELATIONS)
    np.testing.assert_allclose(terms.kl_shift, (exists * (-entropy - log_p)).sum(1), rtol=1e-5)
    of_scale = (exists * kl(posterior.scale, prior.scale)).sum(1)
    np.testing.assert_allclose(terms.kl_scale, of_scale, rtol=1e-5, atol=1e-5)
    divergences = [terms.kl_count, terms.kl_shift, terms.kl_scale, terms.kl_appearance]
    np.testing.assert_allclose(terms.elbo, terms.log_likelihood - sum(divergences), rtol=1e-6)


def test_marginal_elbo_equals_the_mean_over_sampled_counts():
    params = more_objects(MODEL, seed=2)
    posterior, *rest = parts(MODEL, params)
    each = (elbo_given_n(MODEL, posterior, *rest) - log_q_n(posterior))[0]
    # One Bernoulli a step until the first zero, as the chain is defined.
    rng = np.random.default_rng(0)
    present = rng.random((200_000, 3)) < expit(posterior.presence_logits[0])
    n = np.cumprod(present, axis=1).sum(1)
    error = each[n].std() / np.sqrt(len(n))
    exact = float(elbo(params, KEY, IMAGES, model=MODEL).elbo[0])
    assert abs(each[n].mean() - exact) < 4 * error


def test_marginal_gradient_equals_the_mean_of_score_function_gradients():
    """With respect to the presence head's bias: d/db E_q f = E_q [f dlog q(n)/db] for each n."""
    params = more_objects(FIXED, seed=3)
    posterior, *rest = parts(FIXED, params)
    each = (elbo_given_n(FIXED, posterior, *rest) - log_q_n(posterior))[0]
    u = expit(posterior.presence_logits[0])
    rng = np.random.default_rng(1)
    n = np.cumprod(rng.random((400_000, 3)) < u, axis=1).sum(1)
    # The bias moves every logit alike: dlog q(n)/db = sum_{t <= n} (1 - u_t) - u_{n+1}.
    score = np.array([(1 - u[:k]).sum() - (u[k] if k < 3 else 0) for k in range(4)])
    samples = (each * score)[n] - each.mean() * score[n]  # a baseline leaves the mean as it is

    def moved(b):
        moved = with_leaf(params, PRESENCE_BIAS, lambda bias: bias + b)
        return elbo(moved, KEY, IMAGES, model=FIXED).elbo[0]

    # The Gaussians' KLs, the likelihood and p(n) do not depend on this bias: nothing else enters.
    error = samples.std() / np.sqrt(len(n))
    assert abs(samples.mean() - float(jax.grad(moved)(0.0))) < 4 * error


@pytest.mark.parametrize("changes", [{}, {"prior": "fixed", "possible_counts": (1, 3)}], ids=str)
def test_the_gap_is_the_divergence_from_the_best_count_posterior_in_float64(changes):
    """q*(n) is proportional to what the ELBO gains by n; the ELBO itself is as it was."""
    model, params = small_model(**changes, count_gap_weight=3.0), more_objects(MODEL, seed=3)
    posterior, *rest = parts(model, params)
    counts = list(model.config.counts)
    scores, log_q = elbo_given_n(model, posterior, *rest)[:, counts], log_q_n(posterior)[:, counts]
    best = np.exp(scores - logsumexp(scores, axis=1, keepdims=True))
    assert 1e-4 < np.sort(best, axis=1)[:, -2].max()  # not all of it is at one n
    objective, terms = elbo_with_penalty(
        params, KEY, IMAGES, model=model, constraints=number_constraints((1, 3))
    )
    np.testing.assert_allclose(terms.count_gap, rel_entr(best, np.exp(log_q)).sum(1), rtol=1e-4)
    # No q(n) has a higher ELBO on this sample than q*: it leaves log sum_n exp(score_n).
    divergence = (np.exp(log_q) * (log_q - np.log(best))).sum(1)
    np.testing.assert_allclose(terms.elbo, logsumexp(scores, axis=1) - divergence, rtol=2e-6)
    total = np.mean(terms.elbo - terms.penalty - 3 * terms.count_gap)
    np.testing.assert_allclose(objective, total, rtol=1e-6)


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_a_share_of_all_counts_alike_is_in_what_the_elbo_sees_of_the_posterior(share):
    """The ELBO of the mixture, summed in float64; gap and constraints know nothing of it."""
    model, params = small_model(count_gap_weight=3.0), more_objects(MODEL)
    number = dict(model=model, constraints=number_constraints((1, 3)))
    _, plain = elbo_with_penalty(params, KEY, IMAGES, **number)
    _, terms = elbo_with_penalty(params, KEY, IMAGES, count_mix=jnp.float32(share), **number)
    posterior, *rest = parts(model, params)
    q = (1 - share) * np.exp(log_q_n(posterior)) + share / 4
    expected = (q * (elbo_given_n(model, posterior, *rest) - np.log(q))).sum(1)
    np.testing.assert_allclose(terms.elbo, expected, rtol=2e-6)
    for name in ("count_gap", "penalty"):
        np.testing.assert_allclose(getattr(terms, name), getattr(plain, name), rtol=1e-5)
    known = small_model(count=2)  # of which there is nothing to mix
    a, b = (elbo(params, KEY, IMAGES, model=known, count_mix=mix).elbo for mix in (None, 0.5))
    np.testing.assert_array_equal(a, b)


def test_the_gap_is_nothing_where_it_has_no_weight_or_the_count_is_known():
    for model in (MODEL, small_model(count=2, count_gap_weight=3.0)):
        objective, terms = elbo_with_penalty(small_params(model), KEY, IMAGES, model=model)
        np.testing.assert_array_equal(terms.count_gap, 0)
        assert float(objective) == float(jnp.mean(terms.elbo))


@pytest.mark.parametrize("estimator", ["marginal", "concrete"])
@pytest.mark.parametrize("bias", [0.4, 15.0])
def test_the_gap_pulls_however_sure_the_posterior_is(estimator, bias):
    """Finite differences in float64 with q* held still; of the ELBO nothing is left at 15."""
    settings = dict(prior="fixed", presence_prior=-30.0, count_gap_weight=2.0)
    model = small_model(**settings, estimator=estimator)
    params = with_leaf(small_params(model), PRESENCE_KERNEL, jnp.zeros_like)
    params = with_leaf(params, PRESENCE_BIAS, lambda old: 0 * old + bias)

    def gap_and_elbo(params):
        terms = elbo_with_penalty(params, KEY, IMAGES, model=model)[1]
        return jnp.stack([terms.count_gap.sum(), terms.elbo.sum()])

    of_gap, of_elbo = (
        jax.tree.map(lambda x, i=i: x[i], jax.jacrev(gap_and_elbo)(params)) for i in (0, 1)
    )
    posterior, *rest = parts(model, params)
    scores = elbo_given_n(model, posterior, *rest)
    best = np.exp(scores - logsumexp(scores, axis=1, keepdims=True))

    def gap(moved):
        logits = posterior.presence_logits + moved
        return rel_entr(best, np.exp(log_q_n(posterior.replace(presence_logits=logits)))).sum()

    expected = (gap(1e-4) - gap(-1e-4)) / 2e-4
    # The bias moves every logit alike. By hand: sum_n q*(n) (u_{n+1} - sum_{t <= n} (1 - u_t)).
    u = np.append(np.full(3, expit(bias)), 0)
    by_hand = sum(best[:, n].sum() * (u[n] - (1 - u[:n]).sum()) for n in range(4))
    np.testing.assert_allclose(expected, by_hand, rtol=1e-6)
    np.testing.assert_allclose(leaf(of_gap, PRESENCE_BIAS)[0], expected, rtol=1e-4)
    assert by_hand > 0.5 * len(IMAGES)  # there should be fewer objects
    if estimator == "marginal" and bias == 15.0:
        assert np.abs(leaf(of_elbo, PRESENCE_BIAS)[0]) < 1e-3
    # Only the posterior of n is pulled: latents, decoder and prior are what q* is made of.
    pulled = [path for path, x in jax.tree_util.tree_leaves_with_path(of_gap) if np.any(x)]
    names = {"/".join(str(part.key) for part in path) for path in pulled}
    assert "/".join(PRESENCE_BIAS) in names
    assert all(name.startswith("inference/") for name in names)
    assert not [name for name in names if "/encoder/" in name or "/appearance/" in name]


def test_nothing_depends_on_steps_after_a_certain_stop():
    params = small_params(MODEL)
    posterior = MODEL.posterior(params, image_keys(), IMAGES)
    stop = jnp.tile(jnp.array([CERTAIN, -CERTAIN, 0.3]), (4, 1))  # one object, for certain

    def terms(latents):
        """The same posterior with other latents at some steps: what the objective sees."""
        q = posterior.replace(presence_logits=stop, latents=latents)
        terms = elbo_terms(params, q, IMAGES, model=MODEL)[0]
        found = {k: v for k, v in dataclasses.asdict(terms).items() if v is not None}
        for name in ("penalty", "prior_penalty", "count_gap", "constraints", "prior_constraints"):
            del found[name]
        return jnp.stack([*found.values(), *(c.functional(q, (12, 12)) for c in OVERLAP)])

    def weighted(latents):  # 0 in its gradient is 0 in that of every term
        values = terms(latents)
        return jnp.sum(values * jax.random.normal(jax.random.key(1), values.shape)), values

    gradient = jax.jit(jax.grad(weighted, has_aux=True))
    of_latents, values = gradient(posterior.latents)
    for part in (of_latents.shift, of_latents.scale, of_latents.appearance):
        np.testing.assert_array_equal(part[:, 1:], 0)
        assert np.all(np.any(part[:, 0] != 0, axis=-1))
    other = jax.tree.map(lambda x: x.at[:, 1:].add(3.0), posterior.latents)
    np.testing.assert_array_equal(values, gradient(other)[1])


def test_a_known_count_is_one_term_of_the_sum_over_n():
    params = small_params(KNOWN, seed=5)
    each = elbo_given_n(KNOWN, *parts(KNOWN, params))
    terms = elbo(params, KEY, IMAGES, model=KNOWN)
    np.testing.assert_allclose(terms.elbo, each[:, 2], rtol=2e-6)
    np.testing.assert_array_equal(terms.kl_count, 0)
    # Nor does the relaxed estimator relax what is certain.
    concrete = elbo(params, KEY, IMAGES, model=small_model(count=2, estimator="concrete"))
    np.testing.assert_allclose(concrete.elbo, terms.elbo, rtol=1e-6)


def test_gaussian_likelihood_against_scipy():
    model, params = small_model(likelihood="gaussian", sigma=0.4, count=2), small_params(KNOWN, 10)
    _, _, objects = parts(KNOWN, params)
    expected = norm.logpdf(IMAGES, objects[:, :2].sum(1), 0.4).sum((1, 2))
    terms = elbo(params, KEY, IMAGES, model=model)
    np.testing.assert_allclose(terms.log_likelihood, expected, rtol=1e-5)


@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_concrete_estimator_against_a_loop_that_stops(temperature):
    """The released code's rule: go on while the lost presence stays below 0.9."""
    model = small_model(estimator="concrete", temperature=temperature)
    params, lengths = more_objects(MODEL, seed=11, by=1.0), set()
    for seed, b in np.ndindex(5, 4):
        posterior, prior, objects = parts(MODEL, params, seed)
        canvas, kl_n, kl_z, lost, used = np.zeros((12, 12)), 0.0, 0.0, 0.0, 0
        for t in range(3):
            logit = posterior.presence_logits[b, t]
            y = (logit + posterior.presence_noise[b, t]) / temperature
            # The log-ratio of the densities of sigmoid(y): the Jacobian cancels.
            log_q = logistic.logpdf(y, logit / temperature, 1 / temperature)
            log_p = logistic.logpdf(y, prior.presence_logits[b, t] / temperature, 1 / temperature)
            kl_n += log_q - log_p
            lost += 1 - expit(y)
            if lost >= 0.9:
                break
            used += 1
            canvas += expit(y) * objects[b, t]
            kl_z += sum(
                kl(getattr(posterior, name), getattr(prior, name))[b, t]
                for name in ("shift", "scale", "appearance")
            )
        lengths.add(used)
        expected = bernoulli(IMAGES[b], canvas, model.config.epsilon) - kl_n - kl_z
        terms = elbo(params, jax.random.key(seed), IMAGES, model=model)
        np.testing.assert_allclose(terms.elbo[b], expected, rtol=1e-5)
    assert len(lengths) > 1  # some stop early, some do not
