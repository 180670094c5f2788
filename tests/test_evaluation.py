"""Evaluation: chunks do not matter, padding does not count, means and errors against numpy."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import rel_entr

from asr_jax import elbo, evaluate, iwae, number_constraints, overlap_constraints, summarise
from asr_jax.evaluation import map_batches
from data_gen.scenes import Scenes
from experiments.run.evaluation import Look
from tests.small import (
    PRESENCE_KERNEL,
    image_keys,
    small_images,
    small_model,
    small_params,
    with_leaf,
)
from tests.test_bound import bernoulli, kl
from tests.test_distributions import enumerated_pmf
from tests.test_metrics import distances_by_scipy, mean_iou_by_scipy

MODEL, NUMBER = small_model(), 20
CONSTRAINTS = (*overlap_constraints(2.0, 5.0), *number_constraints((1, 3)))
IMAGES = (small_images(NUMBER) * 255).astype(np.uint8)
COUNT = np.arange(NUMBER) % 4
BOX = np.tile(np.array([[1, 1, 5, 5], [6, 6, 10, 10], [0, 6, 4, 10.0]]), (NUMBER, 1, 1))


@pytest.fixture(scope="module")
def params():
    """Of which the posterior over n differs from image to image."""
    return with_leaf(small_params(MODEL, 31), PRESENCE_KERNEL, lambda kernel: 60 * kernel)


def evaluated(params, key, batch_size, model=MODEL):
    return evaluate(
        params,
        key,
        IMAGES,
        COUNT,
        BOX,
        model=model,
        constraints=CONSTRAINTS,
        batch_size=batch_size,
    )


@pytest.fixture(scope="module")
def values(params):
    return evaluated(params, jax.random.key(1), 250)


@pytest.fixture(scope="module")
def modes(params):
    """What the posterior says without noise: P(n) [N, K+1], objects and boxes, in float64."""
    found = []
    for chunk in np.split(IMAGES / np.float32(255), NUMBER // 4):
        q = MODEL.posterior(params, None, chunk)
        middle = 6 * (np.tanh(np.float64(q.latents.shift)) + 1)
        half = 6 / (1 + np.exp(-np.float64(q.latents.scale)))
        objects = np.float64(MODEL.render(params, q.latents))
        box = np.concatenate([middle - half, middle + half], -1)
        found.append((np.stack([enumerated_pmf(x) for x in q.presence_logits]), objects, box))
    return [np.concatenate(x) for x in zip(*found, strict=True)]


@pytest.mark.parametrize("kind", ["threefry2x32", "rbg"])
def test_results_do_not_depend_on_the_size_of_the_chunks(params, kind):
    """20 images over 8 devices, in one chunk of 24 or in three of 8."""
    key = jax.random.key(1, impl=kind)
    whole, parts = evaluated(params, key, 250), evaluated(params, key, 3)
    assert parts.keys() == whole.keys()
    for name, value in parts.items():
        shapes = {"count_probs": (NUMBER, 4), "centre": (NUMBER, 3), "balance": ()}
        shape = shapes.get(name, (NUMBER,))
        assert value.shape == whole[name].shape == shape
        np.testing.assert_allclose(value, whole[name], rtol=1e-5, atol=1e-5, err_msg=name)


def test_nelbo_is_the_negative_elbo_of_the_same_noise(params, values):
    for first in (0, 16):
        rows = slice(first, first + 4)
        keys = image_keys(NUMBER, seed=1)[rows]
        terms = elbo(params, keys, IMAGES[rows] / np.float32(255), model=MODEL)
        np.testing.assert_allclose(values["nelbo"][rows], -terms.elbo, rtol=1e-5)
        for name in ("log_likelihood", "kl_count", "kl_shift", "kl_scale", "kl_appearance"):
            expected = getattr(terms, name)
            np.testing.assert_allclose(values[name][rows], expected, rtol=1e-4, atol=1e-5)


def test_squared_error_and_count_come_from_the_mode(values, modes):
    """n is the most likely count, and the canvas the sum of the first n objects, by hand."""
    for b, (pmf, objects, box) in enumerate(zip(*modes, strict=True)):
        n = int(np.argmax(pmf))
        canvas = np.clip(objects[:n].sum(0), 0, 1)
        assert values["count"][b] == n and values["acc"][b] == (n == COUNT[b])
        error = np.square(IMAGES[b] / 255 - canvas).sum()
        np.testing.assert_allclose(values["se"][b], error, rtol=1e-4)
        iou = mean_iou_by_scipy(box[:n], n, BOX[b], COUNT[b])
        np.testing.assert_allclose(values["miou"][b], iou, rtol=1e-4, atol=1e-6)
        distances = distances_by_scipy(box, n, BOX[b], COUNT[b])
        np.testing.assert_allclose(values["centre"][b], distances, rtol=1e-3)
    assert len(set(values["count"])) > 2 and 0 < values["acc"].mean() < 1


def test_count_probs_are_those_of_the_mode(values, modes):
    assert np.ptp(modes[0], axis=0).max() > 0.1
    np.testing.assert_allclose(values["count_probs"].sum(1), 1, rtol=2e-6)
    np.testing.assert_allclose(values["count_probs"], modes[0], rtol=1e-4, atol=1e-6)


def test_the_count_that_the_elbo_chooses_equals_a_loop(params, values):
    """In float64, from the means: log p(n) + log p(x | z^{1..n}) - what n objects cost."""
    for b in range(NUMBER):
        image = IMAGES[b : b + 1] / np.float32(255)
        q = MODEL.posterior(params, None, image)
        prior, objects = MODEL.prior(params, q.latents), MODEL.render(params, q.latents)
        log_p_n = np.log(enumerated_pmf(prior.presence_logits[0]))
        scores = []
        for n in range(4):
            canvas = np.float64(objects[0, :n]).sum(0)
            score = log_p_n[n] + bernoulli(np.float64(image[0]), canvas, MODEL.config.epsilon)
            for name in ("shift", "scale", "appearance"):
                pair = (getattr(of, name) for of in (q, prior))
                score -= kl(*(jax.tree.map(np.float64, of) for of in pair))[0, :n].sum()
            scores.append(score)
        assert values["count_elbo"][b] == np.argmax(scores)
        assert values["acc_elbo"][b] == (np.argmax(scores) == COUNT[b])
    assert np.any(values["count_elbo"] != values["count"])
    assert len(set(values["count_elbo"])) > 1 and 0 < values["acc_elbo"].mean() < 1


def test_a_constraint_on_the_mean_is_one_number_of_the_whole_data_set(params, values):
    keys = image_keys(NUMBER, seed=1).reshape(-1, 4)
    chunks = np.split(IMAGES / np.float32(255), NUMBER // 4)
    q = [MODEL.posterior(params, k, x).presence_logits for k, x in zip(keys, chunks, strict=True)]
    q = np.stack([enumerated_pmf(row) for row in np.concatenate(q)])[:, (1, 3)]
    number, balance = -np.log(q).max(1), rel_entr(0.5, q.mean(0)).sum()
    means = [rel_entr(0.5, q[i : i + 8].mean(0)).sum() for i in range(0, NUMBER, 8)]
    assert abs(np.mean(means) - balance) > 0.01 * balance  # what an average over chunks would say
    for found in (values, evaluated(params, jax.random.key(1), 3)):
        np.testing.assert_allclose(found["balance"], balance, rtol=1e-4)
        np.testing.assert_allclose(found["number"], number, rtol=1e-4, atol=1e-5)


def test_a_model_trained_with_the_relaxed_estimator_is_evaluated_exactly(params, values):
    found = evaluated(params, jax.random.key(1), 250, small_model(estimator="concrete"))
    np.testing.assert_array_equal(found["nelbo"], values["nelbo"])


def test_unknown_boxes_leave_their_metric_out_and_a_tighter_bound_has_noise_of_its_own():
    tiny = dict(max_objects=1, encoder="raw", hidden=(4,), appearance=2, lstm=4, head=4)
    model = small_model(**tiny, prior="fixed", possible_counts=(1,))
    params, images, count = small_params(model), small_images(8), np.ones(8, int)
    key = jax.random.key(2)
    found = evaluate(params, key, images, count, model=model, iwae_samples=2)
    assert "acc" in found and "miou" not in found
    np.testing.assert_array_equal(found["count_elbo"], 1)  # no other is possible
    keys = jax.vmap(jax.random.fold_in, (0, None))(image_keys(8, 2), 2**32 - 1)
    expected = iwae(params, keys, images, model=model, samples=2)
    np.testing.assert_allclose(found["iwae"], expected, rtol=1e-5)


def test_a_measure_that_no_watched_scene_has_is_left_out(monkeypatch):
    """FG-ARI of scenes that show fewer than two objects: a mean of nothing is no number."""
    evaluate = SimpleNamespace(scenes=4)
    scenes = Scenes((small_images() * 255).astype(np.uint8), *[None] * 4)
    look = Look(SimpleNamespace(model=MODEL, evaluate=evaluate), scenes, 0)
    found = {"nelbo": np.arange(4.0), "fg_ari": np.zeros(0)}
    monkeypatch.setattr("asr_jax.evaluate", lambda *_, **__: found)
    means, _ = look(small_params(MODEL))
    assert means == {"held_out_nelbo": 1.5}


def test_map_batches_drops_the_copies_that_fill_the_last_chunk():
    sizes = []

    def function(array, nothing):
        sizes.append(len(array))
        assert nothing is None
        return {"twice": 2 * jnp.asarray(array)}

    for divide in (True, False):
        result = map_batches(function, 4, np.arange(10.0), None, divide=divide)
        np.testing.assert_array_equal(result["twice"], 2 * np.arange(10.0))
    assert sizes == [8] * 4  # 4, rounded up to a multiple of 8 devices
    with pytest.raises(ValueError, match="batch_size must be a whole number of at least 1, got 0"):
        map_batches(function, 0, np.arange(10.0), None)


def test_standard_errors_against_numpy():
    value = np.random.default_rng(0).normal(3, 2, 50)
    summary = summarise({"x": value, "balance": np.asarray(np.float32(0.5))})
    assert summary["x"] == pytest.approx(np.mean(value))
    spread = np.sqrt(np.square(value - value.mean()).sum() / 49)
    assert summary["x_stderr"] == pytest.approx(spread / np.sqrt(50))
    # One number of a whole data set has none.
    assert summary["balance"] == 0.5 and "balance_stderr" not in summary
