"""The ELBO against float64 numpy, enumeration and sampling over n; the penalty; the estimators."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit, log_expit
from scipy.stats import logistic, norm

from asr_jax import (
    Constraint,
    elbo,
    elbo_with_penalty,
    number_constraints,
    overlap_constraints,
)
from asr_jax.constraints.base import evaluate
from asr_jax.distributions import CountChain, gaussian
from asr_jax.objective import _marginal, elbo_terms
from tests.small import small_images, small_model, with_leaf

PRESENCE_BIAS = ("inference", "params", "step", "presence", "bias")
PRESENCE_KERNEL = (*PRESENCE_BIAS[:-1], "kernel")


def keys(batch, seed=0):
    return jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(seed), jnp.arange(batch))


def parts(model, params, key, images):
    """Posterior, prior and drawn objects as float64 numpy, by the public functions."""
    posterior = model.posterior(params, keys(len(images)) if key is None else key, images)
    prior = model.prior(params, posterior.latents)
    objects = model.render(params, posterior.latents)
    return jax.tree.map(lambda x: np.asarray(x, np.float64), (posterior, prior, objects))


def bernoulli(images, canvas, epsilon):
    p = np.clip(canvas, epsilon, 1 - epsilon)
    return (images * np.log(p) + (1 - images) * np.log1p(-p)).sum((-2, -1))


def kl(q, p):
    """KL of diagonal Gaussians [B, K, D] -> [B, K]."""
    ratio = np.square(q.std / p.std)
    return 0.5 * (ratio - 1 - np.log(ratio) + np.square((q.loc - p.loc) / p.std)).sum(-1)


def elbo_given_n(model, posterior, prior, objects, images):
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
        canvas = objects[:, :n].sum(1)
        values[:, n] = bernoulli(images, canvas, model.config.epsilon) + log_p_n - divergence
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


@pytest.mark.parametrize("prior", ["fixed", "learned"])
def test_marginal_elbo_equals_a_float64_sum_over_n(prior):
    model = small_model(prior=prior, presence_prior=-0.5)
    params = model.init(jax.random.key(0))
    params = with_leaf(params, PRESENCE_BIAS, lambda b: b + 0.4)
    images = small_images(5)
    posterior, p, objects = parts(model, params, None, images)
    log_q = log_q_n(posterior)
    each = elbo_given_n(model, posterior, p, objects, images.astype(np.float64))
    expected = (np.exp(log_q) * (each - log_q)).sum(1)
    terms = elbo(params, jax.random.key(0), images, model=model)
    np.testing.assert_allclose(terms.elbo, expected, rtol=2e-6)


def test_the_elbo_is_the_sum_of_its_terms():
    model = small_model()
    params = model.init(jax.random.key(1))
    t = elbo(params, jax.random.key(0), small_images(4), model=model)
    total = t.log_likelihood - t.kl_count - t.kl_shift - t.kl_scale - t.kl_appearance
    np.testing.assert_allclose(t.elbo, total, rtol=1e-6)
    assert all((np.asarray(term) >= 0).all() for term in (t.kl_count, t.kl_shift, t.kl_scale))


def test_marginal_elbo_equals_the_mean_over_sampled_counts():
    model = small_model()
    params = with_leaf(model.init(jax.random.key(2)), PRESENCE_BIAS, lambda b: b + 0.3)
    images = small_images(1)
    posterior, p, objects = parts(model, params, None, images)
    each = (elbo_given_n(model, posterior, p, objects, images) - log_q_n(posterior))[0]
    # One Bernoulli a step until the first zero, as the chain is defined.
    rng = np.random.default_rng(0)
    present = rng.random((200_000, 3)) < expit(posterior.presence_logits[0])
    n = np.cumprod(present, axis=1).sum(1)
    error = each[n].std() / np.sqrt(len(n))
    exact = float(elbo(params, jax.random.key(0), images, model=model).elbo[0])
    assert abs(each[n].mean() - exact) < 4 * error


def test_marginal_gradient_equals_the_mean_of_score_function_gradients():
    """With respect to the presence head's bias: d/db E_q f = E_q [f dlog q(n)/db] for each n."""
    model = small_model(prior="fixed")
    params = with_leaf(model.init(jax.random.key(3)), PRESENCE_BIAS, lambda b: b + 0.2)
    images = small_images(1)
    posterior, p, objects = parts(model, params, None, images)
    each = (elbo_given_n(model, posterior, p, objects, images) - log_q_n(posterior))[0]
    u = expit(posterior.presence_logits[0])
    rng = np.random.default_rng(1)
    n = np.cumprod(rng.random((400_000, 3)) < u, axis=1).sum(1)
    # The bias moves every logit alike: dlog q(n)/db = sum_{t <= n} (1 - u_t) - u_{n+1}.
    score = np.array([(1 - u[:k]).sum() - (u[k] if k < 3 else 0) for k in range(4)])
    samples = (each * score)[n] - each.mean() * score[n]  # a baseline leaves the mean as it is
    gradient = jax.grad(lambda q: elbo(q, jax.random.key(0), images, model=model).elbo[0])(params)
    for name in PRESENCE_BIAS:
        gradient = gradient[name]
    # The Gaussians' KLs, the likelihood and p(n) do not depend on this bias: nothing else enters.
    assert abs(samples.mean() - float(gradient[0])) < 4 * samples.std() / np.sqrt(len(n))


