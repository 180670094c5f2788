"""Boxes: IoU against painted pixels, and the coordinate convention by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

from asr_jax import boxes
from asr_jax.types import Latents


def painted_iou(a, b, size=16):
    """IoU of two boxes with integer corners, by counting the pixels of a grid."""
    masks = []
    for x0, y0, x1, y1 in (a, b):
        mask = np.zeros((size, size), bool)
        mask[y0:y1, x0:x1] = True
        masks.append(mask)
    union = (masks[0] | masks[1]).sum()
    return (masks[0] & masks[1]).sum() / union if union else 0.0


def random_boxes(rng, number, size=16):
    """Boxes with integer corners, some of them empty."""
    corners = np.sort(rng.integers(0, size + 1, (number, 2, 2)), axis=1)  # [N, low/high, x/y]
    return corners.reshape(number, 4)


def test_iou_counts_painted_pixels():
    rng = np.random.default_rng(0)
    a, b = random_boxes(rng, 300), random_boxes(rng, 300)
    expected = [painted_iou(*pair) for pair in zip(a, b, strict=True)]
    assert 0 in expected and max(expected) > 0.5  # the sample holds both kinds
    # One division in float32: half a unit in the last place.
    np.testing.assert_allclose(boxes.iou(jnp.float32(a), jnp.float32(b)), expected, rtol=1e-7)


@pytest.mark.parametrize(
    "other",
    [
        (5.5, 1.0, 8.0, 4.0),  # to the right
        (1.0, 4.001, 4.0, 8.0),  # a hair below
        (7.0, 7.0, 9.0, 9.0),  # diagonally away
        (4.0, 1.0, 6.0, 4.0),  # touches an edge
        (4.0, 4.0, 6.0, 6.0),  # touches a corner
    ],
)
def test_iou_of_disjoint_or_touching_boxes_is_exactly_zero(other):
    box = jnp.array([1.0, 1.0, 4.0, 4.0])
    assert boxes.iou(box, jnp.array(other)) == 0
    assert boxes.iou(jnp.array(other), box) == 0


def test_iou_of_empty_boxes_is_zero_and_not_nan():
    empty, inverted = jnp.array([2.0, 2.0, 2.0, 5.0]), jnp.array([5.0, 5.0, 2.0, 2.0])
    full = jnp.array([1.0, 1.0, 4.0, 6.0])
    for a, b in ((empty, empty), (empty, full), (full, empty), (inverted, inverted)):
        assert boxes.iou(a, b) == 0


def test_area_by_hand():
    box = jnp.array([[1.0, 2.0, 4.0, 4.5], [3.0, 3.0, 3.0, 9.0], [5.0, 5.0, 2.0, 2.0]])
    np.testing.assert_array_equal(boxes.area(box), [7.5, 0, 0])


def test_iou_of_a_box_with_itself_is_one():
    box = jnp.array([[0.0, 0.0, 7.0, 3.0], [-2.5, 1.25, 3.75, 9.0]])
    np.testing.assert_array_equal(boxes.iou(box, box), [1, 1])


def test_iou_of_half_pixel_overlap_by_hand():
    # 2x2 boxes, half a pixel apart in x: 1.5 * 2 shared of 2 * 2.5.
    value = boxes.iou(jnp.array([0.0, 0.0, 2.0, 2.0]), jnp.array([0.5, 0.0, 2.5, 2.0]))
    assert value == pytest.approx(3 / 5, rel=1e-7)


def test_iou_broadcasts_to_all_pairs():
    rng = np.random.default_rng(1)
    a, b = random_boxes(rng, 4), random_boxes(rng, 3)
    pairs = boxes.iou(jnp.float32(a)[:, None], jnp.float32(b)[None])
    assert pairs.shape == (4, 3)
    expected = [[painted_iou(x, y) for y in b] for x in a]
    np.testing.assert_allclose(pairs, expected, rtol=1e-7)


@pytest.mark.parametrize(
    "centre, side, canvas, box",
    [
        ((0.0, 0.0), 1.0, (50, 50), (0, 0, 50, 50)),  # the whole canvas
        ((0.0, 0.0), 0.5, (50, 50), (12.5, 12.5, 37.5, 37.5)),
        ((1.0, 0.0), 0.2, (50, 50), (45, 20, 55, 30)),  # x to the right
        ((0.0, 1.0), 0.2, (50, 50), (20, 45, 30, 55)),  # y down
        ((-0.5, 0.25), 0.5, (20, 40), (5, 7.5, 15, 17.5)),  # H=20 is the shorter edge
        ((-0.5, 0.25), 0.5, (40, 20), (0, 20, 10, 30)),  # W=20 is the shorter edge
    ],
)
def test_to_pixels_by_hand(centre, side, canvas, box):
    got = boxes.to_pixels(jnp.array([centre]), jnp.array([[side]]), canvas)
    np.testing.assert_array_equal(got, [box])


def test_centre_in_pixels_maps_the_edges_of_a_non_square_canvas():
    corners = jnp.array([[-1.0, -1.0], [1.0, 1.0], [0.5, -0.5]])
    pixels = boxes.centre_in_pixels(corners, (20, 40))
    np.testing.assert_array_equal(pixels, [[0, 0], [40, 20], [30, 5]])


def test_side_in_pixels_is_a_fraction_of_the_shorter_edge():
    np.testing.assert_array_equal(boxes.side_in_pixels(jnp.array([0.25, 1.0]), (20, 40)), [5, 20])
    np.testing.assert_array_equal(boxes.side_in_pixels(jnp.array([0.25, 1.0]), (40, 20)), [5, 20])


def test_latents_to_pixels_by_hand():
    # tanh(log 2 / 2) = 1/3 and sigmoid(log 3) = 3/4; tanh(0) = 0 and sigmoid(0) = 1/2.
    shift = jnp.array([[[np.log(2) / 2, 0.0], [0.0, -np.log(2) / 2]]], jnp.float32)
    scale = jnp.array([[[np.log(3)], [0.0]]], jnp.float32)
    latents = Latents(shift, scale, jnp.zeros((1, 2, 1)))
    # Sides 15 and 10; centres (4/6 * 60, 10) = (40, 10) and (30, 2/6 * 20) = (30, 20/3).
    expected = [[[32.5, 2.5, 47.5, 17.5], [25, 5 / 3, 35, 35 / 3]]]
    np.testing.assert_allclose(boxes.latents_to_pixels(latents, (20, 60)), expected, rtol=1e-6)
