"""Attention over the places of an image: which object is looked at next, and where it is.

All places share their networks and say where an object lies relative to themselves, so that what is
learned at one place holds at all of them.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from asr_jax.config import ModelConfig
from asr_jax.networks import MLP, SMALL, extract_patches, patch_grid
from asr_jax.types import Gaussian

PATCH = 8  # pixels
BLOCK = 32  # features of a place in a residual block
MEAN_SHIFTS = 3  # moves of a proposed centre to the votes that are near it
LITTLE = 0.01  # ink that is as good as none
EDGE = 0.98  # a centre's largest coordinate: the shift of 1 is infinite


@struct.dataclass
class Places:
    """What there is at each of the P places of an image, for attention to choose from."""

    features: jax.Array  # [B, P, F]
    votes: jax.Array  # [B, P, 2]  where the object there has its centre, (x, y) in [-1, 1]
    ink: jax.Array  # [B, P]  mean brightness of the place's patch; that of the brightest is 1


class PlaceEncoder(nn.Module):
    """Overlapping 8x8 patches, each with its eight neighbours: a place sees 20 pixels.

    With residual blocks places are nearer to each other, and each block shows a place its eight
    neighbours once more: with two of them it sees 32 pixels.

    All places share their networks, and vote for a centre relative to themselves, so that what is
    learned at one place holds at all. Only the summary for the LSTM sees all places at once.
    """

    config: ModelConfig
    patch: tuple[int, ...] = (64, 16)
    features: int = 64
    few: int = 8  # numbers of a place in the summary
    summary: int = 256

    @nn.compact
    def __call__(self, images: jax.Array) -> tuple[Places, jax.Array]:
        """images: [B, H, W], or of several planes [B, C, H, W] of which the last is bright where
        objects are -> the places, and a summary of them [B, summary].
        """
        batch, (height, width) = len(images), images.shape[-2:]
        apart = stride(self.config)
        patches = extract_patches(images, PATCH, apart)  # [B, R, C, 64] or [B, R, C, planes, 64]
        bright = patches if images.ndim == 3 else patches[..., -1, :]
        patches = patches.reshape(*patches.shape[:3], -1)
        blocks = self.config.encoder_blocks
        x = MLP((self.patch[0], BLOCK) if blocks else self.patch, name="patch")(patches)
        for i in range(blocks):
            x = x + Block(BLOCK, name=f"block_{i}")(x)
        around = _with_neighbours(nn.LayerNorm(name="norm")(x) if blocks else x)
        centres = jnp.asarray(place_centres(self.config))  # [R, C, 2]
        where = MLP((self.features,), name="coordinates")(centres)
        where = nn.Dense(self.features, name="where")(where)
        x = nn.relu(nn.Dense(self.features, name="around")(around) + where[None])
        more = MLP((self.features // 2,), name="hidden")(x)
        x = x + nn.Dense(self.features, name="more")(more)

        offsets = nn.Dense(2, kernel_init=SMALL, name="vote")(x)  # in strides
        step = 2 * apart / np.array([[[[width, height]]]], np.float32)
        votes = centres[None] + offsets * step
        ink = bright.mean(-1).reshape(batch, -1)
        ink = ink / (ink.max(-1, keepdims=True) + 1e-3)  # a black image has none
        few = nn.Dense(self.few, name="few")(x).reshape(batch, -1)
        summary = MLP((self.summary,), name="summary")(few)
        x, votes = x.reshape(batch, -1, self.features), votes.reshape(batch, -1, 2)
        return Places(x, votes, ink), summary


class Block(nn.Module):
    """What a residual block adds: a 3x3 convolution of normalised features, and a dense layer.

    As one product with a place's neighbours: a convolution's gradient is slow on CPUs.
    """

    features: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, R, C, F] -> [B, R, C, F]."""
        x = _with_neighbours(nn.LayerNorm(name="norm")(x))
        return nn.Dense(self.features, name="out")(nn.relu(nn.Dense(self.features, name="in")(x)))


@struct.dataclass
class Look:
    """What attention found, and where."""

    centre: jax.Array  # [B, 2]  proposed for an object, (x, y) in [-1, 1]
    context: jax.Array  # [B, F]  features of the places that were looked at
    facts: jax.Array  # [B, 4]  how far votes are apart in x and y, ink, how far it is explained


