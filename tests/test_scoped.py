"""Models whose objects lie over each other: what depends on what, on wide and on tall canvases."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import kstest

from asr_jax import boxes, evaluate, inference
from asr_jax.constraints.base import MARKS, RESERVED
from asr_jax.types import Gaussian
from tests.small import image_keys, leaf, small_images, small_model, small_params, with_leaf

COLOUR = dict(
    channels=3,
    compositing="over",
    background="colour",
    encoder="attention",
    likelihood="gaussian",
    sigma=0.2,
)
OVERLAP = dict(encoder="attention", overlap=True)
STEPS = 3


@pytest.mark.parametrize("settings", [COLOUR, OVERLAP], ids=["colour", "overlap"])
def test_a_step_depends_on_the_noise_of_earlier_boxes_alone(settings):
    """The scope has no gradient: noise is changed, part by part and step by step."""
    model = small_model(**settings, canvas=(12, 17), max_objects=STEPS)
    params, rng = small_params(model), np.random.default_rng(0)
    images = jnp.float32(rng.random((2, *model.config.shape)))
    noise = inference.draw_noise(image_keys(2), model.config)
    module = inference.Inference(model.config, model.cover(params))
    apply = jax.jit(lambda noise: module.apply(params["inference"], images, noise))

    def seen(q):
        return [q.presence_logits, q.shift.loc, q.scale.loc, q.appearance.loc]

    before = seen(apply(noise))

    def changed(noise):
        """[4, STEPS]: which steps of presence, shift, scale and appearance are other ones."""
        pairs = zip(before, seen(apply(noise)), strict=True)
        return [(np.reshape(a != b, (2, STEPS, -1))).any((0, 2)) for a, b in pairs]

    for step in range(STEPS):
        later, now_and_later = np.arange(STEPS) > step, np.arange(STEPS) >= step
        expected = {
            "shift": [later, later, now_and_later, now_and_later],
            "scale": [later, later, later, now_and_later],
            "appearance": [~now_and_later & later] * 4,
            "presence": [~now_and_later & later] * 4,
        }
        for name, steps in expected.items():
            part = getattr(noise, name)
            found = changed(noise.replace(**{name: part.at[:, step].add(1.0)}))
            np.testing.assert_array_equal(found, steps, err_msg=f"{name} of step {step}")
    if noise.background is not None:
        assert not np.any(changed(noise.replace(background=noise.background + 1)))


@pytest.mark.parametrize(
    "settings, canvas", [(COLOUR, (24, 70)), (OVERLAP, (70, 24))], ids=["wide", "tall"]
)
def test_untrained_attention_finds_objects_wherever_the_canvas_is_longer(settings, canvas):
    prior = float(np.log((9 / 24) / (1 - 9 / 24))), 0.05
    model = small_model(**settings, canvas=canvas, max_objects=2, scale_prior=prior)
    params = model.init(jax.random.key(0))
    explained = leaf(params, ("inference", "params", "step", "attention", "explained"))
    assert explained == 8.0  # nats; 16 where no object may lie on another
    centres = [(12, 10), (53, 15)] if canvas[1] > canvas[0] else [(8, 13), (15, 55)]
    image = np.full((1, *model.config.shape), 0.4 * (model.config.channels == 3), np.float32)
    for x, y in centres:
        image[:, y - 4 : y + 4, x - 4 : x + 4] = 0.9 if image.ndim == 3 else (0.9, 0.1, 0.2)
    found = model.posterior(params, None, image).latents
    x0, y0, x1, y1 = np.moveaxis(boxes.latents_to_pixels(found, canvas)[0], -1, 0)
    middles = np.stack([(x0 + x1) / 2, (y0 + y1) / 2], axis=-1)
    order = np.argsort(middles[:, 0]) if canvas[1] > canvas[0] else np.argsort(middles[:, 1])
    assert np.abs(middles[order] - centres).max() < 3  # pixels


def test_a_coloured_object_that_no_box_has_gets_one():
    """Both boxes lie on one of two red squares; one of them moves to the other."""
    prior = float(np.log(0.3 / 0.7))
    settings = dict(canvas=(20, 32), max_objects=2, count=2, scale_prior=(prior, 0.05))
    model = small_model(**COLOUR, **settings)
    params = small_params(model)
    for name, bias in (("Dense_0", 4.0), ("colour", jnp.array([3.0, -3.0, -3.0]))):  # red, opaque
        layer = ("decoder", "params", name)
        params = with_leaf(params, (*layer, "kernel"), jnp.zeros_like)
        params = with_leaf(params, (*layer, "bias"), lambda old, b=bias: jnp.zeros_like(old) + b)
    image = np.full((1, 20, 32, 3), 0.3, np.float32)
    image[:, 3:9, 4:10] = image[:, 11:17, 22:28] = (0.95, 0.05, 0.05)
    shift = jnp.arctanh(jnp.array([[[7 / 16 - 1, 6 / 10 - 1], [7.5 / 16 - 1, 6 / 10 - 1]]]))
    scale = jnp.full((1, 2, 1), prior)
    start = model.posterior(params, None, image)
    start = start.replace(
        shift=Gaussian(shift, jnp.full_like(shift, 0.01)),
        scale=Gaussian(scale, jnp.full_like(scale, 0.01)),
        latents=start.latents.replace(shift=shift, scale=scale),
        background=Gaussian(jnp.full((1, 3), np.log(0.3 / 0.7)), start.background.std),
    )
    moved = model.refine(params, image, start, steps=0, moves=1)
    middles = (np.asarray(boxes.centre(moved.shift.loc))[0] + 1) / 2 * np.array([32, 20])
    middles = middles[np.argsort(middles[:, 0])]
    assert np.abs(middles - [(7, 6), (25, 14)]).max() <= 0.8  # pixels


def test_colours_behind_samples_are_of_the_prior():
    model = small_model(**COLOUR, max_objects=1)
    params = small_params(model)
    latents, _, _ = model.sample_latents(params, image_keys(500))
    assert kstest(np.ravel(latents.background), "norm").pvalue > 0.01


def test_every_name_that_evaluation_gives_is_reserved():
    model = small_model(**COLOUR, canvas=(10, 17), max_objects=2)
    params, rng = small_params(model), np.random.default_rng(0)
    images, mask = rng.random((3, 10, 17, 3)).astype(np.float32), rng.integers(0, 3, (3, 10, 17))
    count, box = np.full(3, 2), np.tile([[1.0, 1, 4, 4], [5, 5, 9, 9]], (3, 1, 1))
    found = evaluate(
        *(params, jax.random.key(2), images, count, box, mask),
        model=model,
        refine=1,
        iwae_samples=2,
    )
    assert {"mask_miou_refined", "fg_ari_refined", "acc_elbo", "iwae"} < set(found)
    _, last = MARKS
    assert {name for name in found if not name.endswith(last)} <= RESERVED
    scene = model.reconstruct(params, images, refine=1)
    expected = np.square(images - np.float64(scene.canvas)).sum((1, 2, 3))
    np.testing.assert_allclose(found["se_refined"], expected, rtol=1e-4)


@pytest.mark.parametrize("scale", [-50.0, -1e6])
def test_a_side_that_vanishes_leaves_numbers_and_gradients(scale):
    model = small_model(place_prior="relations", max_objects=2)
    params = small_params(model)
    latents = model.posterior(params, None, small_images()).latents

    def drawn(scale):
        at = latents.replace(scale=jnp.full_like(latents.scale, scale))
        return model.render(params, at).sum() + model.prior(params, at).shift.logits.sum()

    assert all(np.isfinite(x) for x in jax.value_and_grad(drawn)(scale))
