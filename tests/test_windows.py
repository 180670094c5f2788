"""Constraints on what boxes show, against loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit

from asr_jax import (
    Latents,
    Posterior,
    boxes,
    compositing,
    elbo,
    snug_constraints,
    visible_constraint,
)
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


def shown(q, canvas):
    """`snug` and `centred` of each object, in a loop, without P(n >= t)."""
    alpha = np.asarray(compositing.draw(q.windows, q.latents, canvas).alpha)
    box = np.float64(boxes.latents_to_pixels(q.latents, canvas))
    sizes, places = np.zeros(alpha.shape[:2]), np.zeros(alpha.shape[:2])
    for b, t in np.ndindex(sizes.shape):
        ys, xs = np.nonzero(alpha[b, t] >= 0.5)
        if len(xs):
            x0, y0, x1, y1 = box[b, t]
            width, height = xs.max() + 1 - xs.min(), ys.max() + 1 - ys.min()
            sizes[b, t] = abs((x1 - x0) - max(width, height))
            across = abs((x0 + x1) / 2 - (xs.max() + 1 + xs.min()) / 2)
            places[b, t] = across + abs((y0 + y1) / 2 - (ys.max() + 1 + ys.min()) / 2)
    return sizes, places


def of_blocks(border=0.0, canvas=(40, 50)):
    """Blocks in windows of 9 x 9 pixels, some of them pale or off the canvas, one missing."""
    rng = np.random.default_rng(0)
    alpha = np.zeros((20, 2, 9, 9), np.float32)
    for b, t in np.ndindex(20, 2):
        (y0, y1), (x0, x1) = (np.sort(rng.choice(10, 2, replace=False)) for _ in range(2))
        alpha[b, t, y0:y1, x0:x1] = rng.choice([0.3, 1.0], p=[0.1, 0.9])
    alpha[0, 0] = 0
    logits = jnp.float32(rng.normal(size=(20, 2)))
    shift = jnp.float32(rng.normal(size=(20, 2, 2)))
    scale = jnp.float32(rng.normal(-1, 0.3, size=(20, 2, 1)))
    latents = Latents(shift, scale, jnp.zeros((20, 2, 1)))
    windows = Windows(jnp.float32(alpha), border=border)
    return Posterior(logits, *[None] * 4, latents=latents, windows=windows), canvas


@pytest.mark.parametrize("border", [0.0, 0.25])
def test_a_box_fits_what_it_shows(border):
    q, canvas = of_blocks(border)
    exists = np.cumprod(expit(np.float64(q.presence_logits)), axis=1)
    for constraint, off in zip(snug_constraints(), shown(q, canvas), strict=True):
        got = constraint.functional(q, canvas)
        np.testing.assert_allclose(got, (exists * off).sum(1), rtol=1e-4, err_msg=constraint.name)
        assert off[0, 0] == 0 and np.median(off) > 1


def test_a_box_shrinks_and_moves_towards_its_object():
    """8 x 8 pixels in a box of 12 x 12, left of its middle and below it."""
    alpha = jnp.zeros((1, 1, 12, 12)).at[0, 0, 3:11, 1:9].set(1)
    middle, scale = jnp.zeros((1, 1, 2)), jnp.full((1, 1, 1), np.log(0.24 / 0.76))  # of 50
    latents = Latents(middle, scale, jnp.zeros((1, 1, 1)))
    q = Posterior(jnp.ones((1, 1)), *[None] * 4, latents=latents, windows=Windows(alpha))
    snug, centred = (constraint.functional for constraint in snug_constraints())
    smaller = jax.grad(lambda q: snug(q, (50, 50)).sum())(q).latents
    nearer = jax.grad(lambda q: centred(q, (50, 50)).sum())(q).latents
    assert smaller.scale[0, 0, 0] > 0 and (smaller.shift == 0).all()
    assert nearer.shift[0, 0, 0] > 0 > nearer.shift[0, 0, 1] and (nearer.scale == 0).all()


@pytest.mark.parametrize("constraint", snug_constraints(), ids=lambda c: c.name)
def test_a_box_that_does_not_fit_changes_neither_count_nor_pixel(constraint):
    q, canvas = of_blocks()
    gradient = jax.grad(lambda q: constraint.functional(q, canvas).sum())(q)
    assert (gradient.latents.shift != 0).any() or (gradient.latents.scale != 0).any()
    np.testing.assert_array_equal(gradient.presence_logits, 0)
    np.testing.assert_array_equal(gradient.windows.alpha, 0)


def test_a_window_is_drawn_beyond_its_box_as_far_as_its_border():
    _, q = some_posterior()
    around = jnp.pad(q.windows.alpha, [(0, 0), (0, 0), (1, 1), (1, 1)])  # a quarter each way
    got = compositing.draw(Windows(around, border=1 / 4), q.latents, (50, 50)).alpha
    expected = compositing.draw(q.windows, q.latents, (50, 50)).alpha
    np.testing.assert_allclose(got, expected, atol=1e-6)
