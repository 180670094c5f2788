"""Attention over places against plain loops in float64, and what it does before any training."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import correlate2d

from asr_jax.attention import (
    Attention,
    Block,
    PlaceEncoder,
    Places,
    around,
    explains,
    place_centres,
)
from asr_jax.config import ModelConfig
from asr_jax.types import Gaussian
from tests.test_networks import SIZES, float64, randomised


@pytest.mark.parametrize("size", SIZES)
def test_place_centres_are_those_of_the_patches(size):
    # 6 pixels cover 8, 14, 20, ...; what is too much is split, the odd one after.
    edges = {3: (1, 2), 7: (1, 0), 8: (1, 0), 12: (2, 1), 17: (3, 1), 50: (8, 0), 64: (11, 2)}
    (rows, top), (columns, left) = edges[size[0]], edges[size[1]]
    got = place_centres(ModelConfig(canvas=size))
    assert got.shape == (rows, columns, 2)
    x, y = (np.moveaxis(got, -1, 0) + 1) / 2 * np.array([size[1], size[0]])[:, None, None]
    np.testing.assert_allclose(x[0], 6 * np.arange(columns) - left + 4, atol=1e-4)
    np.testing.assert_allclose(y[:, 0], 6 * np.arange(rows) - top + 4, atol=1e-4)
    assert np.ptp(x, axis=0).max() == np.ptp(y, axis=1).max() == 0


def test_with_residual_blocks_places_are_four_pixels_apart():
    got = place_centres(ModelConfig(canvas=(12, 64), encoder_blocks=1))  # 2 x 15 places
    x, y = (np.moveaxis(got, -1, 0) + 1) / 2 * np.array([64, 12])[:, None, None]
    np.testing.assert_allclose(x, np.broadcast_to(4 * np.arange(15) + 4, (2, 15)), atol=1e-4)
    np.testing.assert_allclose(y[:, 0], [4, 8], atol=1e-4)


def relu(x):
    return np.maximum(x, 0)


def dense(x, params):
    return x @ params["kernel"] + params["bias"]


def test_place_encoder_equals_a_loop_over_places():
    height, width = 14, 26  # 2 x 4 places, no padding
    images = np.random.default_rng(1).uniform(size=(2, height, width))
    images[1] = 0  # a black image has no ink
    config = ModelConfig(canvas=(height, width))
    encoder = PlaceEncoder(config, patch=(5, 3), features=4, few=2, summary=6)
    variables = randomised(encoder.init(jax.random.key(0), jnp.float32(images)))
    got, summary = encoder.apply(variables, jnp.float32(images))
    params = float64(variables["params"])
    for b in range(2):
        patch, ink = np.zeros((4, 6, 3)), np.zeros((2, 4))  # a border of zeros around the places
        for r in range(2):
            for c in range(4):
                pixels = images[b, 6 * r : 6 * r + 8, 6 * c : 6 * c + 8].ravel()
                ink[r, c] = pixels.mean()
                x = relu(dense(pixels, params["patch"]["Dense_0"]))
                patch[r + 1, c + 1] = relu(dense(x, params["patch"]["Dense_1"]))
        few = []
        for r in range(2):
            for c in range(4):
                near = np.concatenate([patch[r + i, c + j] for i in range(3) for j in range(3)])
                centre = 2 * np.array([(6 * c + 4) / width, (6 * r + 4) / height]) - 1
                where = dense(
                    relu(dense(centre, params["coordinates"]["Dense_0"])), params["where"]
                )
                x = relu(dense(near, params["around"]) + where)
                x = x + dense(relu(dense(x, params["hidden"]["Dense_0"])), params["more"])
                vote = centre + 6 * dense(x, params["vote"]) * 2 / np.array([width, height])
                few.append(dense(x, params["few"]))
                place = 4 * r + c
                np.testing.assert_allclose(got.features[b, place], x, rtol=1e-4, atol=1e-4)
                np.testing.assert_allclose(got.votes[b, place], vote, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(got.ink[b], ink.ravel() / (ink.max() + 1e-3), rtol=1e-5)
        expected = relu(dense(np.concatenate(few), params["summary"]["Dense_0"]))
        np.testing.assert_allclose(summary[b], expected, rtol=1e-4, atol=1e-4)


def test_a_block_is_a_convolution_of_normalised_features():
    x = np.random.default_rng(2).normal(2, 3, (2, 4, 5, 6))
    variables = randomised(Block(6).init(jax.random.key(0), jnp.float32(x)))
    got = Block(6).apply(variables, jnp.float32(x))
    params = float64(variables["params"])
    mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    normal = (x - mean) / np.sqrt(variance + 1e-6) * params["norm"]["scale"] + params["norm"][
        "bias"
    ]
    kernel = params["in"]["kernel"].reshape(3, 3, 6, 6)  # rows, columns, in, out
    wide = np.broadcast_to(params["in"]["bias"], x.shape).copy()
    for of_in in range(6):
        for out in range(6):
            for b in range(2):
                wide[b, ..., out] += correlate2d(
                    normal[b, ..., of_in], kernel[:, :, of_in, out], mode="same"
                )
    np.testing.assert_allclose(got, dense(relu(wide), params["out"]), rtol=1e-4, atol=1e-4)


def test_residual_blocks_show_a_place_what_is_farther_away():
    """A pixel changes the features of places whose patch, or a neighbour's neighbour's, has it."""
    canvas = (4, 84)  # 20 places in a row
    config = ModelConfig(canvas=canvas, encoder_blocks=2)
    encoder, images = PlaceEncoder(config), np.zeros((2, *canvas), np.float32)
    images[1, :, 40:44] = 1  # in the patches of places 9 and 10
    variables = randomised(encoder.init(jax.random.key(0), images))
    (places, _), names = encoder.apply(variables, images), set(variables["params"])
    assert {"block_0", "block_1"} < names and "block_2" not in names
    changed = np.flatnonzero(np.abs(places.features[0] - places.features[1]).max(-1) > 1e-6)
    np.testing.assert_array_equal(changed, np.arange(9 - 3, 10 + 3 + 1))


CANVAS = (30, 40)
CONFIG = ModelConfig(canvas=CANVAS, scale_prior=(-0.4, 0.1))
ATTENTION = Attention(CONFIG)
TOUCHING = Attention(dataclasses.replace(CONFIG, overlap=True, votes_within=0.4))
HALF = 30 / (1 + np.exp(0.4)) / 2  # pixels, half the side that the prior expects


def some_places(batch=2, places=6, seed=0):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(batch, places, PlaceEncoder.features))
    return Places(
        features, rng.uniform(-1, 1, (batch, places, 2)), rng.uniform(size=(batch, places))
    )


def closeness(votes, centre):
    """exp(-d^2 / 2) of votes [P, 2] and a centre [2] in [-1, 1], d in halves of a side."""
    pixels = (votes - centre) / 2 * np.array([CANVAS[1], CANVAS[0]])
    return np.exp(-np.square(pixels / HALF).sum(-1) / 2)


@pytest.mark.parametrize("module", [ATTENTION, TOUCHING])
def test_attention_equals_float64_numpy(module):
    places, explained = some_places(), np.random.default_rng(1).uniform(size=(2, 6))
    h = np.random.default_rng(2).normal(size=(2, 5))
    inputs = jax.tree.map(jnp.float32, (h, places, explained))
    variables = module.init(jax.random.key(0), *inputs)
    variables = jax.tree.map(jnp.add, variables, randomised(variables))
    got = module.apply(variables, *inputs)
    params = float64(variables["params"])
    for b in range(2):
        logits = places.features[b] @ dense(h[b], params["query"]) / 8
        logits += params["ink"] * places.ink[b] - params["explained"] * explained[b]
        logits -= places.votes[b] @ params["order"]
        first = np.exp(logits - logits.max())
        centre = places.votes[b, logits.argmax()]
        for within in (1, 0.7, 0.4) if module is TOUCHING else (1, 1, 1):
            near = first * closeness(places.votes[b], centre) ** (1 / within**2)
            attention = near / near.sum()
            centre = attention @ places.votes[b]
        pixels = np.array([CANVAS[1], CANVAS[0]]) / 2
        apart = np.abs(places.votes[b] - centre) * pixels / HALF
        facts = np.concatenate(
            [attention @ apart, [attention @ places.ink[b], attention @ explained[b]]]
        )
        np.testing.assert_allclose(got.centre[b], centre, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(got.context[b], attention @ places.features[b], atol=1e-4)
        np.testing.assert_allclose(got.facts[b], facts, rtol=1e-4, atol=1e-4)


def test_untrained_attention_finds_bright_places_one_after_the_other():
    """Two equally bright places: the left one first, never what lies between, then the other."""
    votes = np.array([[[-0.6, 0.2], [0.7, -0.1], [0.0, 0.0], [0.1, 0.9]]])
    places = Places(np.zeros((1, 4, PlaceEncoder.features)), votes, np.array([[1, 1, 0.1, 0.1]]))
    places = jax.tree.map(jnp.float32, places)
    h, explained = jnp.ones((1, 3)), jnp.zeros((1, 4))
    variables = ATTENTION.init(jax.random.key(0), h, places, explained)
    for expected in (votes[0, 0], votes[0, 1]):
        centre = ATTENTION.apply(variables, h, places, explained).centre
        np.testing.assert_allclose(centre[0], expected, atol=0.02)
        explained += explains(places, centre, CONFIG)


@pytest.mark.parametrize("module", [ATTENTION, TOUCHING])
def test_of_objects_that_are_near_one_is_found_and_not_what_lies_between(module):
    """Two alike, 1.5 sides apart: the mean of both votes is as near to one as to the other."""
    pixels = np.array([[0.9, -1.2], [-0.9, 1.2]]) * HALF  # from the middle
    votes = (2 * pixels / np.array([CANVAS[1], CANVAS[0]]))[None]
    places = Places(np.zeros((1, 2, PlaceEncoder.features)), votes, np.ones((1, 2)))
    inputs = jax.tree.map(jnp.float32, (np.ones((1, 3)), places, np.zeros((1, 2))))
    variables = module.init(jax.random.key(0), *inputs)
    variables["params"]["order"] = jnp.zeros(2)
    found = np.asarray(module.apply(variables, *inputs).centre[0])
    away = np.linalg.norm((found - votes[0]) / 2 * np.array([CANVAS[1], CANVAS[0]]), axis=-1)
    assert away.min() < 0.2 * HALF  # the other counts a little


def test_an_object_explains_places_by_the_distance_of_their_votes():
    places, centre = some_places(), np.array([[0.3, -0.2], [0.0, 0.5]])
    got = explains(jax.tree.map(jnp.float32, places), jnp.float32(centre), CONFIG)
    expected = [closeness(places.votes[b], centre[b]) for b in range(2)]
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_a_shift_around_a_centre_is_as_many_pixels_anywhere():
    """To first order: mean and standard deviation of the centre, at the middle and near an edge."""
    centre = np.array([[0.0, 0.0], [0.8, -0.7]])
    moved = Gaussian(jnp.full((2, 2), 0.1), jnp.full((2, 2), 0.01))
    got = around(jnp.float32(centre), moved, CONFIG)
    noise = np.random.default_rng(0).normal(size=(4000, 1, 2))
    there = np.tanh(np.float64(got.loc) + np.float64(got.std) * noise)
    pixels = (there - centre) / 2 * np.array([CANVAS[1], CANVAS[0]])
    np.testing.assert_allclose(pixels.mean(0), 0.1 * HALF, rtol=0.01)
    np.testing.assert_allclose(pixels.std(0), 0.01 * HALF, rtol=0.05)
