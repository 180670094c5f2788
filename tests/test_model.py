"""The model that binds posterior, prior and decoder: render, scene, sample, reconstruct."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from asr_jax.generative import Decoder
from asr_jax.inference import draw_noise
from asr_jax.model import Model
from asr_jax.types import Latents
from tests.test_generative import (
    CONFIG,
    FIXED,
    STEPS,
    keys_of,
    random_params,
    sigmoid,
    some_latents,
)


@pytest.fixture(scope="module")
def fixed_model():
    """(model, params) of a small model with the fixed prior."""
    model = Model(FIXED)
    return model, random_params(model.init, jax.random.key(0), width=0.3)


@jax.jit
def render(params, latents):
    return Model(FIXED).render(params, latents)


@jax.jit
def scene_of(params, latents, count):
    return Model(FIXED).scene(params, latents, count)


def test_render_places_decoded_windows(fixed_model):
    _, params = fixed_model
    latents = some_latents(11, 2)
    latents = latents.replace(shift=latents.shift.at[0, 0].set(0), scale=latents.scale - 0.5)
    windows = np.float64(Decoder(FIXED).apply(params["decoder"], latents.appearance).alpha)
    got = render(params, latents)
    assert got.shape == (2, STEPS, 8, 10)
    for b, k in np.ndindex(2, STEPS):
        shift, scale = np.float64(latents.shift[b, k]), np.float64(latents.scale[b, k, 0])
        size = sigmoid(scale) * 8  # the shorter edge
        x0 = (np.tanh(shift[0]) + 1) / 2 * 10 - size / 2
        y0 = (np.tanh(shift[1]) + 1) / 2 * 8 - size / 2
        # Window coordinates of the canvas's pixel centres, and hat weights of its pixels.
        v = (np.arange(8) + 0.5 - y0) / size * 3 - 0.5
        u = (np.arange(10) + 0.5 - x0) / size * 3 - 0.5
        expected = np.zeros((8, 10))
        for i, j, p, q in np.ndindex(8, 10, 3, 3):
            weight = max(0, 1 - abs(v[i] - p)) * max(0, 1 - abs(u[j] - q))
            expected[i, j] += weight * windows[b, k, p, q]
        np.testing.assert_allclose(got[b, k], expected, atol=1e-5)


def test_scene_sums_the_first_objects_and_clips(fixed_model):
    _, params = fixed_model
    bright = jax.tree.map(lambda x: x, params)
    bright["decoder"]["params"]["Dense_0"]["bias"] += 3.0
    latents, count = some_latents(12, 4), jnp.arange(4)
    scene = scene_of(bright, latents, count)
    objects = np.float64(render(bright, latents))  # tested above
    unclipped = np.zeros((4, 8, 10))
    for b in range(4):
        for k in range(b):
            unclipped[b] += objects[b, k]
    assert unclipped.max() > 1.1
    np.testing.assert_allclose(scene.canvas, np.clip(unclipped, 0, 1), atol=1e-6)
    np.testing.assert_array_equal(scene.count, count)
    # Boxes in pixels of an 8 x 10 canvas.
    half = sigmoid(latents.scale) * 8 / 2
    middle = (np.tanh(np.float64(latents.shift)) + 1) / 2 * [10, 8]
    expected = np.concatenate([middle - half, middle + half], -1)
    np.testing.assert_allclose(scene.boxes, expected, rtol=1e-5, atol=1e-5)


def test_scene_does_not_change_with_objects_beyond_the_count(fixed_model):
    _, params = fixed_model
    latents, other = some_latents(13, 2), some_latents(14, 2)
    mixed = jax.tree.map(lambda a, b: jnp.concatenate([a[:, :2], b[:, 2:]], 1), latents, other)
    count = jnp.array([2, 1])
    a, b = (scene_of(params, x, count).canvas for x in (latents, mixed))
    np.testing.assert_array_equal(a, b)


def chain_pmf(logits):
    """P(n = 0..K) by the definition: n successes, then a failure."""
    u = np.append(sigmoid(logits), 0.0)
    return np.array([np.prod(u[:n]) * (1 - u[n]) for n in range(len(u))])


def test_sampled_counts_follow_the_prior(fixed_model):
    model, params = fixed_model
    number = 2000
    scene = jax.jit(model.sample, static_argnums=2)(params, jax.random.key(3), number)
    assert scene.canvas.shape == (number, 8, 10) and scene.boxes.shape == (number, STEPS, 4)
    observed = np.bincount(scene.count, minlength=STEPS + 1)
    expected = number * chain_pmf([0.7] * STEPS)
    assert scipy.stats.chisquare(observed, expected).pvalue > 0.01
    np.testing.assert_array_equal(np.array(scene.canvas)[np.array(scene.count) == 0], 0)
    assert np.all(np.array(scene.canvas)[np.array(scene.count) == STEPS].sum((1, 2)) > 0)
    # Centres come from tanh(N(0, 1)), sides from sigmoid(N(-1, 0.05)).
    boxes = np.float64(scene.boxes)
    centre = (boxes[..., :2] + boxes[..., 2:]) / 2 / [10, 8] * 2 - 1
    assert scipy.stats.kstest(np.arctanh(centre).ravel(), "norm").pvalue > 0.01
    side = (boxes[..., 2] - boxes[..., 0]).ravel() / 8
    scale = np.log(side / (1 - side))
    assert scipy.stats.kstest((scale + 1) / np.sqrt(0.05), "norm").pvalue > 0.01


def test_sample_of_a_known_count_has_that_count():
    model = Model(dataclasses.replace(FIXED, count=2))
    params = random_params(model.init, jax.random.key(0))
    scene = jax.jit(model.sample, static_argnums=2)(params, jax.random.key(1), 50)
    np.testing.assert_array_equal(scene.count, np.full(50, 2))


def test_sampled_counts_are_possible_ones_equally_often():
    model = Model(dataclasses.replace(FIXED, possible_counts=(1, 3)))
    params = random_params(model.init, jax.random.key(0))
    scene = jax.jit(model.sample, static_argnums=2)(params, jax.random.key(1), 400)
    values, times = np.unique(scene.count, return_counts=True)
    assert values.tolist() == [1, 3]
    assert scipy.stats.binomtest(times[0], 400).pvalue > 0.01


@jax.jit
def reconstruct(params, images):
    return Model(FIXED).reconstruct(params, images)


@jax.jit
def means_of(params, images):
    return Model(FIXED).posterior(params, None, images)


# Chance of one more object -> most likely count. At 0.6: 0.4, 0.24, 0.144, 0.216, so that neither
# the mean (1.18), nor u > 1/2 at every step (3), is the mode.
@pytest.mark.parametrize("chance, mode", [(0.6, 0), (0.9, 3), (0.1, 0)])
def test_reconstruct_uses_the_mode(fixed_model, chance, mode):
    _, params = fixed_model
    params = jax.tree.map(lambda x: x, params)
    presence = params["inference"]["params"]["step"]["presence"]
    presence["kernel"] *= 0
    presence["bias"] = jnp.array([np.log(chance / (1 - chance))], jnp.float32)
    assert chain_pmf(presence["bias"].repeat(STEPS)).argmax() == mode
    images = jnp.asarray(np.random.default_rng(15).uniform(size=(2, 8, 10)), jnp.float32)
    scene = reconstruct(params, images)
    np.testing.assert_array_equal(scene.count, [mode, mode])
    # The means: what a posterior without noise puts out (tested with the posterior).
    q = means_of(params, images)
    means = Latents(q.shift.loc, q.scale.loc, q.appearance.loc)
    objects = np.float64(render(params, means))
    expected = np.clip(sum(objects[:, k] for k in range(mode)) + np.zeros((2, 8, 10)), 0, 1)
    np.testing.assert_allclose(scene.canvas, expected, atol=1e-6)


def test_posterior_with_keys_uses_one_key_an_image(fixed_model):
    model, params = fixed_model
    images = jnp.asarray(np.random.default_rng(16).uniform(size=(3, 8, 10)), jnp.float32)
    keys = keys_of(4, 3)
    posterior = jax.jit(model.posterior)
    q, swapped = posterior(params, keys, images), posterior(params, keys[::-1], images[::-1])
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b[::-1], rtol=1e-5, atol=1e-6), q, swapped
    )
    noise = (q.latents.shift - q.shift.loc) / q.shift.std
    expected = draw_noise(keys, FIXED).shift
    np.testing.assert_allclose(noise, expected, rtol=1e-3, atol=1e-4)  # small differences


def test_models_of_equal_configurations_are_one_static_argument():
    a, b = Model(dataclasses.replace(CONFIG)), Model(dataclasses.replace(CONFIG))
    assert a is not b and a == b and hash(a) == hash(b)
    assert a != Model(FIXED)
    traces = []

    def function(model, x):
        traces.append(model)
        return x * model.config.max_objects

    function = jax.jit(function, static_argnums=0)
    assert function(a, 2.0) == function(b, 2.0) == 2 * STEPS
    assert len(traces) == 1


def test_images_in_batches_are_explained_as_all_at_once(fixed_model):
    """Seven images, three at a time: the last batch is filled up."""
    model, params = fixed_model
    images = jnp.asarray(np.random.default_rng(3).uniform(size=(7, 8, 10)), jnp.float32)
    for function, *arguments in (
        (model.posterior, params, keys_of(4, 7), images),
        (model.posterior, params, None, images),
        (model.reconstruct, params, images),
    ):
        some, whole = function(*arguments, batch_size=3), function(*arguments, batch_size=7)
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5), some, whole)
        assert {len(x) for x in jax.tree.leaves(some)} == {7}


def test_memory_of_batches_does_not_grow_with_their_number(fixed_model):
    model, params = fixed_model

    def temporary(images, batch_size):
        shape = jax.ShapeDtypeStruct((images, 8, 10), jnp.float32)
        lowered = Model._reconstruct.lower(model, params, shape, batch_size, 0, (), {})
        return lowered.compile().memory_analysis().temp_size_in_bytes

    at_once = temporary(2000, batch_size=2000)
    few, many = temporary(200, batch_size=100), temporary(2000, batch_size=100)
    out = 2000 * 4 * (8 * 10 + 1 + 4 * STEPS)  # bytes of the canvases, counts and boxes of 2000
    assert many - few < 1.1 * out < at_once / 4


def test_a_batch_of_no_images_is_refused(fixed_model):
    model, params = fixed_model
    for function in (
        lambda: model.reconstruct(params, np.full((2, 8, 10), 0.5), batch_size=0),
        lambda: model.posterior(params, None, np.full((2, 8, 10), 0.5), batch_size=0),
    ):
        with pytest.raises(ValueError, match="batch_size must be a whole number of at least 1"):
            function()
    with pytest.raises(ValueError, match="num must be at least 1, got 0"):
        model.sample(params, jax.random.key(0), 0)
