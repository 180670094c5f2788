"""The posterior: its noise, its step-by-step causality, and independence of images in a batch."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from asr_jax.appearance import Appearance
from asr_jax.config import ModelConfig
from asr_jax.inference import Inference, draw_noise, no_noise
from asr_jax.types import Noise
from tests.small import with_leaf

BATCH, STEPS, CODE = 3, 3, 2
CONFIG = ModelConfig(
    canvas=(9, 11),
    max_objects=STEPS,
    window=4,
    appearance=CODE,
    lstm=5,
    hidden=(6,),
    head=4,
    encoder="raw",
)


def keys_of(seed, number):
    return jax.random.split(jax.random.key(seed), number)


@pytest.fixture(scope="module", params=["raw", "attention"])
def setup(request):
    """(apply, params, images, keys) of one small posterior, with random parameters."""
    images = jnp.asarray(np.random.default_rng(0).uniform(size=(BATCH, 9, 11)), jnp.float32)
    module = Inference(dataclasses.replace(CONFIG, encoder=request.param))
    shapes = jax.eval_shape(module.init, jax.random.key(0), images, no_noise(BATCH, CONFIG))
    rng = np.random.default_rng(1)
    params = jax.tree.map(lambda x: jnp.asarray(rng.normal(0, 0.4, x.shape), jnp.float32), shapes)
    if request.param == "attention":  # its layers are wide: votes would lie far outside
        fresh = module.init(jax.random.key(0), images, no_noise(BATCH, CONFIG))
        params = jax.tree.map(lambda x, noise: x + noise / 8, fresh, params)
    return jax.jit(module.apply), params, images, keys_of(2, BATCH)


def test_draw_noise_never_repeats_over_images_steps_or_parts():
    behind = dataclasses.replace(
        CONFIG, encoder="attention", background="colour", compositing="over"
    )
    values = np.concatenate(
        [np.ravel(x) for x in jax.tree.leaves(draw_noise(keys_of(0, 4), behind))]
    )
    assert len(np.unique(values)) == values.size == 4 * (STEPS * (4 + CODE) + 1)
    noise = draw_noise(keys_of(0, 4), CONFIG)
    assert noise.presence.shape == (4, STEPS)
    assert noise.shift.shape == (4, STEPS, 2)
    assert noise.scale.shape == (4, STEPS, 1)
    assert noise.appearance.shape == (4, STEPS, CODE)
    values = np.concatenate([np.ravel(x) for x in jax.tree.leaves(noise)])
    assert len(np.unique(values)) == values.size == 4 * STEPS * (4 + CODE)


def test_draw_noise_of_an_image_depends_on_its_own_key_only():
    keys = keys_of(0, 4)
    noise = jax.tree.map(np.array, draw_noise(keys, CONFIG))
    for order in ([2], [3, 1]):  # alone; in another batch, at another place
        again = draw_noise(keys[np.array(order)], CONFIG)
        expected = jax.tree.map(lambda x, order=order: x[order], noise)
        jax.tree.map(np.testing.assert_array_equal, again, expected)


def test_draw_noise_follows_its_distributions():
    behind = dataclasses.replace(
        CONFIG, encoder="attention", background="colour", compositing="over"
    )
    noise = draw_noise(keys_of(1, 1000), behind)
    assert scipy.stats.kstest(np.ravel(noise.presence), "logistic").pvalue > 0.01
    for part in (noise.shift, noise.scale, noise.appearance, noise.background):
        assert scipy.stats.kstest(np.ravel(part), "norm").pvalue > 0.01
    # Neighbouring steps and parts are uncorrelated: |r| < 4 standard errors.
    columns = np.concatenate(
        [np.reshape(x, (1000, -1)) for x in jax.tree.leaves(noise.replace(presence=None))], axis=1
    )
    correlation = np.corrcoef(columns, rowvar=False) - np.eye(columns.shape[1])
    assert np.abs(correlation).max() < 4 / np.sqrt(1000)


def test_posterior_has_the_promised_shapes(setup):
    apply, params, images, keys = setup
    q = apply(params, images, draw_noise(keys, CONFIG))
    assert q.presence_logits.shape == q.presence_noise.shape == (BATCH, STEPS)
    for name, size in (("shift", 2), ("scale", 1), ("appearance", CODE)):
        for x in (getattr(q, name).loc, getattr(q, name).std, getattr(q.latents, name)):
            assert x.shape == (BATCH, STEPS, size)
        assert np.all(getattr(q, name).std > 0)


def test_a_batch_equals_batches_of_one(setup):
    apply, params, images, keys = setup
    whole = apply(params, images, draw_noise(keys, CONFIG))
    for b in range(BATCH):
        one = apply(params, images[b : b + 1], draw_noise(keys[b : b + 1], CONFIG))
        # Matrix products of another shape may sum in another order.
        jax.tree.map(
            lambda x, y, b=b: np.testing.assert_allclose(x[0], y[b], rtol=1e-5, atol=1e-6),
            one,
            whole,
        )
    # And images do differ, so that a mix-up would show.
    assert np.abs(whole.shift.loc[0] - whole.shift.loc[1]).max() > 1e-3


def test_latents_are_loc_plus_std_times_the_noise_of_their_step(setup):
    apply, params, images, keys = setup
    noise = draw_noise(keys, CONFIG)
    q = apply(params, images, noise)
    for name in ("shift", "scale", "appearance"):
        loc, std = np.float64(getattr(q, name).loc), np.float64(getattr(q, name).std)
        expected = loc + std * np.float64(getattr(noise, name))
        np.testing.assert_allclose(getattr(q.latents, name), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(q.presence_noise, noise.presence)


def test_no_noise_gives_the_means(setup):
    apply, params, images, _ = setup
    q = apply(params, images, no_noise(BATCH, CONFIG))
    for name in ("shift", "scale", "appearance"):
        np.testing.assert_array_equal(getattr(q.latents, name), getattr(q, name).loc)
    np.testing.assert_array_equal(q.presence_noise, np.zeros((BATCH, STEPS)))


@pytest.fixture(scope="module")
def influence(setup):
    """name -> [t, s, part], the largest |d output at step t / d noise of step s|."""
    apply, params, images, keys = setup

    def outputs(noise):
        q = apply(params, images, noise)
        values = {"presence_logits": q.presence_logits[..., None]}
        for name in ("shift", "scale", "appearance"):
            values[name] = jnp.concatenate([getattr(q, name).loc, getattr(q, name).std], -1)
        # [B, K, X] -> [K, X]: images are independent, as tested above
        return jax.tree.map(lambda x: x.sum(0), values)

    def largest(jacobian):
        parts = [jacobian.presence[..., None], jacobian.shift, jacobian.scale, jacobian.appearance]
        return np.stack([np.abs(x).max((1, 2, 4)) for x in parts], axis=-1)  # of [K, X, B, K, Y]

    jacobians = jax.jit(jax.jacrev(outputs))(draw_noise(keys, CONFIG))
    return {name: largest(jacobian) for name, jacobian in jacobians.items()}


PARTS = Noise(presence=0, shift=1, scale=2, appearance=3)
EARLIER = np.tril(np.ones((STEPS, STEPS), bool), -1)  # s < t
LATER = EARLIER.T
NOW = np.eye(STEPS, dtype=bool)


@pytest.mark.parametrize(
    "name, same_step",
    [
        ("presence_logits", ()),
        ("shift", ()),
        ("scale", (PARTS.shift,)),  # q(scale | shift)
        ("appearance", (PARTS.shift, PARTS.scale)),  # through the glimpse
    ],
)
def test_a_step_depends_on_the_noise_of_earlier_steps_only(influence, name, same_step):
    found = influence[name]
    np.testing.assert_array_equal(found[LATER], 0)
    for part in (PARTS.presence, PARTS.appearance):  # no box depends on what others show
        np.testing.assert_array_equal(found[..., part], 0)
    for part in (PARTS.shift, PARTS.scale):
        assert np.all(found[EARLIER][:, part] > 1e-6)
        if part in same_step:
            assert np.all(found[NOW][:, part] > 1e-6)
        else:
            np.testing.assert_array_equal(found[NOW][:, part], 0)


@pytest.mark.parametrize("setup", ["raw"], indirect=True)
def test_appearance_sees_the_image_inside_its_window_only(setup):
    apply, params, images, keys = setup
    # Cut the LSTM off from the image: the place of the first object is then fixed.
    params = jax.tree.map(lambda x: x, params)  # a copy of the dictionaries
    params["params"]["image"]["kernel"] *= 0
    noise = no_noise(BATCH, CONFIG)

    def function(images):
        q = apply(params, images, noise)
        return jnp.sum(q.appearance.loc[:, 0] + 2 * q.appearance.std[:, 0]), q.latents

    gradient, latents = jax.jit(jax.grad(function, has_aux=True))(images)
    height, width = CONFIG.canvas
    x, y = ((np.tanh(np.float64(latents.shift[:, 0])) + 1) / 2 * [width, height]).T
    half = min(height, width) / (1 + np.exp(-np.float64(latents.scale[:, 0, 0]))) / 2
    rows, columns = np.mgrid[:height, :width] + 0.5
    for b in range(BATCH):
        # A sample in the box takes from pixels whose centre is less than one pixel away.
        outside = (np.abs(rows - y[b]) > half[b] + 1) | (np.abs(columns - x[b]) > half[b] + 1)
        inside = (np.abs(rows - y[b]) < half[b] / 2) & (np.abs(columns - x[b]) < half[b] / 2)
        assert outside.sum() > 20 and inside.any()
        np.testing.assert_array_equal(np.array(gradient[b])[outside], 0)
        assert np.abs(np.array(gradient[b])[inside]).max() > 1e-3


def test_appearance_sees_beyond_its_box_as_far_as_the_border():
    """As it sees a box that is as large as the window."""
    wide = dataclasses.replace(CONFIG, border=0.25)  # 1.5 sides
    rng = np.random.default_rng(0)
    images, shift = rng.random((3, *CONFIG.canvas)), rng.normal(0, 0.3, (3, 2, 2))
    side = rng.uniform(0.2, 0.5, (3, 2, 1))
    logit = np.log(side / (1 - side)), np.log(1.5 * side / (1 - 1.5 * side))
    variables = Appearance(CONFIG).init(jax.random.key(0), *map(jnp.float32, (images, shift, side)))
    got, expected = (
        Appearance(config).apply(variables, *map(jnp.float32, (images, shift, scale))).loc
        for config, scale in zip((wide, CONFIG), logit, strict=True)
    )
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
    narrow = Appearance(CONFIG).apply(variables, *map(jnp.float32, (images, shift, logit[0]))).loc
    assert np.abs(got - narrow).max() > 1e-3


def test_an_image_that_is_shifted_shifts_the_first_box_by_as_much():
    """Away from the edges, and with parameters that do not look at absolute places."""
    config = dataclasses.replace(CONFIG, canvas=(60, 50), encoder="attention")
    module, noise = Inference(config), no_noise(2, config)
    # A blob, and the same one two places further right and one place higher.
    images = np.zeros((2, 60, 50), np.float32)
    blob = np.random.default_rng(0).uniform(0.5, 1, (9, 8))
    images[0, 31:40, 16:24] = images[1, 25:34, 28:36] = blob
    params = module.init(jax.random.key(0), jnp.asarray(images), noise)
    rng = np.random.default_rng(1)
    params = jax.tree.map(lambda x: x + jnp.float32(rng.normal(0, 0.02, x.shape)), params)
    for path in (
        ("image", "kernel"),
        ("places", "where", "kernel"),
        ("step", "attention", "order"),
    ):
        params = with_leaf(params, ("params", *path), jnp.zeros_like)
    q = jax.jit(module.apply)(params, jnp.asarray(images), noise)
    centre = (np.tanh(np.float64(q.shift.loc[:, 0])) + 1) / 2 * [50, 60]  # [2, 2], pixels
    assert np.abs(centre[0] - [20, 35.5]).max() < 4  # it is the blob that was found
    np.testing.assert_allclose(centre[1] - centre[0], [12, -6], atol=0.01)
    steepness = 1 - np.square(centre / [25, 30] - 1)
    pixels = np.float64(q.shift.std[:, 0]) * steepness * [25, 30]
    np.testing.assert_allclose(pixels[1], pixels[0], rtol=1e-3)


@pytest.mark.parametrize("count", [0, 2])
def test_known_count_makes_presence_certain(count):
    config = dataclasses.replace(CONFIG, count=count, presence_bound=2.0)  # of what is inferred
    images, noise = jnp.ones((2, 9, 11)), no_noise(2, config)
    params = jax.eval_shape(Inference(config).init, jax.random.key(0), images, noise)
    assert not [name for name in params["params"]["step"] if "presence" in name]
    params = jax.tree.map(lambda x: jnp.full(x.shape, 0.1), params)
    q = jax.jit(Inference(config).apply)(params, images, noise)
    probability = 1 / (1 + np.exp(-np.float64(q.presence_logits)))
    expected = [[float(t < count) for t in range(STEPS)]] * 2
    np.testing.assert_allclose(probability, expected, atol=1e-40)


@pytest.mark.parametrize("setup", ["raw"], indirect=True)
@pytest.mark.parametrize("counts, bound", [((), 1.0), ((0, 2), 0.0), ((0, 2), 1.0)])
def test_presence_is_bounded_where_it_is_asked_and_certain_elsewhere(setup, counts, bound):
    apply, params, images, keys = setup
    params = with_leaf(params, ("params", "step", "presence", "bias"), lambda bias: bias + 0.7)
    noise = draw_noise(keys, CONFIG)
    plain = apply(params, images, noise)
    fields = dict(prior="fixed", possible_counts=counts, presence_bound=bound)
    config = dataclasses.replace(CONFIG, **fields)
    q = jax.jit(Inference(config).apply)(params, images, noise)
    expected = np.float64(plain.presence_logits)
    if bound:
        expected = np.tanh(expected)
    if counts:  # n is 0 or 2: the second object follows the first, and none follows the second
        expected[:, 1:] = [110, -110]
    np.testing.assert_allclose(q.presence_logits, expected, rtol=1e-5)
    assert np.abs(plain.presence_logits).max() > 0.3
    same = q.replace(presence_logits=plain.presence_logits)
    jax.tree.map(np.testing.assert_array_equal, same, plain)


@pytest.mark.parametrize("glimpse", [0.0, 1.2])
def test_the_scale_sees_a_glimpse_of_its_size_around_the_inferred_centre(glimpse):
    config = dataclasses.replace(CONFIG, scale_glimpse=glimpse)
    module, noise = Inference(config), no_noise(BATCH, config)
    images = jnp.asarray(np.random.default_rng(0).uniform(size=(BATCH, 9, 11)), jnp.float32)
    shapes = jax.eval_shape(module.init, jax.random.key(0), images, noise)
    rng = np.random.default_rng(1)
    params = jax.tree.map(lambda x: jnp.asarray(rng.normal(0, 0.4, x.shape), jnp.float32), shapes)
    # The LSTM sees nothing: at the first step, only the glimpse can.
    params = with_leaf(params, ("params", "image", "kernel"), jnp.zeros_like)

    def scales(images):
        q = module.apply(params, images, noise)
        return q.scale.loc[:, 0].sum(), q.shift.loc[:, 0]

    gradient, shift = jax.jit(jax.grad(scales, has_aux=True))(images)
    centre = (np.tanh(np.float64(shift)) + 1) / 2 * [11, 9]  # [B, 2], pixels
    reach = glimpse * 9 / (1 + np.exp(1.0)) / 2 + 1  # a side of sigmoid(-1), and bilinear weights
    x, y = np.arange(11) + 0.5, np.arange(9) + 0.5
    near_x = np.abs(x - centre[:, :1]) < reach  # [B, W]
    near_y = np.abs(y - centre[:, 1:]) < reach  # [B, H]
    near = near_y[:, :, None] & near_x[:, None]
    assert np.all(np.asarray(gradient)[~near] == 0)
    seen = np.any(np.asarray(gradient)[near])
    assert seen == (glimpse > 0)
    if glimpse:  # most of what lies well inside is seen, and not every pixel of the image
        assert 0 < near.sum() < near.size
        assert np.mean(np.asarray(gradient)[near] != 0) > 0.5
