"""The objective: the bound and the penalty together; the constraints' weights; its gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_expit

import asr_jax
from asr_jax import Constraint, elbo, elbo_with_penalty, number_constraints
from tests.small import (
    PRESENCE_BIAS,
    image_keys,
    leaf,
    small_model,
    small_params,
    with_leaf,
)
from tests.test_bound import (
    FIXED,
    IMAGES,
    KEY,
    MODEL,
    OVERLAP,
    log_q_n,
    more_objects,
    parts,
)


def test_no_constraints_or_zero_weights_give_the_plain_elbo_bit_for_bit():
    params = more_objects(MODEL)
    plain = elbo(params, KEY, IMAGES, model=MODEL).elbo
    none, _ = elbo_with_penalty(params, KEY, IMAGES, model=MODEL)
    zeros = {c.name: 0.0 for c in OVERLAP}
    zero, terms = elbo_with_penalty(params, KEY, IMAGES, zeros, model=MODEL, constraints=OVERLAP)
    assert float(none) == float(jnp.mean(plain)) == float(zero)
    np.testing.assert_array_equal(terms.elbo, plain)
    np.testing.assert_array_equal(terms.penalty, 0)
    # An image on its own, with its key, is explained as among others.
    for b in (1, 3):
        alone = (image_keys()[b : b + 1], IMAGES[b : b + 1])
        one = elbo(params, *alone, model=MODEL, constraints=OVERLAP)
        jax.tree.map(
            lambda x, y, b=b: np.testing.assert_allclose(x, y[b : b + 1], rtol=1e-5, atol=1e-5),
            one,
            terms,
        )


TRACES = []


def high(posterior, canvas):
    TRACES.append(1)
    return posterior.latents.shift[:, 0, 0]


def low(posterior, canvas):
    return -posterior.latents.shift[:, 0, 0]


def sides():
    """Constraints on where the first object is, made anew."""
    return Constraint("high", high, weight=3.0), Constraint("low", low, weight=5.0)


def test_the_penalty_is_the_weighted_sum_of_positive_parts():
    """The weights are the constraints' own, unless others are given."""
    params = small_params(MODEL, seed=6)
    x = np.concatenate([parts(MODEL, params, seed)[0].latents.shift[:, 0, 0] for seed in range(4)])
    assert np.any(x > 0) and np.any(x < 0)
    TRACES.clear()
    for weights, (a, b) in (
        (None, (3.0, 5.0)),
        ({"high": 3.0, "low": 5.0}, (3.0, 5.0)),
        ({"high": 0.0, "low": 7.5}, (0.0, 7.5)),
    ):
        arguments = dict(model=MODEL, constraints=sides())
        found = [
            elbo_with_penalty(params, jax.random.key(seed), IMAGES, weights, **arguments)
            for seed in range(4)
        ]
        penalty = np.concatenate([terms.penalty for _, terms in found])
        expected = a * np.maximum(x, 0) + b * np.maximum(-x, 0)
        np.testing.assert_allclose(penalty, expected, rtol=1e-5, atol=1e-6)
        for objective, terms in found:
            np.testing.assert_allclose(objective, np.mean(terms.elbo - terms.penalty), rtol=1e-6)
    assert len(TRACES) == 1  # other weights, and equal constraints, do not compile again


def test_a_misspelt_weight_is_refused_with_the_names_that_there_are():
    params = small_params(MODEL)

    def penalised(weights=None, prior_weights=None):
        arguments = dict(model=MODEL, constraints=sides(), prior_weights=prior_weights)
        return elbo_with_penalty(params, KEY, IMAGES, weights, **arguments)

    both = {"high": 1.0, "low": 1.0}
    for weights, message in (
        (({"high": 1.0}, None), "constraints without a weight: low: add them to weights"),
        ((both | {"hihg": 1.0}, None), "^weights without a constraint: hihg; .* are high, low: "),
        ((None, {"lwo": 1.0}), "prior_weights without a constraint: lwo; the .* are high, low: "),
        ((both, {"F1": 1.0}), "prior_weights without a constraint: F1; the .* are high, low: che"),
    ):
        with pytest.raises(ValueError, match=message):
            penalised(*weights)
    penalised(both)


