"""Evaluation: chunks do not matter, padding does not count, means and errors against numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import rel_entr

from asr_jax import elbo, evaluate, number_constraints, overlap_constraints
from asr_jax.evaluate import map_batches, summarise
from tests.small import small_images, small_model, with_leaf
from tests.test_distributions import enumerated_pmf
from tests.test_objective import PRESENCE_KERNEL

CONSTRAINTS = overlap_constraints(2.0, 5.0)


def data(count=7):
    images = (small_images(count) * 255).astype(np.uint8)
    true_count = np.arange(count, dtype=np.int32) % 4
    box = np.tile(
        np.array([[1, 1, 5, 5], [6, 6, 10, 10], [0, 6, 4, 10]], np.float32), (count, 1, 1)
    )
    return images, true_count, box


def test_results_do_not_depend_on_the_size_of_the_chunks():
    model = small_model()
    params = model.init(jax.random.key(0))
    arguments = dict(model=model, constraints=CONSTRAINTS)
    whole = evaluate(params, jax.random.key(1), *data(), **arguments)
    for size in (1, 3, 7, 100):
        parts = evaluate(params, jax.random.key(1), *data(), batch_size=size, **arguments)
        assert parts.keys() == whole.keys()
        for name, value in parts.items():
            assert value.shape == ((7, 4) if name == "count_probs" else (7,))
            np.testing.assert_allclose(value, whole[name], rtol=1e-5, atol=1e-5, err_msg=name)


def test_nelbo_is_the_negative_elbo_of_the_same_noise():
    model = small_model()
    params, (images, count, box) = model.init(jax.random.key(0)), data()
    terms = elbo(params, jax.random.key(5), images / np.float32(255), model=model)
    values = evaluate(params, jax.random.key(5), images, count, box, model=model)
    np.testing.assert_allclose(values["nelbo"], -terms.elbo, rtol=1e-5)


def test_squared_error_and_count_come_from_the_mode():
    """n is the most likely count, and the canvas the sum of the first n objects, by hand."""
    model = small_model()
    params, (images, count, box) = model.init(jax.random.key(2)), data()
    x = images / np.float32(255)
    posterior = model.posterior(params, None, x)
    u = 1 / (1 + np.exp(-np.asarray(posterior.presence_logits, np.float64)))
    objects = np.asarray(model.render(params, posterior.latents), np.float64)
    values = evaluate(params, jax.random.key(1), images, count, box, model=model)
    for b in range(len(x)):
        q = [np.prod(u[b, :n]) * (1 - u[b, n] if n < 3 else 1) for n in range(4)]
        n = int(np.argmax(q))
        canvas = np.clip(objects[b, :n].sum(0), 0, 1)
        assert values["count"][b] == n
        assert values["acc"][b] == (n == count[b])
        np.testing.assert_allclose(values["se"][b], np.square(x[b] - canvas).sum(), rtol=1e-4)


def decided(model):
    """Parameters whose posterior over n differs from image to image."""
    params = model.init(jax.random.key(4))
    return with_leaf(params, PRESENCE_KERNEL, lambda kernel: 30 * kernel)


def pmf(posterior):
    return np.stack([enumerated_pmf(row) for row in posterior.presence_logits])


def test_count_probs_are_those_of_the_mode():
    model = small_model()
    params, (images, count, box) = decided(model), data()
    values = evaluate(params, jax.random.key(1), images, count, box, model=model, batch_size=3)
    expected = pmf(model.posterior(params, None, images / np.float32(255)))
    assert np.ptp(expected, axis=0).max() > 0.1
    np.testing.assert_allclose(values["count_probs"].sum(1), 1, rtol=2e-6)
    np.testing.assert_allclose(values["count_probs"], expected, rtol=1e-4, atol=1e-6)


def test_a_constraint_on_the_mean_is_one_number_of_the_whole_data_set():
    model = small_model()
    params, (images, *_) = decided(model), data(5)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(1), jnp.arange(5))
    q = pmf(model.posterior(params, keys, images / np.float32(255)))[:, (1, 3)]
    number, balance = -np.log(q).max(1), rel_entr(0.5, q.mean(0)).sum()
    chunks = np.mean([rel_entr(0.5, q[i : i + 2].mean(0)).sum() for i in (0, 2, 4)])
    assert abs(chunks - balance) > 0.1 * balance  # what an average over chunks would say
    for size in (2, 5):
        values = evaluate(
            params,
            jax.random.key(1),
            images,
            model=model,
            constraints=number_constraints((1, 3)),
            batch_size=size,
        )
        assert values["balance"].shape == ()
        np.testing.assert_allclose(values["balance"], balance, rtol=1e-4)
        np.testing.assert_allclose(values["number"], number, rtol=1e-4, atol=1e-5)


def test_a_model_trained_with_the_relaxed_estimator_is_evaluated_exactly():
    marginal, concrete = small_model(), small_model(estimator="concrete")
    params = marginal.init(jax.random.key(3))
    a = evaluate(params, jax.random.key(1), *data(), model=marginal)
    b = evaluate(params, jax.random.key(1), *data(), model=concrete)
    np.testing.assert_array_equal(a["nelbo"], b["nelbo"])


def test_unknown_boxes_and_counts_leave_their_metrics_out():
    model = small_model()
    params, (images, count, _) = model.init(jax.random.key(0)), data()
    assert {"acc", "miou"}.isdisjoint(evaluate(params, jax.random.key(1), images, model=model))
    values = evaluate(params, jax.random.key(1), images, count, model=model)
    assert "acc" in values and "miou" not in values


def test_map_batches_drops_the_copies_that_fill_the_last_chunk():
    def function(index, array, nothing):
        assert len(index) == 8 and nothing is None  # 4, rounded up to a multiple of 8 devices
        return {"twice": 2 * jnp.asarray(array), "index": index}

    result = map_batches(function, 10, 4, np.arange(10.0), None)
    np.testing.assert_array_equal(result["twice"], 2 * np.arange(10.0))
    np.testing.assert_array_equal(result["index"], np.arange(10))


def test_standard_errors_against_numpy():
    value = np.random.default_rng(0).normal(3, 2, 50)
    summary = summarise({"x": value})
    assert summary["x"] == pytest.approx(np.mean(value))
    spread = np.sqrt(np.square(value - value.mean()).sum() / 49)
    assert summary["x_stderr"] == pytest.approx(spread / np.sqrt(50))


def test_one_number_of_a_data_set_has_no_standard_error():
    summary = summarise({"x": np.array([1.0, 2.0]), "balance": np.asarray(np.float32(0.5))})
    assert summary == {"x": 1.5, "x_stderr": 0.5, "balance": 0.5}
