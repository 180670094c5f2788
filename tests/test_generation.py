"""Generated scenes: drawn as the model says, and judged by hand-made examples."""

import jax
import numpy as np
import pytest

from asr_jax import Constraint, boxes, generate, generation, number_constraints, overlap_constraints
from tests.small import image_keys, small_model, small_params

MODEL, NUMBER = small_model(), 40


def sides(posterior, canvas):
    """A functional that tells the latents, the count and the prior apart."""
    exists = jax.nn.sigmoid(posterior.presence_logits)
    return (exists * boxes.side(posterior.latents.scale)[..., 0]).sum(1)


CONSTRAINTS = (
    *overlap_constraints(2.0, 5.0),
    Constraint("sides", sides),
    *number_constraints((1, 3)),
)


def generated(batch_size):
    return generate(
        small_params(MODEL, 2),
        jax.random.key(3),
        NUMBER,
        model=MODEL,
        constraints=CONSTRAINTS,
        batch_size=batch_size,
    )


@pytest.fixture(scope="module")
def samples():
    return generated(250)


def test_samples_do_not_depend_on_the_size_of_the_chunks(samples):
    assert samples["canvas"].shape == (NUMBER, 12, 12) and samples["boxes"].shape == (NUMBER, 3, 4)
    parts = generated(3)
    assert parts.keys() == samples.keys()
    for name, value in parts.items():
        np.testing.assert_allclose(value, samples[name], atol=1e-5, err_msg=name)
    # They are those of the model, of the same keys.
    scene = MODEL.sample(small_params(MODEL, 2), image_keys(NUMBER, 3)[36:], 4)
    np.testing.assert_allclose(samples["canvas"][36:], scene.canvas, atol=1e-6)
    np.testing.assert_array_equal(samples["count"][36:], scene.count)


def test_constraints_are_evaluated_on_the_objects_that_exist(samples):
    box, count = np.float64(samples["boxes"]), samples["count"]
    assert len(np.unique(count)) == 4
    for b in range(NUMBER):
        x0, y0, x1, y1 = box[b, : count[b]].T
        assert samples["sides"][b] * 12 == pytest.approx((x1 - x0).sum(), abs=1e-4)
        assert samples["F2"][b] == pytest.approx(np.maximum(-x0, 0).sum(), abs=1e-4)
        assert samples["F5"][b] == pytest.approx(np.maximum(y1 - 12, 0).sum(), abs=1e-4)
        # Of a constraint on a mean, the statistic: P(n = 1), P(n = 3).
        np.testing.assert_allclose(samples["balance"][b], count[b] == np.array([1, 3]), atol=1e-6)


def test_no_samples_are_refused():
    with pytest.raises(ValueError, match="num must be at least 1, got 0"):
        generate(None, jax.random.key(0), 0, model=MODEL)


def test_describe_by_hand():
    box = np.array(
        [
            [[0, 0, 4, 4], [4, 0, 8, 4], [0, 0, 9, 9]],  # two that touch; the third does not exist
            [[0, 0, 4, 4], [3, 3, 7, 7], [20, 20, 24, 24]],  # overlap; the third is outside
            [[-1, 0, 3, 4], [0, 0, 1, 1], [0, 0, 1, 1]],  # one, outside
            [[0, 0, 6, 6], [0, 0, 6, 6], [0, 0, 6, 6]],  # none
        ],
        np.float32,
    )
    found = generation.describe(box, np.array([2, 3, 1, 0]), (10, 20), 4)
    assert found["images"] == 4 and found["counts"] == [0.25, 0.25, 0.25, 0.25, 0.0]
    assert (found["disjoint"], found["inside"], found["tidy"]) == (0.75, 0.5, 0.5)
    assert (found["side_mean"], found["side_std"]) == (4.0, 0.0)
    places = np.zeros((6, 6))  # centres (2, 2), (6, 2), (2, 2), (5, 5), (22, 22), (1, 2)
    places[1, 0], places[1, 1], places[3, 1], places[5, 5] = 3, 1, 1, 1
    np.testing.assert_allclose(np.reshape(found["places"], (6, 6)), places / 6)
    empty = generation.describe(box, np.zeros(4, int), (10, 10), 1)
    assert empty["tidy"] == 1.0 and empty["side_mean"] is empty["places"] is None
    assert empty["counts"] == [1.0, 0.0]


def test_total_variation_by_hand():
    assert generation.total_variation([0.5, 0.5], [0.5, 0.5, 0.0]) == 0.0
    assert generation.total_variation([1.0], [0.0, 0.0, 1.0]) == 1.0
    assert generation.total_variation([0.2, 0.8], [0.5, 0.4, 0.1]) == pytest.approx(0.4)


def test_nearest_equals_a_plain_loop_and_shows_copies():
    rng = np.random.default_rng(0)
    others = rng.integers(0, 256, (23, 6, 5), dtype=np.uint8)
    images = rng.random((9, 6, 5)).astype(np.float32)
    images[4] = others[17] / np.float32(255)
    difference = np.float64(images)[:, None] - others / 255
    expected = np.sqrt(np.square(difference).sum((2, 3)).min(1))
    for size in (4, 1000):
        found = generation.nearest(images, others, batch_size=size)
        np.testing.assert_allclose(found, expected, atol=5e-3)
        assert found.argmin() == 4
