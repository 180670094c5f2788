"""The building blocks of both halves: image encoders, LSTM step, Gaussian heads, MLP."""

from __future__ import annotations

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from asr_jax.config import ModelConfig
from asr_jax.types import Gaussian, Mixture

MIN_STD = 1e-4  # of every Gaussian, so that no density is unbounded
PATCH, STRIDE = 7, 5  # pixels; neighbouring patches share two rows or columns
MEAN_SHIFTS = 3
SMALL = nn.initializers.variance_scaling(0.01, "fan_in", "truncated_normal")


class MLP(nn.Module):
    """Dense layers with an activation after each."""

    features: tuple[int, ...]
    activation: Callable = nn.softplus

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """x: [..., X] -> [..., features[-1]]."""
        for features in self.features:
            x = self.activation(nn.Dense(features)(x))
        return x


class GaussianHead(nn.Module):
    """An optional hidden ReLU layer, then loc and std of a Gaussian.

    `initial` is the (loc, std) that an untrained head puts out for a zero input: a head starts
    from what is known of its latent instead of from 0 and softplus(0).
    """

    features: int
    hidden: int = 0
    initial: tuple[float, float] = (0.0, 1.0)
    kernel_init: Callable = nn.linear.default_kernel_init  # of the last layer

    @nn.compact
    def __call__(self, x: jax.Array) -> Gaussian:
        """x: [..., X] -> a Gaussian of [..., features]."""
        if self.hidden:
            x = nn.relu(nn.Dense(self.hidden)(x))
        out = nn.Dense(2 * self.features, kernel_init=self.kernel_init)(x)
        loc, raw_std = jnp.split(out, 2, axis=-1)
        start = float(np.log(np.expm1(self.initial[1] - MIN_STD)))
        return Gaussian(self.initial[0] + loc, nn.softplus(start + raw_std) + MIN_STD)


class MixtureHead(nn.Module):
    """A hidden ReLU layer, then weights, locs and stds of M Gaussians over shifts.

    Untrained, for a zero input, they are equally likely and cover the canvas evenly: components
    that start at one place would stay together.
    """

    components: int
    hidden: int

    @nn.compact
    def __call__(self, x: jax.Array) -> Mixture:
        """x: [..., X] -> a mixture of [..., M] Gaussians of [..., M, 2]."""
        x = nn.relu(nn.Dense(self.hidden)(x))
        out = nn.Dense(5 * self.components)(x).reshape(x.shape[:-1] + (self.components, 5))
        loc, std = evenly(self.components)  # [M, 2]
        start = np.log(np.expm1(std - MIN_STD))
        loc, std, start = (
            jnp.broadcast_to(jnp.float32(a), out.shape[:-1] + (2,)) for a in (loc, std, start)
        )
        return Mixture(
            log_weights=jax.nn.log_softmax(out[..., 0]),
            loc=loc + std * out[..., 1:3],  # a component moves in units of its own width
            std=nn.softplus(start + out[..., 3:]) + MIN_STD,
        )