def test_nothing_depends_on_steps_after_a_certain_stop():
    model = small_model(prior="learned")
    params = model.init(jax.random.key(4))
    images = small_images(2)
    posterior = model.posterior(params, keys(2), images)
    stop = jnp.array([[100.0, -100.0, 0.3]] * 2)  # one object, for certain

    def terms(latents):
        # The same posterior with other latents at some steps: what the objective sees of them.
        prior = model.prior(params, latents)
        objects = model.render(params, latents)
        log_p, kl_n, exists = _marginal(
            posterior.replace(presence_logits=stop),
            prior.replace(presence_logits=stop),
            objects,
            images,
            model.config,
        )
        divergence = exists * gaussian(posterior.shift).kl_divergence(gaussian(prior.shift))
        values = [
            c.functional(posterior.replace(presence_logits=stop, latents=latents), (12, 12))
            for c in overlap_constraints(2.0, 5.0)
        ]
        assert CountChain(stop).mode().tolist() == [1, 1]
        return jnp.stack([log_p, kl_n, divergence.sum(1), *values])

    gradient = jax.jacrev(terms)(posterior.latents)  # [terms, B, B, K, D]
    for leaf in jax.tree.leaves(gradient):
        assert np.all(np.asarray(leaf)[..., 1:, :] == 0)
    assert any(np.any(np.asarray(leaf)[..., 0, :] != 0) for leaf in jax.tree.leaves(gradient))
    other = jax.tree.map(lambda x: x.at[:, 1:].add(3.0), posterior.latents)
    np.testing.assert_array_equal(terms(posterior.latents), terms(other))


def test_a_known_count_equals_a_certain_inferred_one():
    known, free = small_model(count=2), small_model()
    params = free.init(jax.random.key(5))
    images = small_images(3)
    posterior, prior, objects = parts(known, without_presence(params), None, images)
    each = elbo_given_n(known, posterior, prior, objects, images)
    terms = elbo(without_presence(params), jax.random.key(0), images, model=known)
    np.testing.assert_allclose(terms.elbo, each[:, 2], rtol=2e-6)
    assert np.all(np.asarray(terms.kl_count) == 0)


def without_presence(params):
    """The parameters of a model whose count is known: no presence heads."""
    step = {
        name: leaf
        for name, leaf in params["inference"]["params"]["step"].items()
        if not name.startswith("presence")
    }
    inference = {"params": params["inference"]["params"] | {"step": step}}
    prior = {"params": {k: v for k, v in params["prior"]["params"].items() if k != "presence"}}
    return params | {"inference": inference, "prior": prior}


def test_no_constraints_or_zero_weights_give_the_plain_elbo_bit_for_bit():
    model = small_model()
    params, key, images = model.init(jax.random.key(6)), jax.random.key(7), small_images(4)
    constraints = overlap_constraints(2.0, 5.0)
    plain = elbo(params, key, images, model=model).elbo
    none, _ = elbo_with_penalty(params, key, images, {}, model=model)
    zero, terms = elbo_with_penalty(
        params,
        key,
        images,
        {c.name: 0.0 for c in constraints},
        model=model,
        constraints=constraints,
    )
    assert float(none) == float(jnp.mean(plain)) == float(zero)
    np.testing.assert_array_equal(terms.elbo, plain)
    np.testing.assert_array_equal(terms.penalty, 0)


