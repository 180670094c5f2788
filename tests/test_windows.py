"""The constraint on what boxes show, against loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit

from asr_jax import Latents, Posterior, compositing, elbo, visible_constraint
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
