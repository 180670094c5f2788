"""Priors, decoder, canvases and likelihood."""

import dataclasses
from functools import cache, partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from asr_jax.compositing import sums
from asr_jax.config import ModelConfig
from asr_jax.generative import (
    Decoder,
    FixedPrior,
    LearnedPrior,
    log_likelihood,
    prior_module,
)
from asr_jax.inference import draw_noise
from asr_jax.networks import LSTMStep, lstm_start
from asr_jax.placement import Placement
from asr_jax.types import Latents

STEPS, CODE = 3, 2
CONFIG = ModelConfig(
    canvas=(8, 10),
    max_objects=STEPS,
    window=3,
    appearance=CODE,
    lstm=5,
    hidden=(6, 4),
    head=4,
    encoder="raw",
    learned_scale=True,
    place_prior="gaussian",
)
FIXED = dataclasses.replace(CONFIG, prior="fixed", learned_scale=False, presence_prior=0.7)


def keys_of(seed, number):
    return jax.random.split(jax.random.key(seed), number)


def some_latents(seed, batch):
    rng = np.random.default_rng(seed)
    shapes = ((batch, STEPS, size) for size in (2, 1, CODE))
    return Latents(*(jnp.asarray(rng.normal(size=s), jnp.float32) for s in shapes))


def sigmoid(x):
    return 1 / (1 + np.exp(-np.float64(x)))


def random_params(init, *args, seed=0, width=0.5):
    """A tree like init(*args) of normal numbers, so that biases count too."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(init, *args)
    return jax.tree.map(lambda x: jnp.asarray(rng.normal(0, width, x.shape), jnp.float32), shapes)


@cache
def learned(config=CONFIG):
    """A learned prior's call and its parameters."""
    prior = LearnedPrior(config)
    return jax.jit(prior.apply), random_params(prior.init, jax.random.key(0), some_latents(0, 1))


# Priors ---------------------------------------------------------------------------------------


def test_fixed_prior_by_hand():
    p = FixedPrior(FIXED).apply({}, some_latents(1, 2))
    np.testing.assert_allclose(p.presence_logits, np.full((2, STEPS), 0.7), rtol=1e-6)
    for name, size, loc, std in (
        ("shift", 2, 0, 1),
        ("scale", 1, -1, np.sqrt(0.05)),
        ("appearance", CODE, 0, 1),
    ):
        np.testing.assert_array_equal(getattr(p, name).loc, np.full((2, STEPS, size), loc))
        np.testing.assert_allclose(getattr(p, name).std, np.full((2, STEPS, size), std), rtol=1e-6)


@pytest.mark.parametrize("counts, chances", [((1, 3), (1, 0.5, 1)), ((0, 2), (0.5, 1, 0))])
def test_fixed_prior_is_uniform_over_the_possible_counts(counts, chances):
    config = dataclasses.replace(FIXED, possible_counts=counts)
    p = FixedPrior(config).apply({}, some_latents(1, 2))
    np.testing.assert_allclose(sigmoid(p.presence_logits), [chances] * 2, rtol=1e-6, atol=1e-40)


def test_a_given_presence_prior_replaces_the_geometric_one_only():
    latents = some_latents(1, 2)
    p = FixedPrior(FIXED).apply({}, latents, jnp.float32(-3.0))
    np.testing.assert_array_equal(p.presence_logits, np.full((2, STEPS), -3.0))
    for prior, config in (
        (FixedPrior, dataclasses.replace(FIXED, possible_counts=(1, 3))),
        (FixedPrior, dataclasses.replace(FIXED, count=2)),
        (LearnedPrior, CONFIG),
    ):
        params = random_params(prior(config).init, jax.random.key(0), latents)
        apply = jax.jit(prior(config).apply)
        own, given = apply(params, latents), apply(params, latents, jnp.float32(-3.0))
        jax.tree.map(np.testing.assert_array_equal, own, given)


