"""Colours, backgrounds, and objects that lie over each other: against float64 numpy and Pillow."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from scipy.special import expit, log_expit, logsumexp
from scipy.stats import chi2, norm

from asr_jax import (
    ModelConfig,
    attention,
    backgrounds,
    boxes,
    compositing,
    elbo,
    fit,
    inference,
    iwae,
    refinement,
)
from asr_jax.appearance import Appearance, Covered, likeness, scopes
from asr_jax.backgrounds import enlarged, median, planes
from asr_jax.bound import elbo_terms
from asr_jax.images import check
from asr_jax.networks import extract_patches
from asr_jax.types import Latents, Layers, Windows
from experiments.run.drawings import taken_apart
from tests.small import BATCH, CANVAS, image_keys, small_model, small_params

SETTINGS = dict(
    channels=3,
    compositing="over",
    background="image",
    background_code=5,
    background_size=3,
    texture=2,
    encoder="attention",
    likelihood="gaussian",
    sigma=0.3,
)
MODEL = small_model(**SETTINGS)
GREY = small_model(**SETTINGS | {"channels": 1, "background": "colour"})


def colour_images(model=MODEL, batch=BATCH, seed=0):
    rng = np.random.default_rng(seed)
    return rng.random((batch, *model.config.shape)).astype(np.float32)


def random_layers(channels=3, batch=2, steps=3, canvas=(4, 5), seed=0):
    rng = np.random.default_rng(seed)
    alpha = rng.random((batch, steps, *canvas))
    colour = rng.random((batch, steps, channels, *canvas))
    return alpha, colour, rng.random((batch, channels, *canvas))


def shares(alpha, n):
    """What the background and each of the first n objects has of a pixel: [B, 1 + n, H, W]."""
    scope = [np.prod(1 - alpha[:, :t], axis=1) for t in range(n + 1)]
    return np.stack([scope[n], *(alpha[:, t] * scope[t] for t in range(n))], axis=1)


@pytest.mark.parametrize("channels", [1, 3])
def test_earlier_objects_lie_over_later_ones_and_the_background(channels):
    alpha, colour, behind = random_layers(channels)
    layers = Layers(jnp.float32(alpha), jnp.float32(colour))
    got = compositing.canvases(layers, jnp.float32(behind), (0, 2, 3))
    for i, n in enumerate((0, 2, 3)):
        everything = np.concatenate([behind[:, None], colour[:, :n]], axis=1)
        expected = (shares(alpha, n)[:, :, None] * everything).sum(1)  # [B, C, H, W]
        expected = expected[:, 0] if channels == 1 else np.moveaxis(expected, 1, -1)
        np.testing.assert_allclose(got[:, i], expected, rtol=1e-5)


DEPTHS = np.array([[2.0, 0.0, 1.0], [0.5, 0.1, 0.1]])  # of equals, the earlier is in front
NEAREST = np.array([[1, 2, 0], [1, 2, 0]])  # the objects of each image, by depth


def test_nearer_objects_lie_in_front_whenever_they_were_found():
    """Each image is painted from its background to the front, with the first n objects alone."""
    alpha, colour, behind = random_layers()
    light = alpha[:, :, None] * colour
    layers = Layers(jnp.float32(alpha), jnp.float32(colour), jnp.float32(DEPTHS))
    got = compositing.canvases(layers, jnp.float32(behind), (0, 1, 2, 3))
    scopes = np.asarray(compositing.scopes(layers))
    mask = np.asarray(compositing.mask(layers, "over"))
    for b, order in enumerate(NEAREST):
        for n in range(4):
            canvas = behind[b]
            for t in reversed([t for t in order if t < n]):
                canvas = light[b, t] + (1 - alpha[b, t]) * canvas
            np.testing.assert_allclose(got[b, n], np.moveaxis(canvas, 0, -1), rtol=1e-5)
        in_sight = [np.prod(1 - alpha[b, order[:i]], axis=0) for i in range(3)]
        np.testing.assert_allclose(scopes[b, order], in_sight, rtol=1e-4)
        share = np.concatenate(
            [np.prod(1 - alpha[b], axis=0)[None], alpha[b, order] * np.stack(in_sight)]
        )
        np.testing.assert_array_equal(mask[b], np.r_[0, 1 + order][share.argmax(0)])


def test_what_has_the_colour_of_the_image_lies_in_front():
    """Squares in a row, each over the next, found in another order, and one that touches none."""
    steps, canvas = 5, (4, 20)
    colours = np.random.default_rng(9).random((steps, 3))
    image, alpha = np.zeros((3, *canvas)), np.zeros((1, steps, *canvas))
    front_to_back = [3, 0, 2, 1]
    for place, t in enumerate(front_to_back):
        alpha[0, t, :, 3 * place : 3 * place + 5] = 1  # two columns lie over the next
    alpha[0, 4, :, 16:] = 1
    for t in [4, *reversed(front_to_back)]:
        image = np.where(alpha[0, t] == 1, colours[t][:, None, None], image)
    apart = np.square(image[None] - colours[:, :, None, None]).sum(1)[None]
    got = compositing.depths(jnp.float32(alpha), jnp.float32(apart), 0.01)
    np.testing.assert_array_equal(got, [[1, 3, 2, 0, 0]])
    alike = compositing.depths(jnp.float32(alpha), jnp.float32(apart), 1e3)  # nothing speaks for it
    np.testing.assert_array_equal(alike, np.zeros((1, steps)))


def test_samples_have_every_order_alike():
    steps = MODEL.config.max_objects
    keys = jax.random.split(jax.random.key(0), 600)
    latents, *_ = MODEL.sample_latents(small_params(MODEL), keys)
    orders, counts = np.unique(np.argsort(latents.depth, axis=1), axis=0, return_counts=True)
    expected = 600 / math.factorial(steps)
    assert len(orders) == math.factorial(steps)
    assert np.square(counts - expected).sum() / expected < chi2.ppf(0.999, len(orders) - 1)


def test_a_mask_shows_what_has_the_largest_share():
    alpha, *_ = random_layers()
    layers = Layers(jnp.float32(alpha))
    np.testing.assert_array_equal(
        compositing.mask(layers, "over"), shares(alpha, alpha.shape[1]).argmax(1)
    )
    alone = np.concatenate([np.maximum(1 - alpha.sum(1, keepdims=True), 0), alpha], axis=1)
    np.testing.assert_array_equal(compositing.mask(layers, "sum"), alone.argmax(1))
    assert 0 in alone.argmax(1)  # some background is seen


def test_one_colour_is_drawn_as_a_window_full_of_it():
    rng = np.random.default_rng(1)
    alpha, colour = rng.random((2, 3, 6, 6)), rng.random((2, 3, 3, 1, 1))
    latents = Latents(*(jnp.float32(rng.normal(size=(2, 3, n))) for n in (2, 1, 4)))
    one, full = (
        compositing.draw(Windows(jnp.float32(alpha), jnp.float32(c)), latents, CANVAS)
        for c in (colour, np.broadcast_to(colour, (2, 3, 3, 6, 6)))
    )
    np.testing.assert_allclose(one.light, full.light, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "small, canvas", [((3, 3), (12, 10)), ((1, 1), (4, 6)), ((8, 8), (50, 64))]
)
def test_images_are_enlarged_as_pillow_does_it(small, canvas):
    image = np.random.default_rng(2).random(small).astype(np.float32)
    expected = Image.fromarray(image).resize(canvas[::-1], Image.Resampling.BILINEAR)
    np.testing.assert_allclose(enlarged(jnp.asarray(image), canvas), expected, atol=1e-6)


def test_planes_are_channels_and_the_distance_from_the_median():
    images = colour_images()
    middle = np.float64(images).reshape(BATCH, -1, 3)  # 12 x 12: every pixel is looked at
    middle = np.sort(middle, axis=1)[:, middle.shape[1] // 2]
    np.testing.assert_allclose(median(images), middle, rtol=1e-6)
    distance = np.linalg.norm(images - middle[:, None, None], axis=-1)
    got = planes(images, jnp.float32(middle))
    np.testing.assert_allclose(got[:, :3], np.moveaxis(images, -1, 1))
    largest = distance.max((1, 2), keepdims=True)
    np.testing.assert_allclose(got[:, 3], distance / (largest + 1e-3), rtol=1e-5)


def test_noise_is_what_neighbours_differ_by_and_edges_are_not():
    rng = np.random.default_rng(10)
    flat = np.full((1, 3, 64, 64), 0.5)
    flat[:, :, :, 20:40] = 0.9  # an edge on either side
    noisy = flat + rng.normal(0, 0.1, flat.shape)
    seen = np.concatenate([flat, noisy]), np.zeros((2, 1, 64, 64))
    got = backgrounds.noise(jnp.float32(np.concatenate(seen, axis=1)))
    assert got[0] == 0
    np.testing.assert_allclose(got[1], 0.01 * chi2.median(3), rtol=0.15)  # of three channels


def test_the_median_of_large_images_is_of_a_grid():
    image = np.zeros((1, 64, 64), np.float32)
    image[:, ::4, ::4] = 1  # the pixels that are looked at, and no others
    assert median(jnp.asarray(image)) == 1


def test_places_in_scope_have_the_ink_that_is_left_of_their_patches():
    rng = np.random.default_rng(4)
    contrast, scope = rng.random((2, 3, 20, 13))
    ink = rng.random((3, 3 * 2))  # 20 x 13 pixels: 3 x 2 places
    places = attention.Places(features=None, votes=None, ink=jnp.float32(ink))
    config = ModelConfig(canvas=(20, 13))
    got = attention.in_scope(places, jnp.float32(contrast), jnp.float32(scope), config)
    before, left = (
        np.asarray(extract_patches(jnp.float32(x), attention.PATCH, 6)).mean(-1)
        for x in (contrast, contrast * scope)
    )
    expected = ink * (left / (before + 1e-3)).reshape(3, -1)
    np.testing.assert_allclose(got.ink, expected, rtol=1e-5)


def test_what_is_left_is_the_largest_ink_and_all_of_it_in_objects():
    ink = np.random.default_rng(8).random((3, 6))
    places = attention.Places(features=None, votes=None, ink=jnp.float32(ink))
    side = 12 * expit(MODEL.config.scale_prior[0])  # pixels, of a canvas of 12 x 12 or more
    assert min(CANVAS) == 12
    objects = ink.sum(1) / (side / 6) ** 2
    expected = np.log(np.stack([ink.max(1), objects], axis=1) + 0.01)
    np.testing.assert_allclose(attention.left(places, MODEL.config), expected, rtol=1e-5)


def test_planes_in_scope_lose_contrast_and_keep_colours():
    rng = np.random.default_rng(5)
    seen, scope = rng.random((2, 4, 5, 6)), rng.random((2, 5, 6))
    got = backgrounds.in_scope(jnp.float32(seen), jnp.float32(scope))
    np.testing.assert_allclose(got[:, :3], np.float32(seen[:, :3]))
    np.testing.assert_allclose(got[:, 3], seen[:, 3] * scope, rtol=1e-6)


@pytest.mark.parametrize("size", [6, 9, 24])
def test_what_has_the_colour_that_is_left_in_the_middle_is_alike(size):
    rng = np.random.default_rng(6)
    glimpses, ink = rng.random((2, 3, size, size)), rng.random((2, size, size))
    at = (np.arange(size) - (size - 1) / 2) / size
    near = np.exp(-(at[:, None] ** 2 + at**2) / (2 * 0.125**2))
    noise, expected = np.array([0.0, 0.05]), []
    for glimpse, left, rough in zip(glimpses, ink, noise, strict=True):
        start = weight = (left + 1e-6) * near
        for width in (0.2, 0.1, 0.07, None):  # a mean colour, and then of what is like it
            colour = [np.average(plane, weights=weight) for plane in glimpse]
            apart = sum((plane - c) ** 2 for plane, c in zip(glimpse, colour, strict=True))
            if width:
                weight = start * (np.exp(-apart / (2 * (width**2 + rough))) + 1e-6)
        expected.append([np.exp(-apart / (2 * (width**2 + rough))) for width in (0.2, 0.07)])
    got = likeness(jnp.float32(glimpses), jnp.float32(ink), jnp.float32(noise))
    np.testing.assert_allclose(got, np.stack(expected), rtol=1e-3, atol=1e-5)


def test_what_looks_out_behind_another_object_is_alike_to_itself():
    colours = np.zeros((3, 24, 24), np.float32)
    colours[0, :, :18], colours[2, :, 18:] = 1, 1  # red in the middle, blue to its right
    everything, right = np.ones((24, 24), np.float32), np.zeros((24, 24), np.float32)
    right[:, 18:] = 1  # red is explained
    quiet = jnp.zeros(())
    got = np.stack([likeness(colours, ink, quiet)[1] for ink in (everything, right, 0 * right)])
    red, blue = got[:, :, :18], got[:, :, 18:]
    np.testing.assert_allclose(red[[0, 2]], 1, atol=0.02)  # where nothing is left, the middle
    np.testing.assert_allclose(blue[1], 1, atol=0.02)
    assert max(blue[[0, 2]].max(), red[1].max()) < 1e-3


def test_scopes_are_what_objects_before_leave():
    rng = np.random.default_rng(7)
    alpha, seen = rng.random((2, 3, 5, 6)), rng.random((2, 4, 5, 6))
    looks = []

    def cover(planes, shift, scale):  # the shift says which object it is
        looks.append(planes)
        return Covered(jnp.float32(alpha[:, int(shift[0, 0])]), alpha, 2 * alpha)

    shift = jnp.broadcast_to(jnp.arange(3.0)[None, :, None], (2, 3, 2))
    got, covered = scopes(cover, jnp.float32(seen), shift, jnp.zeros((2, 3, 1)))
    np.testing.assert_allclose(covered.share, alpha, rtol=1e-6)
    expected = np.stack([np.prod(1 - alpha[:, :t], axis=1) for t in range(3)], axis=1)
    np.testing.assert_allclose(got, expected, atol=1e-6)
    for t, planes_then in enumerate(looks):
        np.testing.assert_allclose(planes_then[:, 3], seen[:, 3] * expected[:, t], atol=1e-6)


def test_appearance_at_the_posteriors_own_boxes_is_its_own():
    """Scopes are computed step by step in inference, and from known boxes in refinement."""
    params, images = small_params(MODEL), jnp.asarray(colour_images())
    posterior = MODEL.posterior(params, None, images)
    noise = inference.no_noise(BATCH, MODEL.config)
    again = refinement.place(params, images, posterior, noise, model=MODEL)
    np.testing.assert_allclose(again.appearance.loc, posterior.appearance.loc, rtol=1e-4, atol=1e-6)


def test_what_an_object_covers_no_later_one_sees():
    """An opaque first object: light that it covers does not change what the second looks like."""
    config, params = MODEL.config, small_params(MODEL)
    images = colour_images()
    covered = np.zeros((BATCH, *CANVAS), np.float32)
    covered[:, :, :6] = 1  # the left half

    def codes(images):
        seen = planes(jnp.asarray(images), jnp.full((BATCH, 3), 0.5))
        shift = jnp.zeros((BATCH, 2, 2)).at[..., 0].set(-0.5)  # in the left half
        scope = jnp.stack([jnp.ones_like(covered), 1 - covered], axis=1)
        grey = seen.at[:, :-1].set(0.5)  # colours are seen wherever they are
        look = {"params": params["inference"]["params"]["appearance"]}
        return Appearance(config).apply(look, grey, shift, jnp.full((BATCH, 2, 1), -2.0), scope).loc

    other = images.copy()
    other[:, :, :6] = 1 - other[:, :, :6] ** 2
    before, after = codes(images), codes(other)
    assert (before[:, 0] != after[:, 0]).any()
    np.testing.assert_allclose(before[:, 1], after[:, 1], rtol=1e-5)


def by_depth(layers, n):
    """The layers of the first n objects, from the farthest to the nearest of each image."""
    order = np.argsort(layers.depth[:, :n], axis=1, kind="stable")[:, ::-1]  # [B, n]
    rows = np.arange(len(order))
    return [
        Layers(layers.alpha[rows, of], layers.colour[rows, of]) for of in np.moveaxis(order, 1, 0)
    ]


def gaussian_log_p(images, canvas, sigma):
    return norm.logpdf(np.float64(images), canvas, sigma).reshape(len(images), -1).sum(1)


def parts(model, params, keys, images):
    """Posterior, prior and the canvases of n = 0..K [B, N, H, W, C], float64."""
    posterior = model.posterior(params, keys, images)
    prior = model.prior(params, posterior.latents)
    layers, behind = (
        model.layers(params, posterior.latents),
        model.background(params, posterior.latents),
    )
    posterior, prior, layers, behind = jax.tree.map(
        lambda x: np.asarray(x, np.float64), (posterior, prior, layers, behind)
    )
    found = []
    for n in range(layers.alpha.shape[1] + 1):
        canvas = behind
        for layer in by_depth(layers, n):  # from the back to the front
            canvas = layer.light + (1 - layer.alpha[:, None]) * canvas
        found.append(canvas)
    found = np.stack(found, axis=1)
    found = found[:, :, 0] if model.config.channels == 1 else np.moveaxis(found, 2, -1)
    return posterior, prior, found


def log_chain(logits):
    """log p(n) of the chain, [B, K+1]."""
    steps = logits.shape[1]
    columns = [
        log_expit(logits[:, :n]).sum(1) + (log_expit(-logits[:, n]) if n < steps else 0)
        for n in range(steps + 1)
    ]
    return np.stack(columns, axis=1)


LATENTS = ("shift", "scale", "appearance")


def kl(q, p):
    ratio = np.square(q.std / p.std)
    return 0.5 * (ratio - 1 - np.log(ratio) + np.square((q.loc - p.loc) / p.std)).sum(-1)


@pytest.mark.parametrize("model", [MODEL, GREY], ids=["colour", "grey"])
def test_the_elbo_has_a_background_in_float64(model):
    params, images = small_params(model), colour_images(model)
    keys = image_keys()
    posterior, prior, canvas = parts(model, params, keys, images)
    log_q, log_p = log_chain(posterior.presence_logits), log_chain(prior.presence_logits)
    gains = -sum(kl(getattr(posterior, name), getattr(prior, name)) for name in LATENTS)
    expected = np.zeros(BATCH)
    for n in range(log_q.shape[1]):
        log_x = gaussian_log_p(images, canvas[:, n], model.config.sigma)
        of_n = log_x + gains[:, :n].sum(1) + log_p[:, n] - log_q[:, n] - np.log(math.factorial(n))
        expected += np.exp(log_q[:, n]) * of_n
    q = posterior.background
    kl_background = 0.5 * (q.std**2 + q.loc**2 - 1 - 2 * np.log(q.std)).sum(-1)
    terms = elbo(params, keys, images, model=model)
    np.testing.assert_allclose(terms.kl_background, kl_background, rtol=1e-5)
    np.testing.assert_allclose(terms.elbo, expected - kl_background, rtol=1e-5)


def test_importance_weights_have_a_background_in_float64():
    params, images, samples = small_params(MODEL), colour_images(), 3
    log_weights = []
    for s in range(samples):
        keys = jax.vmap(jax.random.fold_in, (0, None))(image_keys(), s)
        posterior, prior, canvas = parts(MODEL, params, keys, images)
        latents, log_p = posterior.latents, log_chain(prior.presence_logits)
        ratio = sum(
            norm.logpdf(z, p.loc, p.std).sum(-1) - norm.logpdf(z, q.loc, q.std).sum(-1)
            for z, p, q in (
                (getattr(x, name) for x in (latents, prior, posterior)) for name in LATENTS
            )
        )  # [B, K]
        z, q = latents.background, posterior.background
        behind = (norm.logpdf(z) - norm.logpdf(z, q.loc, q.std)).sum(-1)
        of_n = [
            log_p[:, n]
            + ratio[:, :n].sum(1)
            + gaussian_log_p(images, canvas[:, n], MODEL.config.sigma)
            - np.log(math.factorial(n))
            for n in range(log_p.shape[1])
        ]
        log_weights.append(logsumexp(of_n, axis=0) + behind)
    expected = logsumexp(log_weights, axis=0) - np.log(samples)
    got = iwae(params, image_keys(), images, model=MODEL, samples=samples)
    np.testing.assert_allclose(got, expected, rtol=1e-5)


@pytest.mark.parametrize("background", ["colour", "image"])
def test_an_untrained_background_is_the_median(background):
    model = small_model(**SETTINGS | {"background": background})
    params, images = model.init(jax.random.key(0)), colour_images()
    posterior = model.posterior(params, None, images)
    behind = model.background(params, posterior.latents).mean((2, 3))  # [B, C]
    np.testing.assert_allclose(behind, median(images), atol=0.05)


def test_images_do_not_see_each_other():
    params, images = small_params(MODEL), colour_images()
    together = MODEL.posterior(params, image_keys(), images)
    for b in range(BATCH):
        alone = MODEL.posterior(params, image_keys()[b : b + 1], images[b : b + 1])
        for one, other in zip(jax.tree.leaves(alone), jax.tree.leaves(together), strict=True):
            np.testing.assert_allclose(one[0], other[b], rtol=1e-4, atol=1e-5)


def test_scenes_samples_and_refinement_have_colours_and_masks():
    params, images = small_params(MODEL), colour_images()
    scene = MODEL.reconstruct(params, images)
    assert scene.canvas.shape == images.shape and scene.mask.shape == images.shape[:3]
    assert (scene.mask.max((1, 2)) <= scene.count).all()
    drawn = MODEL.sample(params, jax.random.key(1), 3)
    assert drawn.canvas.shape == (3, *MODEL.config.shape) and drawn.mask.shape == (3, *CANVAS)
    start = MODEL.posterior(params, None, images)
    better = MODEL.refine(params, images, start, steps=5, moves=1)
    before, after = (
        elbo_terms(params, q, jnp.asarray(images), model=MODEL)[0].elbo for q in (start, better)
    )
    assert (boxes.centre(better.shift.loc) != boxes.centre(start.shift.loc)).any()
    assert (after >= before).all() and after.mean() > before.mean()
    np.testing.assert_array_equal(better.latents.background, start.latents.background)


def test_a_background_is_learned():
    """Flat images of random colours: a few steps explain most of them without an object."""
    rng = np.random.default_rng(3)
    colours = rng.uniform(0.1, 0.9, (256, 1, 1, 3))
    images = np.broadcast_to(colours, (256, *CANVAS, 3)).astype(np.float32)
    model = small_model(**SETTINGS | {"background": "colour"})
    params, _ = fit(images, model=model, steps=30, batch_size=32, progress=False)
    canvas = model.reconstruct(params, images[:32]).canvas
    assert np.sqrt(np.mean(np.square(canvas - images[:32]))) < 0.05


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"channels": 2}, "channels must be 1"),
        ({"background": "white"}, "background must be one of"),
        ({"compositing": "sum"}, "needs compositing='over'"),
        ({"estimator": "concrete"}, "needs compositing='sum'"),
        ({"encoder": "patches"}, "set encoder='attention'"),
        ({"background_code": 2}, "background_code must lie in"),
        ({"background_size": 13}, "background_size must lie in"),
        ({"texture": 7}, "texture must lie in"),
    ],
)
def test_what_a_model_cannot_be_is_refused(changes, message):
    settings = dict(canvas=CANVAS, window=6) | SETTINGS | changes
    with pytest.raises(ValueError, match=message):
        ModelConfig(**settings)


@pytest.mark.parametrize(
    "shape, channels, remedy",
    [
        ((4, 12, 12, 3), 1, "make a model with channels=3"),
        ((4, 12, 12), 3, "repeat"),
        ((12, 12, 3), 3, r"images\[None\]"),
        ((4, 12, 12, 4), 3, r"drop transparency with images\[..., :3\]"),
    ],
)
def test_images_of_another_kind_are_refused(shape, channels, remedy):
    with pytest.raises(ValueError, match=remedy):
        check(np.zeros(shape, np.uint8), CANVAS, channels=channels)


def test_a_figure_takes_images_apart_at_the_mode():
    params, images = small_params(MODEL), colour_images()
    scene = MODEL.reconstruct(params, images)
    figure = taken_apart(MODEL, params, images, "title")
    rows = np.reshape(figure.axes, (-1, BATCH))
    assert len(rows) == 4 + max(1, int(scene.count.max()))
    posterior = MODEL.posterior(params, None, images)
    behind = np.moveaxis(MODEL.background(params, posterior.latents), 1, -1)
    for row, expected in ((0, images), (1, scene.canvas), (3, behind)):
        for axes, picture in zip(rows[row], expected, strict=True):
            np.testing.assert_allclose(axes.images[0].get_array(), picture, atol=1e-6)
    alone = MODEL.render(params, posterior.latents)
    for axes, picture, count in zip(rows[4], alone[:, 0], scene.count, strict=True):
        if count:
            np.testing.assert_allclose(axes.images[0].get_array(), picture, atol=1e-6)