def evenly(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Gaussians of shifts whose centres lie evenly on the canvas: locs and stds, [M, 2] each.

    The centres are a Fibonacci lattice: one in each of M columns, and rows that are a golden ratio
    apart. On the canvas a component is as wide as a square of its share of it, std half a side;
    the tanh of a shift is steepest in the middle, so that stds grow to the edges.
    """
    i = np.arange(number)
    golden = (np.sqrt(5) - 1) / 2
    centre = 2 * np.stack([(i + 0.5) / number, (i * golden + 0.5) % 1], axis=-1) - 1
    return np.arctanh(centre), number**-0.5 / (1 - centre**2)


class LSTMStep(nn.Module):
    """One LSTM step (Hochreiter & Schmidhuber 1997), with a bias of 1 on the forget gate."""

    features: int

    @nn.compact
    def __call__(self, state, x: jax.Array, projected: jax.Array | None = None):
        """state: (c, h), each [B, F]; x: [B, X] -> (c, h).

        `projected` [B, 4F] is added to the gates: input that is the same at every step, and was
        projected once.
        """
        c, h = state
        gates = nn.Dense(4 * self.features)(jnp.concatenate([x, h], axis=-1))  # [B, 4F]
        if projected is not None:
            gates = gates + projected
        i, f, g, o = jnp.split(gates, 4, axis=-1)
        c = nn.sigmoid(f + 1) * c + nn.sigmoid(i) * jnp.tanh(g)
        return c, nn.sigmoid(o) * jnp.tanh(c)


def lstm_start(batch: int, features: int):
    """The state (c, h) before the first step, zeros [B, F] each."""
    return jnp.zeros((batch, features)), jnp.zeros((batch, features))


class PatchEncoder(nn.Module):
    """Overlapping 7x7 patches at stride 5 through an MLP shared by all places.

    Patches are strided slices and a matmul rather than a convolution, whose gradient is slow
    on CPUs. The canvas is padded evenly, so that every pixel lies in a patch.

    Where counts are inferred, a dense layer over all places (`hidden` units) helps: which object
    comes first flips where two objects lie level, and a posterior that sees a linear map of the
    places flips so softly that it doubts n there. Where n is known, boxes are better without.
    """

    features: tuple[int, ...] = (64, 32)
    hidden: int = 0

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """images: [B, H, W] -> [B, hidden], or features [B, P * Q * 32] of the P x Q places."""
        patches = extract_patches(images)  # [B, P, Q, 49]
        places = MLP(self.features, nn.relu)(patches).reshape(images.shape[0], -1)
        return MLP((self.hidden,), nn.relu, name="dense")(places) if self.hidden else places


def extract_patches(images: jax.Array) -> jax.Array:
    """images: [B, H, W] -> [B, P, Q, PATCH * PATCH]."""
    (rows, *vertical), (columns, *horizontal) = (_places(length) for length in images.shape[1:])
    x = jnp.pad(images, [(0, 0), vertical, horizontal])
    x = jnp.stack([x[:, i : i + (rows - 1) * STRIDE + 1 : STRIDE] for i in range(PATCH)], -1)
    x = jnp.stack(
        [x[:, :, j : j + (columns - 1) * STRIDE + 1 : STRIDE] for j in range(PATCH)], -1
    )  # [B, P, Q, PATCH, PATCH]
    return x.reshape(images.shape[0], rows, columns, PATCH * PATCH)


def encode_image(images: jax.Array, config: ModelConfig) -> jax.Array:
    """What the posterior's LSTM sees of the images [B, H, W] -> [B, F]. Call inside a module."""
    if config.encoder == "patches":
        return PatchEncoder(hidden=config.encoder_hidden, name="patches")(images)
    return images.reshape(images.shape[0], -1)


@struct.dataclass
class Places:
    """What there is at each of the P places of an image, for attention to choose from."""

    features: jax.Array  # [B, P, F]
    votes: jax.Array  # [B, P, 2]  where the object there has its centre, (x, y) in [-1, 1]
    ink: jax.Array  # [B, P]  mean brightness of the place's patch; that of the brightest is 1


class PlaceEncoder(nn.Module):
    """The 7x7 patches again, each with its eight neighbours: a place sees 17 pixels.

    All places share their networks, and vote for a centre relative to themselves, so that what is
    learned at one place holds at all. Only the summary for the LSTM sees all places at once.
    """

    patch: tuple[int, ...] = (64, 32)
    features: int = 64
    few: int = 8  # numbers of a place in the summary
    summary: int = 256

    @nn.compact
    def __call__(self, images: jax.Array) -> tuple[Places, jax.Array]:
        """images: [B, H, W] -> the places, and a summary of them [B, summary]."""
        batch, height, width = images.shape
        patches = extract_patches(images)  # [B, R, C, 49]
        around = _with_neighbours(MLP(self.patch, nn.relu, name="patch")(patches))
        centres = jnp.asarray(place_centres((height, width)))  # [R, C, 2]
        where = nn.Dense(self.features, name="where")(
            MLP((self.features,), nn.relu, name="coordinates")(centres)
        )
        x = nn.relu(nn.Dense(self.features, name="around")(around) + where)
        more = MLP((self.features,), nn.relu, name="hidden")(x)
        x = x + nn.Dense(self.features, name="more")(more)

        offsets = nn.Dense(2, kernel_init=SMALL, name="vote")(x)  # in strides
        votes = centres + offsets * (2 * STRIDE / jnp.array([width, height], jnp.float32))
        ink = patches.mean(-1).reshape(batch, -1)
        ink = ink / (ink.max(-1, keepdims=True) + 1e-3)  # a black image has none
        few = nn.Dense(self.few, name="few")(x).reshape(batch, -1)
        summary = MLP((self.summary,), nn.relu, name="summary")(few)
        x, votes = x.reshape(batch, -1, self.features), votes.reshape(batch, -1, 2)
        return Places(x, votes, ink), summary


@struct.dataclass
class Look:
    """What attention found, and where."""

    centre: jax.Array  # [B, 2]  proposed for an object, (x, y) in [-1, 1]
    context: jax.Array  # [B, F]  features of the places that were looked at
    facts: jax.Array  # [B, 4]  how far votes are apart in x and y, ink, how far it is explained


class Attention(nn.Module):
    """Chooses one object among the places of an image, and proposes its centre.

    A place is looked at more if it shows what h asks for, is bright, comes early in reading order,
    and if no earlier object explains it. A mean of votes can fall between two objects, so it is
    moved to one: only votes near the last centre count (mean shift, Comaniciu and Meer 2002).
    """

    config: ModelConfig

    def setup(self):
        self.query = nn.Dense(PlaceEncoder.features, kernel_init=SMALL)
        # What training starts from: bright places, none twice, from left to right.
        self.ink = self.param("ink", nn.initializers.constant(16.0), ())
        self.explained = self.param("explained", nn.initializers.constant(16.0), ())
        self.order = self.param("order", lambda _: jnp.array([2.0, 1.0]))

    def __call__(self, h: jax.Array, places: Places, explained: jax.Array) -> Look:
        """h: [B, X]; explained: [B, P], the sum of `explains` over earlier objects."""
        asked = jnp.einsum("bpf,bf->bp", places.features, self.query(h))
        logits = asked * PlaceEncoder.features**-0.5 + self.ink * places.ink
        logits = logits - self.explained * explained
        logits = logits - jax.lax.stop_gradient(places.votes) @ self.order
        attention = nn.softmax(logits)  # [B, P]
        for _ in range(MEAN_SHIFTS):
            centre = jnp.einsum("bp,bpc->bc", attention, places.votes)
            attention = nn.softmax(logits - self._distance(places, centre))
        centre = jnp.einsum("bp,bpc->bc", attention, places.votes)
        apart = jnp.abs(places.votes - centre[:, None]) / self.half_side
        facts = jnp.concatenate([apart, jnp.stack([places.ink, explained], -1)], axis=-1)
        context, facts = (
            jnp.einsum("bp,bpf->bf", attention, of_places) for of_places in (places.features, facts)
        )
        return Look(centre, context, facts)

    def explains(self, places: Places, centre: jax.Array) -> jax.Array:
        """How far an object at `centre` [B, 2] explains places: [B, P], 1 where votes equal it."""
        return jnp.exp(-self._distance(places, centre))

    def around(self, centre: jax.Array, moved: Gaussian) -> Gaussian:
        """A Gaussian of shifts [B, 2] around a centre [B, 2], by `moved` halves of a side from it.

        What is learned of an object then holds anywhere: the tanh of a shift is flat at the edges.
        """
        there = jnp.clip(centre + moved.loc * self.half_side, -0.98, 0.98)
        steepness = 1 - jnp.square(there)  # d tanh(shift) / d shift
        return Gaussian(jnp.arctanh(there), moved.std * self.half_side / steepness)

    def _distance(self, places: Places, centre: jax.Array) -> jax.Array:
        """Half the squared distance of votes and centre, in halves of a side: [B, P].

        A fact, without gradients: through the weights of a mean shift they would explode where a
        vote is as near to one object as to another.
        """
        distance = (places.votes - centre[:, None]) / self.half_side
        return jax.lax.stop_gradient(jnp.square(distance).sum(-1) / 2)

    @property
    def half_side(self) -> np.ndarray:
        """Of an object as the prior expects it: [2], x and y, on a canvas of 2 by 2."""
        height, width = self.config.canvas
        side = min(height, width) / (1 + np.exp(-self.config.scale_prior[0]))
        return np.array([side / width, side / height], np.float32)


def place_centres(canvas: tuple[int, int]) -> np.ndarray:
    """Where the patches of a canvas (H, W) have their centres: [R, C, 2], (x, y) in [-1, 1]."""

    def along(length):
        places, before, _ = _places(length)
        return 2 * (np.arange(places) * STRIDE + PATCH / 2 - before) / length - 1

    y, x = np.meshgrid(along(canvas[0]), along(canvas[1]), indexing="ij")
    return np.stack([x, y], -1).astype(np.float32)


def _places(length: int) -> tuple[int, int, int]:
    """(number of patches along an edge, pixels of padding before it, and after it)."""
    places = max(1, -(-(length - PATCH) // STRIDE) + 1)
    padding = (places - 1) * STRIDE + PATCH - length
    return places, padding // 2, padding - padding // 2


def _with_neighbours(x: jax.Array) -> jax.Array:
    """[B, R, C, F] -> [B, R, C, 9F]: each place beside its eight neighbours, zeros beyond."""
    rows, columns = x.shape[1:3]
    x = jnp.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)])
    nine = [x[:, i : i + rows, j : j + columns] for i in range(3) for j in range(3)]
    return jnp.concatenate(nine, axis=-1)