def test_the_penalty_is_the_weighted_sum_of_positive_parts():
    model = small_model()
    params, key, images = model.init(jax.random.key(6)), jax.random.key(7), small_images(4)
    constraints = (Constraint("high", high), Constraint("low", low))
    objective, terms = elbo_with_penalty(
        params, key, images, {"high": 3.0, "low": 5.0}, model=model, constraints=constraints
    )
    shift = np.asarray(model.posterior(params, keys(4, 7), images).latents.shift, np.float64)
    x = shift[:, 0, 0]
    expected = 3 * np.maximum(x, 0) + 5 * np.maximum(-1 - x, 0)
    assert np.any(x > 0) and np.any(x < 0)  # both sides of the kink are seen
    np.testing.assert_allclose(terms.penalty, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(objective, np.mean(terms.elbo - terms.penalty), rtol=1e-6)


def test_the_penalty_on_the_prior_is_an_expectation_over_its_own_samples():
    """The first object's place is a Gaussian that has seen nothing: E max(x, 0) in closed form."""
    model = small_model()
    params = model.init(jax.random.key(6))
    constraints = (Constraint("high", high), Constraint("low", low))

    def penalised(params, prior_weights, number=4_000):
        return elbo_with_penalty(
            params,
            jax.random.key(7),
            np.repeat(small_images(1), number, axis=0),
            {"high": 0.0, "low": 5.0},
            model=model,
            constraints=constraints,
            prior_weights=prior_weights,
        )

    objective, terms = penalised(params, {"high": 3.0})
    prior = model.prior(params, model.posterior(params, None, small_images(1)).latents)
    loc, std = float(prior.shift.loc[0, 0, 0]), float(prior.shift.std[0, 0, 0])
    expected = 3 * (std * norm.pdf(loc / std) + loc * norm.cdf(loc / std))
    error = float(np.std(terms.prior_penalty)) / np.sqrt(4_000)
    assert np.mean(terms.prior_penalty) == pytest.approx(expected, abs=4 * error)
    total = np.mean(terms.elbo - terms.penalty - terms.prior_penalty)
    np.testing.assert_allclose(objective, total, rtol=1e-6)
    # The posterior's own penalty is as before, and only the prior is moved by the other.
    without, _ = penalised(params, None)
    np.testing.assert_allclose(objective + np.mean(terms.prior_penalty), without, rtol=1e-6)
    gradients = [
        jax.grad(lambda p, w=w: penalised(p, w, 8)[0])(params) for w in (None, {"high": 3.0})
    ]
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), *gradients)
    for part in ("inference", "decoder"):
        assert max(jax.tree.leaves(moved[part])) < 1e-5
    assert max(jax.tree.leaves(moved["prior"])) > 1e-2
    with pytest.raises(ValueError, match="weights without a constraint: nothing"):
        penalised(params, {"nothing": 1.0}, 8)


def high(posterior, canvas):
    return posterior.latents.shift[:, 0, 0]


def low(posterior, canvas):
    return -1 - posterior.latents.shift[:, 0, 0]


def test_other_weights_do_not_compile_again():
    model = small_model()
    params, images = model.init(jax.random.key(8)), small_images(4)
    traces = []

    def functional(posterior, canvas):
        traces.append(1)
        return posterior.latents.shift[:, 0, 0]

    constraints = (Constraint("counted", functional),)
    for weight in (1.0, 2.0, jnp.float32(7.0)):
        elbo_with_penalty(
            params,
            jax.random.key(0),
            images,
            {"counted": jnp.float32(weight)},
            model=model,
            constraints=constraints,
        )
    assert len(traces) == 1


@pytest.mark.parametrize("log_odds", [-20.0, 9.2])
def test_a_given_presence_prior_is_that_of_the_model_in_its_place(log_odds):
    """And the count's KL is that to a geometric prior, cut off at K, in float64."""
    model, other = (small_model(prior="fixed", presence_prior=p) for p in (0.5, log_odds))
    params, key, images = model.init(jax.random.key(8)), jax.random.key(0), small_images(4)
    given = elbo(params, key, images, model=model, presence_prior=jnp.float32(log_odds))
    jax.tree.map(np.testing.assert_array_equal, given, elbo(params, key, images, model=other))
    objective, _ = elbo_with_penalty(
        params, key, images, {}, model=model, presence_prior=jnp.float32(log_odds)
    )
    np.testing.assert_allclose(objective, np.mean(given.elbo), rtol=1e-6)
    posterior, _, _ = parts(model, params, None, images)
    log_q = log_q_n(posterior)
    log_p = np.arange(4) * log_expit(log_odds) + np.array([1, 1, 1, 0]) * log_expit(-log_odds)
    np.testing.assert_allclose(np.exp(log_p).sum(), 1, rtol=1e-9)
    expected = (np.exp(log_q) * (log_q - log_p)).sum(1)
    np.testing.assert_allclose(given.kl_count, expected, rtol=1e-5)


