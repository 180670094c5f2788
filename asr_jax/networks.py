"""The building blocks of both halves: image encoders, LSTM step, Gaussian heads, MLP."""

from __future__ import annotations

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from asr_jax.config import ModelConfig
from asr_jax.types import Gaussian

MIN_STD = 1e-4  # of every Gaussian, so that no density is unbounded
PATCH, STRIDE = 7, 5  # pixels of `PatchEncoder`; neighbours share two rows or columns
ACTIVATIONS = {"silu": nn.silu, "softplus": nn.softplus}
SMALL = nn.initializers.variance_scaling(0.01, "fan_in", "truncated_normal")


class MLP(nn.Module):
    """Dense layers with an activation after each."""

    features: tuple[int, ...]
    activation: Callable = nn.relu

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


class LSTMStep(nn.Module):
    """One LSTM step (Hochreiter & Schmidhuber 1997), with a bias of 1 on the forget gate."""

    features: int

    @nn.compact
    def __call__(self, state, projected: jax.Array):
        """state: (c, h), each [B, F] -> (c, h).

        projected: [B, 4F], what the input adds to the gates, bias included; so the caller can
        project all inputs that it has at once.
        """
        c, h = state
        gates = projected + nn.Dense(4 * self.features, use_bias=False)(h)  # [B, 4F]
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
        patches = extract_patches(images, PATCH, STRIDE)  # [B, P, Q, 49]
        places = MLP(self.features)(patches).reshape(images.shape[0], -1)
        return MLP((self.hidden,), name="dense")(places) if self.hidden else places


def extract_patches(images: jax.Array, size: int, stride: int) -> jax.Array:
    """images: [B, H, W] -> square patches, row by row, [B, P, Q, size * size].

    Of several planes, [B, C, H, W] -> [B, P, Q, C, size * size].
    """
    if images.ndim == 4:
        of_plane = functools.partial(extract_patches, size=size, stride=stride)
        return jax.vmap(of_plane, in_axes=1, out_axes=3)(images)
    grid = [patch_grid(length, size, stride) for length in images.shape[1:]]
    (rows, *vertical), (columns, *horizontal) = grid
    x = jnp.pad(images, [(0, 0), vertical, horizontal])
    x = jnp.stack([x[:, i : i + (rows - 1) * stride + 1 : stride] for i in range(size)], -1)
    x = jnp.stack(
        [x[:, :, j : j + (columns - 1) * stride + 1 : stride] for j in range(size)], -1
    )  # [B, P, Q, size, size]
    return x.reshape(images.shape[0], rows, columns, size * size)


def encode_image(images: jax.Array, config: ModelConfig) -> jax.Array:
    """What the posterior's LSTM sees of the images [B, H, W] -> [B, F]. Call inside a module."""
    if config.encoder == "patches":
        return PatchEncoder(hidden=config.encoder_hidden, name="patches")(images)
    return images.reshape(images.shape[0], -1)


def patch_grid(length: int, size: int, stride: int) -> tuple[int, int, int]:
    """(number of patches along an edge, pixels of padding before it, and after it)."""
    places = max(1, -(-(length - size) // stride) + 1)
    padding = (places - 1) * stride + size - length
    return places, padding // 2, padding - padding // 2
