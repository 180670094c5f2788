"""Metrics against scipy's matching, scikit-learn, all matchings, and by hand."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import adjusted_rand_score

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


def distances_by_scipy(box, count, true_box, true_count):
    centres = [(b[:, :2] + b[:, 2:]) / 2 for b in (box[:count], true_box[:true_count])]
    apart = np.linalg.norm(centres[0][:, None] - centres[1][None], axis=-1)
    expected = np.full(len(true_box), -1.0)
    expected[:true_count] = np.inf
    rows, columns = linear_sum_assignment(apart)
    expected[columns] = apart[rows, columns]
    return expected


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


@pytest.mark.parametrize("detected, true", [(3, 3), (4, 2), (2, 5), (1, 1)])
def test_centre_distances_are_those_of_the_nearest_matching(detected, true):
    rng = np.random.default_rng(detected)
    box, true_box = random_boxes(rng, 100, detected), random_boxes(rng, 100, true)
    count = rng.integers(0, detected + 1, 100)
    true_count = rng.integers(0, true + 1, 100)
    got = jax.jit(metrics.centre_distance)(
        jnp.float32(box), jnp.array(count), jnp.float32(true_box), jnp.array(true_count)
    )
    of_image = zip(box, count, true_box, true_count, strict=True)
    np.testing.assert_allclose(got, [distances_by_scipy(*x) for x in of_image], rtol=1e-3)
    assert np.isinf(got).any() and (got == -1).any()


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


def random_masks(rng, images, objects, side=(9, 7)):
    """Masks of rectangles that lie on each other, with at most `objects`; some have few."""
    mask = np.zeros((images, *side), np.uint8)
    for b in range(images):
        for t in range(rng.integers(0, objects + 1)):
            y, x = rng.integers(0, side[0]), rng.integers(0, side[1])
            mask[b, y : y + rng.integers(1, 6), x : x + rng.integers(1, 6)] = t + 1
    return mask


def disturbed(rng, mask, objects):
    """A mask that is partly right: renumbered, merged, and with wrong pixels."""
    to = rng.integers(0, objects + 1, (len(mask), mask.max() + 1))
    found = np.take_along_axis(to, mask.reshape(len(mask), -1).astype(int), 1).reshape(mask.shape)
    wrong = rng.uniform(size=mask.shape) < rng.uniform(0, 0.5, (len(mask), 1, 1))
    return np.where(wrong, rng.integers(0, objects + 1, mask.shape), found).astype(np.uint8)


def foreground_ari(mask, true_mask, objects, true_objects):
    jitted = jax.jit(metrics.foreground_ari, static_argnames=("objects", "true_objects"))
    ari, defined = jitted(
        jnp.asarray(mask), jnp.asarray(true_mask), objects=objects, true_objects=true_objects
    )
    assert ari.shape == defined.shape == (len(mask),) and defined.dtype == bool
    return np.asarray(ari), np.asarray(defined)


@pytest.mark.parametrize("found, true", [(4, 4), (6, 3), (2, 5)])
def test_foreground_ari_equals_scikit_learns(found, true):
    rng = np.random.default_rng(found)
    true_mask = random_masks(rng, 300, true)
    mask = disturbed(rng, true_mask, found)
    got, defined = foreground_ari(mask, true_mask, found, true)
    expected = np.zeros(300)
    for b in range(300):
        seen = true_mask[b] > 0
        assert defined[b] == (len(np.unique(true_mask[b][seen])) >= 2)
        if defined[b]:
            expected[b] = adjusted_rand_score(true_mask[b][seen], mask[b][seen])
    np.testing.assert_allclose(got, expected, atol=2e-5)
    assert 50 < defined.sum() < 290 and np.std(expected[defined]) > 0.2 and expected.min() < 0


def test_foreground_ari_of_large_images():
    rng = np.random.default_rng(0)
    true_mask = np.repeat(np.repeat(random_masks(rng, 4, 5), 40, 1), 40, 2)  # 360 x 280
    mask = disturbed(rng, true_mask, 6)
    got, defined = foreground_ari(mask, true_mask, 6, 5)
    for b in np.flatnonzero(defined):
        seen = true_mask[b] > 0
        expected = adjusted_rand_score(true_mask[b][seen], mask[b][seen])
        assert got[b] == pytest.approx(expected, abs=2e-5)
    assert defined.sum() > 1


def test_foreground_ari_at_its_ends():
    true = np.array([[1, 1, 2, 2, 0, 0]] * 5 + [[1, 2, 3, 0, 0, 0]] * 2, np.uint8)[:, None]
    found = np.array(
        [
            [3, 3, 1, 1, 2, 3],  # other numbers, and what is not an object does not count
            [1, 1, 1, 1, 0, 0],  # one object over both: no better than chance
            [0, 0, 0, 0, 0, 0],  # nothing found: the same
            [0, 0, 1, 1, 0, 0],  # background is one more part
            [1, 2, 1, 2, 0, 0],  # worse than chance
            [3, 1, 0, 0, 0, 0],  # no two pixels belong together
            [1, 1, 1, 0, 0, 0],
        ]
    )[:, None]
    got, defined = foreground_ari(found, true, 3, 3)
    np.testing.assert_allclose(got, [1, 0, 0, 1, -0.5, 1, 0], atol=1e-6)
    assert defined.all()
    few = np.array([[[0, 0, 0, 0]], [[1, 1, 1, 1]], [[0, 0, 0, 2]]])
    got, defined = foreground_ari(np.ones_like(few), few, 3, 3)
    assert not defined.any() and not got.any()  # a number where there is no index, too


def best_mean_of_all_matchings(mask, count, true_mask, true_count):
    """By sets of pixels, over all ways to match."""
    if max(count, true_count) == 0:
        return 1.0
    pixels, true_pixels = (
        [set(np.flatnonzero(m == t + 1)) for t in range(n)]
        for m, n in ((mask, count), (true_mask, true_count))
    )
    some, more = sorted([pixels, true_pixels], key=len)
    totals = [
        sum(len(a & b) / max(len(a | b), 1) for a, b in zip(some, chosen, strict=True))
        for chosen in itertools.permutations(more, len(some))
    ]
    return max(totals) / len(more)


@pytest.mark.parametrize("found, true", [(3, 3), (5, 2), (2, 4)])
def test_mask_iou_is_the_best_of_all_matchings(found, true):
    rng = np.random.default_rng(true)
    true_mask = random_masks(rng, 400, true)
    mask = disturbed(rng, true_mask, found)
    # Some objects exist and are not seen, some are seen and do not exist.
    count, true_count = rng.integers(0, found + 1, 400), rng.integers(0, true + 1, 400)
    got = jax.jit(metrics.mask_iou, static_argnames=("objects", "true_objects"))(
        *map(jnp.asarray, (mask, count, true_mask, true_count)), objects=found, true_objects=true
    )
    every = zip(mask, count, true_mask, true_count, strict=True)
    expected = [best_mean_of_all_matchings(*one) for one in every]
    assert got.shape == (400,)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
    assert len(np.unique(np.round(expected, 6))) > 50


def test_mask_iou_by_hand():
    true = jnp.array([[[1, 1, 1, 2, 2, 0]]] * 3)
    found = jnp.array([[[2, 2, 0, 1, 1, 1]], [[1, 1, 1, 1, 1, 0]], [[1, 1, 1, 2, 2, 0]]])
    got = metrics.mask_iou(
        found, jnp.array([2, 1, 3]), true, jnp.array([2, 2, 2]), objects=3, true_objects=2
    )
    # 2/3 twice; 3/5 and one missed; both, and one too many.
    np.testing.assert_allclose(got, [2 / 3, 0.3, 2 / 3], rtol=1e-6)