class Attention(nn.Module):
    """Chooses one object among the places of an image, and proposes its centre.

    A place is looked at more if it shows what h asks for, is bright, comes early in reading order,
    and if no earlier object explains it. The centre is the vote of that place, then three times the
    mean of the votes near it (mean shift, Comaniciu and Meer 2002). A start at the mean of all
    votes is often between two objects, and can stay there.
    """

    config: ModelConfig

    @nn.compact
    def __call__(self, h: jax.Array, places: Places, explained: jax.Array) -> Look:
        """h: [B, X]; explained: [B, P], the sum of `explains` over earlier objects."""
        # What training starts from, in nats: bright places, none twice, from left to right.
        # Of objects that lie over each other, centres may be near each other.
        once = 8.0 if self.config.scoped else 16.0
        bright = self.param("ink", nn.initializers.constant(16.0), ())
        known = self.param("explained", nn.initializers.constant(once), ())
        order = self.param("order", lambda _: jnp.array([2.0, 1.0]))
        features = places.features.shape[-1]
        query = nn.Dense(features, kernel_init=SMALL, name="query")(h)
        logits = jnp.einsum("bpf,bf->bp", places.features, query) * features**-0.5
        logits = logits + bright * places.ink - known * explained
        logits = logits - jax.lax.stop_gradient(places.votes) @ order
        best = jnp.argmax(logits, axis=1)[:, None, None]
        centre = jnp.take_along_axis(places.votes, best, axis=1)[:, 0]
        for within in np.linspace(1, self.config.votes_within, MEAN_SHIFTS):
            away = distance(places, centre, self.config) / np.float32(within**2)
            attention = nn.softmax(logits - away)  # [B, P]
            centre = jnp.einsum("bp,bpc->bc", attention, places.votes)
        apart = jnp.abs(places.votes - centre[:, None]) / half_side(self.config)[None, None]
        facts = jnp.concatenate([apart, jnp.stack([places.ink, explained], -1)], axis=-1)
        context, facts = (
            jnp.einsum("bp,bpf->bf", attention, of_places) for of_places in (places.features, facts)
        )
        return Look(centre, context, facts)


def in_scope(places: Places, contrast: jax.Array, scope: jax.Array, config: ModelConfig) -> Places:
    """Places with the ink that a scope [B, H, W] leaves of the contrast [B, H, W]."""
    rows, columns = (_patch_means(length, stride(config)) for length in config.canvas)

    def mean(images):  # of each patch
        return (rows @ images @ columns.T).reshape(len(images), -1)  # [B, P]

    share = mean(contrast * scope) / (mean(contrast) + 1e-3)
    return places.replace(ink=places.ink * share)


def left(places: Places, config: ModelConfig) -> jax.Array:
    """How much is left to explain: [B, 2], logs of the largest ink of a place, and of all ink.

    All ink is in objects: that of a bright one of the side that the prior expects is 1.
    """
    places_of_one = np.prod(half_side(config) * config.canvas[::-1] / stride(config))
    all_ink = places.ink.sum(-1) / places_of_one
    return jnp.log(jnp.stack([places.ink.max(-1), all_ink], axis=-1) + LITTLE)


def explains(places: Places, centre: jax.Array, config: ModelConfig) -> jax.Array:
    """How far an object at `centre` [B, 2] explains each place: [B, P], at most 1."""
    return jnp.exp(-distance(places, centre, config))


def around(centre: jax.Array, moved: Gaussian, config: ModelConfig) -> Gaussian:
    """A Gaussian of shifts [B, 2] around a centre [B, 2], by `moved` halves of a side from it.

    What is learned of an object then holds anywhere: the tanh of a shift is flat at the edges.
    """
    half = half_side(config)[None]
    there = jnp.clip(centre + moved.loc * half, -EDGE, EDGE)
    steepness = 1 - jnp.square(there)  # d tanh(shift) / d shift
    return Gaussian(jnp.arctanh(there), moved.std * half / steepness)


def distance(places: Places, centre: jax.Array, config: ModelConfig) -> jax.Array:
    """Half the squared distance of votes from a centre [B, 2], in halves of a side: [B, P].

    A fact, without gradients: through the weights of a mean shift they would explode where a vote
    is as near to one object as to another.
    """
    apart = (places.votes - centre[:, None]) / half_side(config)[None, None]
    return jax.lax.stop_gradient(jnp.square(apart).sum(-1) / 2)


def half_side(config: ModelConfig) -> np.ndarray:
    """Of an object as the prior expects it: [2], x and y, on a canvas of 2 by 2."""
    height, width = config.canvas
    side = min(height, width) / (1 + np.exp(-config.scale_prior[0]))
    return np.array([side / width, side / height], np.float32)


def stride(config: ModelConfig) -> int:
    """From one place to the next, pixels."""
    return 4 if config.encoder_blocks else 6


def place_centres(config: ModelConfig) -> np.ndarray:
    """Where the patches of a canvas have their centres: [R, C, 2], (x, y) in [-1, 1]."""
    apart = stride(config)

    def along(length):
        places, before, _ = patch_grid(length, PATCH, apart)
        return 2 * (np.arange(places) * apart + PATCH / 2 - before) / length - 1

    y, x = np.meshgrid(*(along(length) for length in config.canvas), indexing="ij")
    return np.stack([x, y], -1).astype(np.float32)


def _patch_means(length: int, apart: int) -> np.ndarray:
    """Weights of an edge's pixels in the mean of each patch: [places, length]."""
    places, before, _ = patch_grid(length, PATCH, apart)
    first = np.arange(places)[:, None] * apart - before
    pixels = np.arange(length)
    return np.float32((pixels >= first) & (pixels < first + PATCH)) / np.float32(PATCH)


def _with_neighbours(x: jax.Array) -> jax.Array:
    """[B, R, C, F] -> [B, R, C, 9F]: each place beside its eight neighbours, zeros beyond."""
    rows, columns = x.shape[1:3]
    x = jnp.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)])
    nine = [x[:, i : i + rows, j : j + columns] for i in range(3) for j in range(3)]
    return jnp.concatenate(nine, axis=-1)