def test_fixed_prior_samples_follow_its_distributions():
    latents, _ = FixedPrior(FIXED).apply({}, draw_noise(keys_of(0, 1000), FIXED), method="sample")
    for x, loc, std in (
        (latents.shift, 0, 1),
        (latents.scale, -1, np.sqrt(0.05)),
        (latents.appearance, 0, 1),
    ):
        x = np.float64(x)
        assert scipy.stats.kstest((x.ravel() - loc) / std, "norm").pvalue > 0.01
        error = std / np.sqrt(x.size)
        assert np.mean(x) == pytest.approx(loc, abs=3 * error)
        assert np.var(x) == pytest.approx(std**2, abs=3 * std**2 * np.sqrt(2 / x.size))


@pytest.fixture(scope="module")
def influence():
    """name -> ([t, s] of shift, [t, s] of scale, [t, s] of appearance): the largest
    |d prior at step t / d latents of step s|."""
    apply, params = learned()

    def outputs(latents):
        p = apply(params, latents)
        values = {"presence": p.presence_logits[..., None]}
        for name in ("shift", "scale", "appearance"):
            values[name] = jnp.concatenate([getattr(p, name).loc, getattr(p, name).std], -1)
        return jax.tree.map(lambda x: x[0], values)  # [K, X]

    jacobians = jax.jit(jax.jacrev(outputs))(some_latents(2, 1))
    return {
        name: [np.abs(x).max((1, 2, 4)) for x in (j.shift, j.scale, j.appearance)]
        for name, j in jacobians.items()
    }


EARLIER = np.tril(np.ones((STEPS, STEPS), bool), -1)  # s < t
NOW = np.eye(STEPS, dtype=bool)


@pytest.mark.parametrize("name", ["shift", "scale", "presence"])
def test_learned_prior_depends_on_earlier_objects_only(influence, name):
    for found in influence[name][:2]:  # on shift and scale
        np.testing.assert_array_equal(found[~EARLIER], 0)
        assert np.all(found[EARLIER] > 1e-6)


def test_learned_prior_neither_reads_nor_predicts_appearance(influence):
    for name in ("presence", "shift", "scale"):
        np.testing.assert_array_equal(influence[name][2], 0)
    for found in influence["appearance"]:
        np.testing.assert_array_equal(found, 0)
    apply, params = learned()
    p = apply(params, some_latents(3, 2)).appearance
    np.testing.assert_array_equal(p.loc, np.zeros((2, STEPS, CODE)))
    np.testing.assert_array_equal(p.std, np.ones((2, STEPS, CODE)))


def test_learned_prior_keeps_the_fixed_scale_unless_asked():
    apply, params = learned(dataclasses.replace(CONFIG, learned_scale=False))
    p = apply(params, some_latents(4, 2)).scale
    np.testing.assert_array_equal(p.loc, np.full((2, STEPS, 1), -1))
    np.testing.assert_allclose(p.std, np.full((2, STEPS, 1), np.sqrt(0.05)), rtol=1e-6)
    assert "scale" not in params["params"]


def zeroed_heads(params):
    """The LSTM as it is; every head puts out zeros, whatever the latents."""
    return {
        "params": {
            name: tree if name == "lstm" else jax.tree.map(jnp.zeros_like, tree)
            for name, tree in params["params"].items()
        }
    }


def test_constant_learned_prior_equals_the_fixed_one():
    apply, params = learned()
    params = zeroed_heads(params)
    params["params"]["presence"]["layers_2"]["bias"] = jnp.array([0.7])
    latents = some_latents(6, 4)
    got, expected = apply(params, latents), FixedPrior(FIXED).apply({}, latents)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7), got, expected)


@pytest.mark.parametrize("learned_scale", [False, True])
def test_learned_prior_samples_agree_with_its_density(learned_scale):
    config = dataclasses.replace(CONFIG, learned_scale=learned_scale)
    apply, params = learned(config)
    noise = draw_noise(keys_of(1, 4), CONFIG)
    latents, p = jax.jit(partial(LearnedPrior(config).apply, method="sample"))(params, noise)
    again = apply(params, latents)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), p, again)
    for name in ("shift", "scale", "appearance"):
        loc, std = np.float64(getattr(again, name).loc), np.float64(getattr(again, name).std)
        expected = loc + std * np.float64(getattr(noise, name))
        np.testing.assert_allclose(getattr(latents, name), expected, rtol=1e-5, atol=1e-5)
    # Steps do differ, so that a step conditioned on the wrong one would show.
    assert np.abs(again.shift.loc[:, 1] - again.shift.loc[:, 2]).max() > 1e-2


