"""Building blocks against plain loops and float64 numpy."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from asr_jax.config import ModelConfig
from asr_jax.networks import (
    MLP,
    GaussianHead,
    LSTMStep,
    PatchEncoder,
    encode_image,
    extract_patches,
)

# Edge -> (places, rows of padding before the first pixel), by hand: 7-pixel patches every
# 5 pixels cover 7, 12, 17, ..., 52, ..., 67; what is too much is split, the odd one after.
EDGES = {7: (1, 0), 8: (2, 2), 12: (2, 0), 17: (3, 0), 50: (10, 1), 64: (13, 1), 3: (1, 2)}
SIZES = [(50, 50), (7, 7), (8, 8), (12, 17), (64, 64), (17, 8), (3, 50)]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softplus(x):
    return np.log1p(np.exp(x))


def randomised(params, seed=0):
    """The same tree with normal noise, so that biases count too."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), jnp.float32), params)


def float64(tree):
    return jax.tree.map(np.float64, tree)


@pytest.mark.parametrize("size", SIZES)
def test_extract_patches_equals_a_plain_loop_that_misses_no_pixel(size):
    (rows, top), (columns, left) = EDGES[size[0]], EDGES[size[1]]
    images = np.random.default_rng(0).uniform(size=(2, *size)).astype(np.float32)
    expected = np.zeros((2, rows, columns, 7, 7), np.float32)
    for p in range(rows):
        for q in range(columns):
            for i in range(7):
                for j in range(7):
                    y, x = 5 * p + i - top, 5 * q + j - left
                    if 0 <= y < size[0] and 0 <= x < size[1]:
                        expected[:, p, q, i, j] = images[:, y, x]
    got = np.array(extract_patches(jnp.asarray(images), 7, 5))
    np.testing.assert_array_equal(got, expected.reshape(2, rows, columns, 49))
    assert np.isin(images, got).all()  # every pixel is in some patch


@pytest.mark.parametrize("hidden", [0, 7])
def test_patch_encoder_applies_one_mlp_at_every_place_and_a_dense_layer_to_all(hidden):
    images = jnp.asarray(np.random.default_rng(1).uniform(size=(2, 8, 12)), jnp.float32)
    encoder = PatchEncoder((5, 3), hidden)
    params = randomised(encoder.init(jax.random.key(0), images))
    got = encoder.apply(params, images)
    assert got.shape == (2, hidden or 12)

    def layer(x, params):
        return np.maximum(x @ params["kernel"] + params["bias"], 0)

    mlp = float64(params["params"]["MLP_0"])
    x = np.float64(extract_patches(images, 7, 5))  # tested above; [2, 2, 2, 49]
    x = layer(layer(x, mlp["Dense_0"]), mlp["Dense_1"]).reshape(2, 2 * 2 * 3)
    if hidden:
        x = layer(x, float64(params["params"]["dense"])["Dense_0"])
    np.testing.assert_allclose(got, x, rtol=1e-5, atol=1e-5)


def test_raw_encoder_sees_the_pixels_row_by_row():
    class Encoder(nn.Module):
        @nn.compact
        def __call__(self, images):
            return encode_image(images, ModelConfig(encoder="raw"))

    images = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    got = Encoder().apply({}, jnp.asarray(images))
    np.testing.assert_array_equal(got, [np.arange(12), np.arange(12, 24)])


def test_lstm_step_equals_float64_numpy():
    batch, features = 3, 5
    rng = np.random.default_rng(2)
    c, h = rng.normal(size=(2, batch, features))
    projected = rng.normal(size=(batch, 4 * features))
    cell = LSTMStep(features)
    state = jnp.float32(c), jnp.float32(h)
    params = randomised(cell.init(jax.random.key(0), state, jnp.float32(projected)))
    got_c, got_h = cell.apply(params, state, jnp.float32(projected))

    gates = h @ np.float64(params["params"]["Dense_0"]["kernel"]) + projected
    i, f, g, o = (gates[:, k * features : (k + 1) * features] for k in range(4))
    expected_c = sigmoid(f + 1) * c + sigmoid(i) * np.tanh(g)
    np.testing.assert_allclose(got_c, expected_c, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(got_h, sigmoid(o) * np.tanh(expected_c), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("hidden", [0, 6])
@pytest.mark.parametrize("initial", [(0.0, 1.0), (-1.0, 0.05**0.5), (2.0, 3.0)])
def test_gaussian_head_starts_from_what_is_known(hidden, initial):
    head = GaussianHead(3, hidden, initial)
    x = jnp.zeros((2, 4))
    out = head.apply(head.init(jax.random.key(0), x), x)
    assert out.loc.shape == out.std.shape == (2, 3)
    np.testing.assert_allclose(out.loc, initial[0], rtol=1e-6)
    np.testing.assert_allclose(out.std, initial[1], rtol=1e-6)


def test_gaussian_head_equals_float64_numpy():
    head = GaussianHead(2, 6, (-1.0, 0.5))
    x = np.random.default_rng(3).normal(size=(5, 4))
    params = randomised(head.init(jax.random.key(0), jnp.float32(x)))
    out = head.apply(params, jnp.float32(x))
    first, second = (float64(params["params"][f"Dense_{k}"]) for k in range(2))
    y = np.maximum(x @ first["kernel"] + first["bias"], 0) @ second["kernel"] + second["bias"]
    np.testing.assert_allclose(out.loc, y[:, :2] - 1, rtol=1e-5, atol=1e-5)
    std = softplus(np.log(np.expm1(0.5 - 1e-4)) + y[:, 2:]) + 1e-4  # 1e-4: the floor
    np.testing.assert_allclose(out.std, std, rtol=1e-5, atol=1e-5)


def test_gaussian_head_keeps_a_positive_std():
    head = GaussianHead(1, 0)
    params = {"params": {"Dense_0": {"kernel": jnp.array([[0.0, -1.0]]), "bias": jnp.zeros(2)}}}
    np.testing.assert_allclose(head.apply(params, jnp.array([[500.0]])).std, 1e-4, rtol=1e-6)


@pytest.mark.parametrize(
    "activation, expected",
    [(None, lambda x: np.maximum(x, 0)), (nn.softplus, softplus), (jnp.tanh, np.tanh)],
)
def test_mlp_applies_its_activation_after_every_layer(activation, expected):
    mlp = MLP((6, 3)) if activation is None else MLP((6, 3), activation)
    x = np.random.default_rng(4).normal(size=(5, 4))
    params = randomised(mlp.init(jax.random.key(0), jnp.float32(x)))
    y = x
    for layer in ("Dense_0", "Dense_1"):
        dense = float64(params["params"][layer])
        y = expected(y @ dense["kernel"] + dense["bias"])
    np.testing.assert_allclose(mlp.apply(params, jnp.float32(x)), y, rtol=1e-5, atol=1e-5)
