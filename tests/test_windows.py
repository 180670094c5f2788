"""Constraints on what boxes show, against loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit

from asr_jax import Latents, Posterior, compositing, elbo, snug_constraints, visible_constraint
from asr_jax.types import Windows
from tests.small import image_keys, small_images, small_model, small_params


def some_posterior(seed=0):
    """Two objects of 12 x 12 pixels in each of three images, over each other; and their logits."""
    rng = np.random.default_rng(seed)
    logits, alpha = rng.normal(size=(3, 2)), rng.random((3, 2, 4, 4)) * rng.random((3, 2, 1, 1))
    shift = jnp.float32(rng.normal(size=(3, 2, 2)) * 0.1)
    latents = Latents(shift, jnp.full((3, 2, 1), jnp.log(0.24 / 0.76)), jnp.zeros((3, 2, 1)))
    windows = Windows(jnp.float32(alpha))
    q = Posterior(jnp.float32(logits), *[None] * 4, latents=latents, windows=windows)
    return logits, q


@pytest.mark.parametrize("over", [True, False])
def test_an_object_that_counts_is_seen(over):
    logits, q = some_posterior()
    on_canvas = np.float64(compositing.draw(q.windows, q.latents, (50, 50)).alpha)
    expected, hidden = np.zeros(3), 0
    for b in range(3):
        exists, scope = 1.0, np.ones((50, 50))
        for t in range(2):
            exists *= expit(logits[b, t])
            seen = (on_canvas[b, t] * scope).sum()
            expected[b] += exists * max(1 - seen / 40, 0)
            if over:
                scope = scope * (1 - on_canvas[b, t])
                hidden += (1 - scope).max() > 0.5
    got = visible_constraint(40.0, over).functional(q, (50, 50))
    np.testing.assert_allclose(got, expected, rtol=1e-4)
    assert (expected > 0).any() and (expected < 1).any() and (hidden or not over)


def test_no_object_makes_way_for_one_behind_it():
    """The first is seen well: F has no gradient in its alpha, though it hides the second."""
    _, q = some_posterior()
    opaque = q.windows.alpha.at[:, 0].set(0.9)

    def f(alpha):
        return (
            visible_constraint(40.0).functional(q.replace(windows=Windows(alpha)), (50, 50)).sum()
        )

    gradient = jax.grad(f)(opaque)
    np.testing.assert_array_equal(gradient[:, 0], 0)
    assert (gradient[:, 1] < 0).any()


def test_the_objective_shows_constraints_what_objects_look_like():
    model = small_model()
    params, images = small_params(model), small_images()
    constraint = visible_constraint(1e4, over=False)
    terms = elbo(params, image_keys(), images, model=model, constraints=[constraint])
    posterior = model.decoded(params, model.posterior(params, image_keys(), images))
    expected = constraint.functional(posterior, model.config.canvas)
    np.testing.assert_allclose(terms.constraints["visible"], expected, rtol=1e-5)


@pytest.mark.parametrize("least", [0.0, -0.1, float("inf"), float("nan")])
def test_pixels_that_cannot_be_are_refused(least):
    with pytest.raises(ValueError, match="must be above 0 pixels, got"):
        visible_constraint(least)


def windows_of(alpha, side=12.0, canvas=50, border=0.0):
    """A posterior whose windows are these [B, K, n, n], in boxes of that side; and its logits."""
    logits = np.random.default_rng(1).normal(size=alpha.shape[:2])
    fraction = side / canvas
    scale = jnp.full((*alpha.shape[:2], 1), np.log(fraction / (1 - fraction)), jnp.float32)
    latents = Latents(jnp.zeros((*alpha.shape[:2], 2)), scale, jnp.zeros_like(scale))
    windows = Windows(jnp.float32(alpha), border=border)
    return logits, Posterior(jnp.float32(logits), *[None] * 4, latents=latents, windows=windows)


def of_windows(alpha, side=12.0, border=0.0):
    """`snug` and `centred` of such windows, and P(n >= t) in a loop."""
    logits, q = windows_of(alpha, side, border=border)
    found = [constraint.functional(q, (50, 50)) for constraint in snug_constraints()]
    return *found, np.cumprod(expit(logits), axis=1)


def outermost(alpha, size):
    """The ink within a pixel of the canvas of the upper edge, in such pixels: on rows ten times as
    fine, of which `size` window rows are one pixel."""
    fine = np.repeat(alpha, 10, axis=0) / 10
    return fine[: round(10 * size)].sum() / size**2


@pytest.mark.parametrize("side", [3.0, 2.0, 7.5])  # 2, 3 and 0.8 pixels of a window are one
def test_the_smallest_square_around_an_object_has_ink_at_two_opposite_edges(side):
    alpha = np.random.default_rng(0).random((40, 2, 6, 6)) ** 4
    got, _, exists = of_windows(alpha, side)
    expected, between = np.zeros(40), 0
    for b in range(40):
        for t in range(2):
            a, size = alpha[b, t], 6 / side
            upright = min(outermost(a, size), outermost(a[::-1], size))
            across = min(outermost(a.T, size), outermost(a.T[::-1], size))
            expected[b] += exists[b, t] * (1 - min(max(upright, across), 1))
            between += 0 < max(upright, across) < 1
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-6)
    assert between > 10


def test_a_dot_that_is_finer_than_a_pixel_is_no_edge():
    alpha = np.zeros((4, 1, 8, 8))
    alpha[0, 0, :, 2:4] = 1  # from top to bottom
    alpha[1, 0, 2:4, :] = 1  # from left to right
    alpha[2, 0, 2:, 2:] = 1  # at two edges that meet
    alpha[3, 0, 2:6, 2:6] = 1  # in the middle, and dots at two edges
    alpha[3, 0, (0, 7), 4] = 1
    got, _, exists = of_windows(alpha, side=4.0)  # two pixels of a window are one of the canvas
    np.testing.assert_allclose(got, exists[:, 0] * [0, 0, 1, 0.75], atol=1e-6)


def test_an_object_is_in_the_middle_of_its_box():
    """Wherever most of its ink is: from where it begins and ends, in pixels of the canvas."""
    rng = np.random.default_rng(0)
    alpha, off = np.zeros((20, 2, 9, 9)), np.zeros((20, 2))
    for b in range(20):
        for t in range(2):
            (y0, y1), (x0, x1) = (np.sort(rng.choice(10, 2, replace=False)) for _ in range(2))
            alpha[b, t, y0:y1, x0:x1] = 1
            off[b, t] = (abs((y0 + y1) / 2 - 4.5) + abs((x0 + x1) / 2 - 4.5)) * 12 / 9
    _, got, exists = of_windows(alpha)
    np.testing.assert_allclose(got, (exists * off).sum(1), rtol=1e-4, atol=1e-5)
    assert off.max() > 3 and np.isfinite(of_windows(np.zeros((1, 1, 4, 4)))[1]).all()


def test_a_border_is_around_the_box():
    """Of 8 x 8 window pixels the inner 6 x 6 are the box. Ink beyond its edge counts as at it."""
    alpha = np.random.default_rng(0).random((20, 2, 6, 6)) ** 4
    around = np.pad(alpha, [(0, 0), (0, 0), (1, 1), (1, 1)])
    for got, expected in zip(
        of_windows(around, 3.0, border=1 / 6), of_windows(alpha, 3.0), strict=True
    ):
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
    beyond = np.zeros((1, 1, 8, 8))
    beyond[0, 0, (0, 7)] = 1
    got, _, exists = of_windows(beyond, side=6.0, border=1 / 6)
    np.testing.assert_allclose(got, exists[:, 0] * [0], atol=1e-6)


def test_a_window_is_drawn_beyond_its_box_as_far_as_its_border():
    _, q = some_posterior()
    around = jnp.pad(q.windows.alpha, [(0, 0), (0, 0), (1, 1), (1, 1)])  # a quarter each way
    got = compositing.draw(Windows(around, border=1 / 4), q.latents, (50, 50)).alpha
    expected = compositing.draw(q.windows, q.latents, (50, 50)).alpha
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_what_is_finer_than_a_pixel_is_there_in_part():
    alpha = np.random.default_rng(0).random((20, 2, 8, 8)) ** 8
    _, got, exists = of_windows(alpha, side=2.0)  # four pixels of a window are one of the canvas
    expected, part = np.zeros(20), 0
    for b in range(20):
        for t in range(2):
            for lines in (alpha[b, t], alpha[b, t].T):
                there = [min(line.sum() / 4, 1) for line in lines]
                middle = sum((j + 0.5) * x for j, x in enumerate(there)) / sum(there)
                expected[b] += exists[b, t] * abs(middle - 4) / 4
                part += sum(x < 1 for x in there)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-6)
    assert part > 100


@pytest.mark.parametrize("constraint", snug_constraints(), ids=lambda c: c.name)
def test_a_box_that_does_not_fit_changes_neither_count_nor_pixel(constraint):
    _, q = windows_of(np.random.default_rng(0).random((3, 2, 6, 6)) ** 8)
    gradient = jax.grad(lambda q: constraint.functional(q, (50, 50)).sum())(q)
    assert (gradient.windows.alpha != 0).any()
    np.testing.assert_array_equal(gradient.presence_logits, 0)
    np.testing.assert_array_equal(gradient.latents.scale, 0)