def test_a_prior_of_relations_draws_what_its_density_is_of():
    """Sides from their Gaussian, places from the placement's own draw, step after step."""
    config = dataclasses.replace(CONFIG, place_prior="relations")
    apply, params = learned(config)
    noise = draw_noise(keys_of(1, 8), CONFIG)
    latents, p = jax.jit(partial(LearnedPrior(config).apply, method="sample"))(params, noise)
    again = apply(params, latents)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), p, again)
    expected = np.float64(again.scale.loc) + np.float64(again.scale.std) * np.float64(noise.scale)
    np.testing.assert_allclose(latents.scale, expected, rtol=1e-5, atol=1e-5)
    place = {"params": params["params"]["place"]}
    states = states_of(params, latents)
    for t in range(STEPS):
        where = scipy.stats.norm.cdf(noise.shift[:, t])
        earlier = latents.shift[:, :t], latents.scale[:, :t]
        arguments = latents.scale[:, t], earlier, jnp.float32(where)
        which = jnp.float32(sigmoid(noise.presence[:, t]))
        draw = jax.jit(partial(Placement(CONFIG.canvas).apply, method="draw"))
        drawn = draw(place, states[:, t], *arguments, which)
        np.testing.assert_allclose(drawn, latents.shift[:, t], rtol=1e-3, atol=1e-3)


def states_of(params, latents):
    """h of the prior's LSTM before every object, [B, K, F]."""
    spatial = jnp.concatenate([latents.shift, latents.scale], axis=-1)
    state, previous, found = lstm_start(len(spatial), CONFIG.lstm), jnp.zeros((8, 3)), []
    for t in range(STEPS):
        gates, lstm = ({"params": params["params"][name]} for name in ("gates", "lstm"))
        projected = nn.Dense(4 * CONFIG.lstm).apply(gates, previous)
        state = LSTMStep(CONFIG.lstm).apply(lstm, state, projected)
        found.append(state[1])
        previous = spatial[:, t]
    return jnp.stack(found, axis=1)


@pytest.mark.parametrize("kind", ["fixed", "learned"])
def test_known_count_makes_the_priors_presence_certain(kind):
    config = dataclasses.replace(CONFIG, prior=kind, learned_scale=False, count=2)
    prior = prior_module(config)
    latents = some_latents(7, 2)
    params = random_params(prior.init, jax.random.key(0), latents)
    logits = jax.jit(prior.apply)(params, latents).presence_logits
    np.testing.assert_allclose(sigmoid(logits), [[1, 1, 0]] * 2, atol=1e-40)


# Decoder, canvases, likelihood ----------------------------------------------------------------


def test_decoder_starts_dark_and_between_zero_and_one():
    decoder = Decoder(ModelConfig(window=5, appearance=8, hidden=(16, 12)))
    codes = jax.random.normal(jax.random.key(0), (100, 3, 8))
    params = jax.jit(decoder.init)(jax.random.key(1), codes[:1])
    windows = np.array(decoder.apply(params, codes).alpha)
    assert windows.shape == (100, 3, 5, 5)
    assert 0 < windows.min() and windows.max() < 1
    assert windows.mean() < 0.25  # sigmoid(-2) = 0.12, and what the weights add
    # The mirror of the encoder: 8 -> 12 -> 16 -> 25.
    shapes = [x["kernel"].shape for x in (*params["params"]["MLP_0"].values(),)]
    assert sorted(shapes) == [(8, 12), (12, 16)]