@pytest.mark.parametrize("constraints", ["F6", (lambda posterior, canvas: 0,)])
def test_constraints_that_are_none_are_refused_at_every_door(constraints):
    params, given = small_params(MODEL), dict(constraints=constraints)
    posterior = MODEL.posterior(params, None, IMAGES)
    for call in (
        lambda: elbo_with_penalty(params, KEY, IMAGES, model=MODEL, **given),
        lambda: asr_jax.evaluate(params, KEY, IMAGES, model=MODEL, **given),
        lambda: asr_jax.evaluate(params, KEY, IMAGES, model=MODEL, refine_constraints=constraints),
        lambda: MODEL.refine(params, IMAGES, posterior, steps=1, **given),
        lambda: MODEL.reconstruct(params, IMAGES, refine=1, **given),
        lambda: asr_jax.generate(params, KEY, 2, model=MODEL, **given),
    ):
        with pytest.raises(ValueError, match="constraints must be a sequence of asr_jax.Constrai"):
            call()


def test_a_given_presence_prior_is_that_of_the_model_in_its_place():
    """The count's KL is that to a geometric prior, cut off at K, in float64; one program."""
    params = more_objects(FIXED)
    log_q = log_q_n(parts(FIXED, params)[0])
    TRACES.clear()
    for log_odds in (None, -20.0, 9.2, 0.0):
        given = None if log_odds is None else jnp.float32(log_odds)
        objective, terms = elbo_with_penalty(
            params,
            KEY,
            IMAGES,
            {"high": 0.0, "low": 0.0},
            model=FIXED,
            constraints=sides(),
            presence_prior=given,
        )
        p = FIXED.config.presence_prior if log_odds is None else log_odds
        log_p = np.arange(4) * log_expit(p) + np.array([1, 1, 1, 0]) * log_expit(-p)
        np.testing.assert_allclose(np.exp(log_p).sum(), 1, rtol=1e-9)
        expected = (np.exp(log_q) * (log_q - log_p)).sum(1)
        np.testing.assert_allclose(terms.kl_count, expected, rtol=1e-5)
        np.testing.assert_allclose(objective, np.mean(terms.elbo), rtol=1e-6)
    assert len(TRACES) == 2  # with the model's, and with any other


R_NUM = dict(max_objects=2, encoder="raw", hidden=(8,), estimator="concrete")


def test_the_relaxed_objective_with_r_num_has_finite_gradients():
    model = small_model(**R_NUM)
    with jax.debug_nans(True):
        gradient, terms = jax.grad(elbo_with_penalty, has_aux=True)(
            small_params(model), KEY, IMAGES, model=model, constraints=number_constraints((0, 2))
        )
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves((gradient, terms)))
    assert leaf(gradient, PRESENCE_BIAS) != 0


@pytest.mark.parametrize("counts, log_odds", [((), [-20.0, 9.2]), ((0, 2), [0.0])], ids=str)
def test_extreme_priors_over_the_count_leave_its_gradient_finite(counts, log_odds):
    """Relaxed presence is compared with what the prior deems impossible, or certain."""
    model = small_model(prior="fixed", possible_counts=counts, **R_NUM)
    params = small_params(model)

    def moved(b, presence_prior):
        moved = with_leaf(params, PRESENCE_BIAS, lambda bias: bias + b)
        return elbo_with_penalty(
            moved,
            KEY,
            IMAGES,
            model=model,
            constraints=number_constraints((0, 2)),
            presence_prior=presence_prior,
        )

    for presence_prior in log_odds:
        with jax.debug_nans(True):
            gradient, terms = jax.grad(moved, has_aux=True)(0.0, jnp.float32(presence_prior))
        assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves((gradient, terms)))
        assert gradient != 0
