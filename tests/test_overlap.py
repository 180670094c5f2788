"""Light that adds up, where objects lie over each other: a step sees what earlier ones leave."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from asr_jax import ModelConfig, compositing, inference
from asr_jax.appearance import Appearance, Covered, scopes
from asr_jax.types import Latents
from tests.small import image_keys, small_images, small_model, small_params

MODEL = small_model(encoder="attention", overlap=True)
IMAGES = small_images(4)


def test_what_is_left_is_the_image_without_the_light_of_earlier_objects():
    params = small_params(MODEL)
    posterior = MODEL.posterior(params, image_keys(4), IMAGES)
    shift, scale = posterior.latents.shift, posterior.latents.scale

    def left_in_sight(scale):
        return scopes(MODEL.cover(params), jnp.asarray(IMAGES), shift, scale)[0]

    got = np.asarray(left_in_sight(scale), np.float64)
    look = {"params": params["inference"]["params"]["appearance"]}
    left = np.float64(IMAGES)
    for t in range(shift.shape[1]):
        np.testing.assert_allclose(IMAGES * got[:, t], left, rtol=1e-3, atol=1e-4)
        box = shift[:, t : t + 1], scale[:, t : t + 1]
        code = Appearance(MODEL.config).apply(look, jnp.float32(left), *box).loc
        windows = MODEL.windows(params, Latents(*box, code))
        light = compositing.draw(windows, Latents(*box, code), MODEL.config.canvas).light[:, 0]
        assert np.asarray(light).max() > 0.1
        left = left - np.minimum(left * np.asarray(light, np.float64) / (left + 1e-3), left)
    # Nothing of it is a gradient's.
    np.testing.assert_array_equal(jax.grad(lambda s: left_in_sight(s).sum())(scale), 0)


def test_later_steps_look_at_what_is_left():
    """An object that takes all light in sight leaves darkness to the steps after it."""
    params, noise = small_params(MODEL), inference.no_noise(4, MODEL.config)

    @jax.jit  # one program for both: two may round differently
    def found(taken):
        def cover(seen, shift, scale):
            return Covered(jnp.zeros_like(seen) + taken)

        module = inference.Inference(MODEL.config, cover)
        return module.apply(params["inference"], jnp.asarray(IMAGES), noise)

    all_of_it, nothing = found(1.0), found(0.0)
    for field in ("shift", "scale", "appearance"):
        one, other = (getattr(q.latents, field) for q in (all_of_it, nothing))
        np.testing.assert_array_equal(one[:, 0], other[:, 0])  # the first one sees everything
        assert (one[:, 1:] != other[:, 1:]).any()
    dark = all_of_it.appearance.loc[:, 1:]  # of nothing
    np.testing.assert_allclose(dark, np.broadcast_to(dark[:1, :1], dark.shape), rtol=1e-5)


def test_images_do_not_depend_on_each_other():
    params, keys = small_params(MODEL), image_keys(4)
    together = MODEL.posterior(params, keys, IMAGES)
    for i in range(4):
        alone = MODEL.posterior(params, keys[i : i + 1], IMAGES[i : i + 1])
        for one, of_all in zip(*map(jax.tree.leaves, (alone, together)), strict=True):
            np.testing.assert_allclose(one[0], of_all[i], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "others", [dict(channels=3), dict(encoder="patches"), dict(compositing="over")]
)
def test_overlap_where_it_says_nothing_is_refused(others):
    settings = dict(encoder="attention", overlap=True) | others
    with pytest.raises(ValueError, match="overlap=True is for .*set it False"):
        ModelConfig(**settings)
