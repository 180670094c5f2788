"""The constraint on what boxes show, against loops."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit

from asr_jax import Posterior, elbo, visible_constraint
from asr_jax.types import Windows
from tests.small import image_keys, small_images, small_model, small_params


def test_an_object_that_counts_is_seen():
    rng = np.random.default_rng(0)
    logits, alpha = rng.normal(size=(3, 2)), rng.random((3, 2, 4, 4)) * rng.random((3, 2, 1, 1))
    posterior = Posterior(jnp.float32(logits), *[None] * 5, windows=Windows(jnp.float32(alpha)))
    expected = np.zeros(3)
    for b in range(3):
        exists = 1.0
        for t in range(2):
            exists *= expit(logits[b, t])
            expected[b] += exists * max(0.3 - alpha[b, t].sum() / 16, 0)
    got = visible_constraint(0.3).functional(posterior, (50, 50))
    np.testing.assert_allclose(got, expected, rtol=1e-5)
    assert (expected > 0).any() and (expected == 0).any()


def test_the_objective_shows_constraints_what_objects_look_like():
    model = small_model()
    params, images, constraint = small_params(model), small_images(), visible_constraint(0.9)
    terms = elbo(params, image_keys(), images, model=model, constraints=[constraint])
    posterior = model.decoded(params, model.posterior(params, image_keys(), images))
    expected = constraint.functional(posterior, model.config.canvas)
    np.testing.assert_allclose(terms.constraints["visible"], expected, rtol=1e-5)


@pytest.mark.parametrize("least", [0.0, 1.0, -0.1, float("nan")])
def test_a_share_that_cannot_be_is_refused(least):
    with pytest.raises(ValueError, match=r"must be in \(0, 1\)"):
        visible_constraint(least)