@pytest.mark.parametrize(
    "activation, expected",
    [("silu", lambda x: x * sigmoid(x)), ("softplus", lambda x: np.log1p(np.exp(x)))],
)
def test_decoder_equals_float64_numpy(activation, expected):
    decoder = Decoder(dataclasses.replace(CONFIG, activation=activation))
    codes = np.random.default_rng(8).normal(size=(4, CODE))
    params = random_params(decoder.init, jax.random.key(0), jnp.float32(codes))
    got = decoder.apply(params, jnp.float32(codes)).alpha
    tree = jax.tree.map(np.float64, params["params"])
    x = codes
    for layer in ("Dense_0", "Dense_1"):
        x = expected(x @ tree["MLP_0"][layer]["kernel"] + tree["MLP_0"][layer]["bias"])
    x = sigmoid(x @ tree["Dense_0"]["kernel"] + tree["Dense_0"]["bias"])
    np.testing.assert_allclose(got, x.reshape(4, 3, 3), rtol=1e-5)


@pytest.mark.parametrize("counts", [(0,), (1,), (2,), (3,), (0, 1, 2, 3), (1, 3), (3, 0)])
def test_canvases_sum_the_first_objects(counts):
    objects = np.random.default_rng(9).uniform(size=(2, STEPS, 4, 5))
    expected = np.zeros((2, len(counts), 4, 5))
    for place, n in enumerate(counts):
        for k in range(n):
            expected[:, place] += objects[:, k]
    got = sums(jnp.float32(objects), counts)
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=1e-6)


def images_and_canvas():
    """Grey images; canvases with exact 0, exact 1 and sums above 1."""
    rng = np.random.default_rng(10)
    images, canvas = rng.uniform(size=(2, 4, 5)), rng.uniform(0, 1.3, (2, 3, 4, 5))
    canvas[0, 0, 0, :3] = 0, 1, 2.5
    images[0, 0, :2] = 0, 1
    return images, canvas


@pytest.mark.parametrize("epsilon", [1e-3, 0.1])
def test_bernoulli_log_likelihood_equals_float64_numpy(epsilon):
    images, canvas = images_and_canvas()
    p = np.clip(canvas, epsilon, 1 - epsilon)
    expected = np.zeros((2, 3))
    for b, n, i, j in np.ndindex(canvas.shape):
        x, q = images[b, i, j], p[b, n, i, j]
        expected[b, n] += x * np.log(q) + (1 - x) * np.log(1 - q)
    config = dataclasses.replace(CONFIG, epsilon=epsilon)
    got = log_likelihood(jnp.float32(images), jnp.float32(canvas), config)
    # 1 - epsilon in float32 rounds log(1 - p) by 6e-8 / epsilon.
    np.testing.assert_allclose(got, expected, rtol=2e-5)


def test_bernoulli_log_likelihood_of_single_pixels_by_hand():
    config = dataclasses.replace(CONFIG, epsilon=1e-3)
    canvas = jnp.array([0.0, 1.0, 1.7, 0.5, 0.0]).reshape(5, 1, 1, 1)
    images = jnp.array([0.0, 1.0, 1.0, 0.3, 1.0]).reshape(5, 1, 1)
    sure, wrong = np.log(1 - 1e-3), np.log(1e-3)
    expected = np.array([sure, sure, sure, np.log(0.5), wrong])
    got = log_likelihood(images, canvas, config)[:, 0]
    np.testing.assert_allclose(got, expected, rtol=1e-4)


def test_bernoulli_log_likelihood_is_finite_at_the_smallest_epsilon():
    config = dataclasses.replace(CONFIG, epsilon=1e-7)
    images, canvas = images_and_canvas()

    def total(canvas):
        return log_likelihood(jnp.float32(images), canvas, config).sum()

    with jax.debug_nans(True):
        value, gradient = jax.value_and_grad(total)(jnp.float32(canvas))
    assert np.isfinite(value) and np.all(np.isfinite(gradient))


def test_gaussian_log_likelihood_equals_scipy():
    images, canvas = images_and_canvas()
    config = dataclasses.replace(CONFIG, likelihood="gaussian", sigma=0.4)
    expected = scipy.stats.norm.logpdf(images[:, None], canvas, 0.4).sum((-2, -1))
    got = log_likelihood(jnp.float32(images), jnp.float32(canvas), config)
    np.testing.assert_allclose(got, expected, rtol=1e-5)
