"""Metrics against scipy's matching and by hand."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from asr_jax import metrics

batched_mean_iou = jax.jit(metrics.mean_iou)


def iou(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    areas = [(x[2] - x[0]) * (x[3] - x[1]) for x in (a, b)]
    return shared / (sum(areas) - shared)


def mean_iou_by_scipy(box, count, true_box, true_count):
    if max(count, true_count) == 0:
        return 1.0
    pairs = np.array([[iou(a, b) for b in true_box[:true_count]] for a in box[:count]])
    pairs = pairs.reshape(count, true_count)
    rows, columns = linear_sum_assignment(pairs, maximize=True)
    return pairs[rows, columns].sum() / max(count, true_count)


def random_boxes(rng, *shape):
    corner, size = rng.uniform(0, 12, (*shape, 2)), rng.uniform(3, 10, (*shape, 2))
    return np.concatenate([corner, corner + size], -1)


def mean_iou(box, count, true_box, true_count):
    """Of one image, from lists."""
    value = batched_mean_iou(
        jnp.array([box], jnp.float32),
        jnp.array([count]),
        jnp.array([true_box], jnp.float32),
        jnp.array([true_count]),
    )
    assert value.shape == (1,)
    return float(value[0])


@pytest.mark.parametrize("detected, true", [(3, 3), (4, 2), (2, 5), (1, 1)])
def test_mean_iou_equals_scipys_matching(detected, true):
    rng = np.random.default_rng(detected)
    images = 100
    box, true_box = random_boxes(rng, images, detected), random_boxes(rng, images, true)
    count = rng.integers(0, detected + 1, images)
    true_count = rng.integers(0, true + 1, images)
    expected = [mean_iou_by_scipy(*x) for x in zip(box, count, true_box, true_count, strict=True)]
    got = batched_mean_iou(
        jnp.float32(box), jnp.array(count), jnp.float32(true_box), jnp.array(true_count)
    )
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
    assert len(np.unique(np.round(expected, 6))) > 2


def test_the_matching_is_not_greedy():
    # The best single pair (detected 0, true 0: 0.8) would leave two boxes that do not meet.
    box = [[0, 0, 10, 1], [8, 0, 10, 1]]
    true_box = [[2, 0, 10, 1], [0, 0, 6, 1]]
    # Greedy: 0.8 + 0; best: detected 0 - true 1 (6/10) and detected 1 - true 0 (2/8).
    assert mean_iou(box, 2, true_box, 2) == pytest.approx((0.6 + 0.25) / 2, rel=1e-6)


A, B, C = [0, 0, 4, 4], [10, 0, 14, 4], [0, 10, 4, 14]


def test_empty_scene_explained_as_empty_scores_one():
    assert mean_iou([A, B], 0, [A, B], 0) == 1


@pytest.mark.parametrize("count, true_count", [(0, 2), (2, 0), (0, 1), (1, 0)])
def test_empty_against_objects_scores_zero(count, true_count):
    assert mean_iou([A, B], count, [A, B], true_count) == 0


def test_perfect_detections_score_one_in_any_order():
    assert mean_iou([A, B, C], 3, [C, A, B], 3) == pytest.approx(1, rel=1e-6)


def test_a_duplicated_detection_counts_once():
    assert mean_iou([A, A], 2, [A, A], 1) == pytest.approx(1 / 2, rel=1e-6)
    assert mean_iou([A, A], 2, [A, B], 2) == pytest.approx(1 / 2, rel=1e-6)
    assert mean_iou([A, A, B], 3, [A, B], 2) == pytest.approx(2 / 3, rel=1e-6)


def test_boxes_beyond_the_count_are_ignored():
    assert mean_iou([A, B], 1, [B, A], 1) == 0  # A against B
    assert mean_iou([A, B], 1, [A, B], 2) == pytest.approx(1 / 2, rel=1e-6)
    assert mean_iou([A, B], 2, [A, B], 1) == pytest.approx(1 / 2, rel=1e-6)


def test_order_does_not_matter():
    rng = np.random.default_rng(9)
    box, true_box = random_boxes(rng, 3), random_boxes(rng, 4)
    expected = mean_iou_by_scipy(box, 3, true_box, 4)
    assert expected > 0.1
    for _ in range(3):
        got = mean_iou(rng.permutation(box), 3, rng.permutation(true_box), 4)
        assert got == pytest.approx(expected, rel=1e-5)


def test_squared_error_by_hand():
    images = jnp.array([[[0.0, 1.0], [0.5, 0.5]], [[1.0, 1.0], [0.0, 0.0]]])
    canvas = jnp.array([[[0.0, 0.5], [0.0, 1.0]], [[1.0, 1.0], [0.0, 0.0]]])
    np.testing.assert_array_equal(metrics.squared_error(images, canvas), [0.75, 0])


def test_count_accuracy_by_hand():
    got = metrics.count_accuracy(jnp.array([0, 1, 2, 3]), jnp.array([0, 2, 2, 1]))
    np.testing.assert_array_equal(got, [1, 0, 1, 0])


def test_disjoint_and_inside_equal_plain_loops():
    rng = np.random.default_rng(5)
    box = rng.integers(-1, 9, (300, 3, 2))
    box = np.concatenate([box, box + rng.integers(1, 5, (300, 3, 1))], -1).astype(np.float32)
    count = rng.integers(0, 4, 300)
    apart, within = (
        np.asarray(metrics.disjoint(box, count)),
        np.asarray(metrics.inside(box, count, (10, 8))),
    )
    for b in range(300):
        some = box[b, : count[b]]
        clash = [iou(p, q) > 0 for p, q in itertools.combinations(some, 2)]
        assert apart[b] == (not any(clash))
        fits = [x0 >= 0 and y0 >= 0 and x1 <= 8 and y1 <= 10 for x0, y0, x1, y1 in some]
        assert within[b] == all(fits)
    assert 0.2 < apart.mean() < 0.9 and 0.2 < within.mean() < 0.9