def test_another_presence_prior_does_not_compile_again():
    model = small_model(prior="fixed")
    params, images = model.init(jax.random.key(8)), small_images(4)
    traces, kl_count = [], []

    def functional(posterior, canvas):
        traces.append(1)
        return posterior.latents.shift[:, 0, 0]

    for log_odds in (9.2, 0.0, -20.0):
        _, terms = elbo_with_penalty(
            params,
            jax.random.key(0),
            images,
            {"counted": 1.0},
            model=model,
            constraints=(Constraint("counted", functional),),
            presence_prior=jnp.float32(log_odds),
        )
        kl_count.append(float(terms.kl_count.mean()))
    assert len(traces) == 1
    assert len(set(kl_count)) == 3


def test_equal_constraints_are_one_object():
    assert overlap_constraints(2.0, 5.0) is overlap_constraints(2.0, 5.0)
    assert overlap_constraints(2.0, 5.0) != overlap_constraints(2.0, 6.0)


def test_weights_and_constraints_must_name_the_same():
    model = small_model()
    params, images = model.init(jax.random.key(8)), small_images(2)
    arguments = (params, jax.random.key(0), images)
    constraints = (Constraint("high", high), Constraint("low", low))
    with pytest.raises(ValueError, match="constraints without a weight: low: add them to weights"):
        elbo_with_penalty(*arguments, {"high": 1.0}, model=model, constraints=constraints)
    with pytest.raises(ValueError, match="weights without a constraint: hihg; the constraints are"):
        elbo_with_penalty(
            *arguments,
            {"high": 1.0, "low": 1.0, "hihg": 1.0},
            model=model,
            constraints=constraints,
        )


def test_a_batch_equals_batches_of_one():
    model = small_model()
    params, images = model.init(jax.random.key(9)), small_images(4)
    constraints = overlap_constraints(2.0, 5.0)

    def terms(keys, images):
        posterior = model.posterior(params, keys, images)
        values = evaluate(constraints, posterior, model.config.canvas)
        return elbo_terms(params, posterior, images, model=model), values

    together = terms(keys(4), images)
    alone = [terms(keys(4)[i : i + 1], images[i : i + 1]) for i in range(4)]
    alone = jax.tree.map(lambda *x: jnp.concatenate(x), *alone)
    for a, b in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_gaussian_likelihood_against_scipy():
    model = small_model(likelihood="gaussian", sigma=0.4, count=2)
    params, images = model.init(jax.random.key(10)), small_images(3)
    _, _, objects = parts(model, params, None, images)
    expected = norm.logpdf(images, objects[:, :2].sum(1), 0.4).sum((1, 2))
    terms = elbo(params, jax.random.key(0), images, model=model)
    np.testing.assert_allclose(terms.log_likelihood, expected, rtol=1e-5)


@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_concrete_estimator_against_a_loop_that_stops(temperature):
    """The released code's rule: go on while the lost presence stays below 0.9."""
    model = small_model(estimator="concrete", temperature=temperature)
    params = with_leaf(model.init(jax.random.key(11)), PRESENCE_BIAS, lambda b: b + 1.0)
    images = small_images(20)
    posterior, prior, objects = parts(model, params, None, images)
    lengths = set()
    terms = elbo(params, jax.random.key(0), images, model=model)
    for b in range(len(images)):
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
        expected = bernoulli(images[b], canvas, model.config.epsilon) - kl_n - kl_z
        np.testing.assert_allclose(terms.elbo[b], expected, rtol=1e-5)
    assert len(lengths) > 1  # some stop early, some do not


PRIORS = [
    dict(prior="learned"),
    dict(prior="fixed", presence_prior=-20.0),
    dict(prior="fixed", presence_prior=9.2),
    dict(prior="fixed", possible_counts=(1, 3)),
]


@pytest.mark.parametrize("prior", PRIORS, ids=str)
def test_the_relaxed_objective_with_r_num_has_finite_gradients(prior):
    model = small_model(estimator="concrete", **prior)
    params, images = model.init(jax.random.key(13)), small_images(4)
    arguments = dict(model=model, constraints=number_constraints((1, 3)))
    with jax.debug_nans(True):
        gradient, terms = jax.grad(elbo_with_penalty, has_aux=True)(
            params, jax.random.key(0), images, {"number": 10.0, "balance": 100.0}, **arguments
        )
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves((gradient, terms)))
    for name in PRESENCE_KERNEL:
        gradient = gradient[name]
    assert np.all(gradient != 0)


def test_concrete_equals_marginal_where_presence_is_certain():
    marginal, concrete = small_model(count=2), small_model(count=2, estimator="concrete")
    params, images = marginal.init(jax.random.key(12)), small_images(3)
    a = elbo(params, jax.random.key(0), images, model=marginal)
    b = elbo(params, jax.random.key(0), images, model=concrete)
    np.testing.assert_allclose(a.elbo, b.elbo, rtol=1e-6)
