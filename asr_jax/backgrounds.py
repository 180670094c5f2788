"""What lies behind the objects: one colour, or a small image, with a latent of its own.

It starts as the image's median colour, which is seldom an object's; and what differs from the
median shows where objects are, whatever their colours.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from asr_jax.config import ModelConfig
from asr_jax.networks import MLP, SMALL, GaussianHead
from asr_jax.types import Gaussian

SAMPLE = 16  # rows and columns, at most, that a median is taken of
DARKEST = 0.02  # a median keeps this distance from 0 and 1, whose logits are infinite
HIDDEN = 128


def code_size(config: ModelConfig) -> int:
    """Z, the size of the background's latent: a colour, and what an image needs beyond it."""
    return config.channels if config.background == "colour" else config.background_code


def median(images: jax.Array) -> jax.Array:
    """The median of each channel, of pixels on a coarse grid; [B, H, W] or [B, H, W, C] -> [B, C].

    Sorting all pixels of a batch would take as long as a step of training.
    """
    height, width = images.shape[1:3]
    rows, columns = (np.arange(0, n, -(-n // SAMPLE)) for n in (height, width))
    some = images[:, rows][:, :, columns]
    some = some.reshape(len(images), len(rows) * len(columns), -1)  # [B, pixels, C]
    middle = some.shape[1] // 2
    return jnp.sort(some, axis=1)[:, middle]


def noise(seen: jax.Array) -> jax.Array:
    """How far a pixel's colour is from what it would be without noise, squared: [B].

    Half the median squared distance of neighbours on a coarse grid, which edges do not change.

    Args:
      seen: planes [B, C + 1, H, W].
    """
    rows, columns = (np.arange(0, n - 1, -(-n // SAMPLE)) for n in seen.shape[2:])
    lines = seen[:, :-1, rows]
    apart = jnp.square(lines[..., columns + 1] - lines[..., columns]).sum(1)  # [B, rows, columns]
    return jnp.sort(apart.reshape(len(seen), -1), axis=1)[:, len(rows) * len(columns) // 2] / 2


def planes(images: jax.Array, median: jax.Array) -> jax.Array:
    """What the posterior sees: the channels, and last how far they are from the median.

    Args:
      images: [B, H, W] or [B, H, W, C] in [0, 1].
      median: [B, C].

    Returns:
      [B, C + 1, H, W]; of the last, each image's largest is 1.
    """
    channels = images[:, None] if images.ndim == 3 else jnp.moveaxis(images, -1, 1)
    contrast = jnp.sqrt(jnp.square(channels - median[:, :, None, None]).sum(1, keepdims=True))
    contrast = contrast / (contrast.max((1, 2, 3), keepdims=True) + 1e-3)
    return jnp.concatenate([channels, contrast], axis=1)


def bright(seen: jax.Array) -> jax.Array:
    """Where objects are, [B, H, W]: the contrast of planes [B, C + 1, H, W], or grey images."""
    return seen if seen.ndim == 3 else seen[:, -1]


def in_scope(seen: jax.Array, scope: jax.Array) -> jax.Array:
    """Planes, or grey images, whose `bright` is what a scope [B, H, W] leaves of it."""
    left = bright(seen) * scope
    return left if seen.ndim == 3 else jnp.concatenate([seen[:, :-1], left[:, None]], axis=1)


class Encoder(nn.Module):
    """q(background | x): near the median."""

    config: ModelConfig

    @nn.compact
    def __call__(self, median: jax.Array, summary: jax.Array) -> Gaussian:
        """median: [B, C]; summary of all places [B, F] -> [B, Z]."""
        colour = jnp.clip(median, DARKEST, 1 - DARKEST)
        colour = jnp.log(colour) - jnp.log1p(-colour)  # [B, C]
        x = MLP((HIDDEN,), name="hidden")(jnp.concatenate([colour, summary], axis=-1))
        q = GaussianHead(colour.shape[-1], 0, (0.0, 0.05), SMALL, name="colour")(x)
        q = Gaussian(colour + q.loc, q.std)
        more = code_size(self.config) - colour.shape[-1]
        if not more:
            return q
        rest = GaussianHead(more, 0, (0.0, 0.5), name="rest")(x)
        return jax.tree.map(lambda *both: jnp.concatenate(both, axis=-1), q, rest)


class Decoder(nn.Module):
    """The background that a code stands for."""

    config: ModelConfig

    @nn.compact
    def __call__(self, code: jax.Array) -> jax.Array:
        """code: [B, Z] -> [B, C, H, W] in (0, 1)."""
        config, (batch, channels) = self.config, (len(code), self.config.channels)
        height, width = config.canvas
        logits = code[:, :channels, None, None]  # [B, C, 1, 1]
        if config.background == "image":
            size = config.background_size
            x = MLP((HIDDEN,), name="hidden")(code)
            small = nn.Dense(channels * size * size, kernel_init=SMALL, name="image")(x)
            logits = logits + enlarged(small.reshape(batch, channels, size, size), (height, width))
        return jnp.broadcast_to(nn.sigmoid(logits), (batch, channels, height, width))


def enlarged(images: jax.Array, canvas: tuple[int, int]) -> jax.Array:
    """Bilinear, constant beyond the outermost pixels' centres; [..., h, w] -> [..., H, W]."""
    rows, columns = (
        _weights(small, large) for small, large in zip(images.shape[-2:], canvas, strict=True)
    )
    return rows @ images @ columns.T


def _weights(small: int, large: int) -> np.ndarray:
    """[large, small], of each small pixel in each large one."""
    positions = (np.arange(large) + 0.5) * small / large - 0.5
    positions = np.clip(positions, 0, small - 1)
    apart = np.abs(positions[:, None] - np.arange(small))
    return np.maximum(1 - apart, 0).astype(np.float32)
