"""q(appearance | box, x): what objects look like whose boxes are known, and what they cover."""

from __future__ import annotations

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from asr_jax import backgrounds, boxes, compositing, spatial
from asr_jax.config import ModelConfig
from asr_jax.networks import ACTIVATIONS, MLP, GaussianHead
from asr_jax.types import Gaussian

COARSER = 3  # pixels of a window for one of its colours
ALIKE = (0.2, 0.07)  # how far apart colours are, in RGB, that look alike: roughly, and sharply
NEARER = (0.2, 0.1, 0.07)  # the same, step by step, of what an object's colour is a mean of
COVERS = 0.12  # the same of an object and of the pixels that it explains
NEAR = 1 / 8  # of a glimpse's edge: how far from its middle the colour of an object is taken
LITTLE = 1e-6  # ink of pixels where nothing is left


@struct.dataclass
class Covered:
    """What the object in a box takes of an image: facts, without gradients."""

    share: jax.Array  # [B, H, W]  how much of what is left at a pixel
    # Where objects lie over each other, else None: as in `compositing.depths`, of one object.
    alpha: jax.Array | None = None
    apart: jax.Array | None = None


# (planes or grey images in scope, shift [B, 2], scale [B, 1]) -> Covered
Cover = Callable[[jax.Array, jax.Array, jax.Array], Covered]


class Appearance(nn.Module):
    """What objects look like whose boxes are known."""

    config: ModelConfig

    @nn.compact
    def __call__(
        self, images: jax.Array, shift: jax.Array, scale: jax.Array, scope: jax.Array | None = None
    ) -> Gaussian:
        """images: of `backgrounds.planes`; shift [B, K, 2] and scale [B, K, 1] -> [B, K, D].

        scope: [B, K, H, W], what earlier objects leave in sight; None: everything.
        """
        config, centre = self.config, boxes.centre(shift)
        side = boxes.window_side(scale, config.border)
        axis = None if scope is None else 1  # all objects see the same image, or each its own
        read = jax.vmap(spatial.read, in_axes=(axis, 1, 1, None), out_axes=1)
        bright = backgrounds.bright(images)
        bright = bright if scope is None else bright[:, None] * scope
        seen = [read(bright, centre, side, config.window)]  # [B, K, h, w]
        if config.coloured:  # shapes are seen in contrast and likeness; colours need fewer pixels
            read = jax.vmap(spatial.read, in_axes=(None, 1, 1, None), out_axes=1)
            colours = images[:, :-1]
            noise = backgrounds.noise(images)[:, None]  # [B, 1]
            seen.append(likeness(read(colours, centre, side, config.window), seen[0], noise))
            seen.append(read(colours, centre, side, -(-config.window // COARSER)))
        glimpses = [glimpse.reshape(*shift.shape[:2], -1) for glimpse in seen]
        glimpses = jnp.concatenate(glimpses, axis=-1)  # [B, K, F]
        activation = ACTIVATIONS[config.activation]
        features = MLP(config.hidden, activation, name="encoder")(glimpses)
        # Attention finds objects before they can be told apart: noisy codes would be given up.
        start = (0.0, 0.3) if config.encoder == "attention" else (0.0, 1.0)
        return GaussianHead(config.appearance, initial=start, name="code")(features)


def likeness(colours: jax.Array, ink: jax.Array, noise: jax.Array) -> jax.Array:
    """How alike each pixel of a glimpse is to what is nearest to its middle, in (0, 1].

    Objects that touch differ in colour, if in nothing else, and may differ little. What is in the
    middle may be in front of what is looked for: so the colour is a mean of what is left in sight,
    the nearest most; and then of what is like it (mean shift), so that it is that of one object.

    Args:
      colours: [..., C, h, w].
      ink: [..., h, w], how much of an object is left to see at a pixel.
      noise: [...] of `backgrounds.noise`, or what broadcasts to it: colours look alike that far.

    Returns:
      [..., 2, h, w], roughly and sharply.
    """
    height, width = ink.shape[-2:]
    rows, columns = (np.arange(size) - (size - 1) / 2 for size in (height, width))
    away = (rows[:, None] / height) ** 2 + (columns[None] / width) ** 2
    middle = jnp.broadcast_to(jnp.float32(np.exp(-away / (2 * NEAR**2))), ink.shape)
    start = jax.lax.stop_gradient((ink + LITTLE) * middle)
    noise = noise[..., None, None]

    def apart(weight):  # squared distances [..., h, w] from the mean colour
        weight = (weight / weight.sum((-2, -1), keepdims=True))[..., None, :, :]
        colour = jax.lax.stop_gradient((weight * colours).sum((-2, -1), keepdims=True))
        return jnp.square(colours - colour).sum(-3)

    distance = apart(start)
    for near in NEARER:
        distance = apart(start * (alike(distance, near, noise) + LITTLE))
    return jnp.stack([alike(distance, width, noise) for width in ALIKE], axis=-3)


def alike(apart: jax.Array, width: float, noise: jax.Array) -> jax.Array:
    """How alike colours are, in (0, 1], that are `apart`, squared, where there is noise."""
    return jnp.exp(-apart / (2 * (width**2 + noise)))


def scopes(
    cover: Cover, images: jax.Array, shift: jax.Array, scale: jax.Array
) -> tuple[jax.Array, Covered]:
    """What the objects before each step leave in sight, for boxes that are known: [B, K, H, W].

    And what each covers, [B, K, ...].

    images: of `backgrounds.planes`, or grey; shift [B, K, 2] and scale [B, K, 1].
    """
    scope, found = jnp.ones_like(backgrounds.bright(images)), []
    for t in range(shift.shape[1]):
        covered = cover(backgrounds.in_scope(images, scope), shift[:, t], scale[:, t])
        found.append((scope, covered))
        scope = scope * (1 - covered.share)
    return jax.tree.map(lambda *of: jnp.stack(of, axis=1), *found)


def depth(covered: Covered, config: ModelConfig) -> jax.Array | None:
    """`compositing.depths` of what objects cover [B, K, ...]; None where light adds up.

    What decides is worth a nat or more.
    """
    if covered.apart is None:
        return None
    return compositing.depths(covered.alpha, covered.apart, 2 * config.sigma**2)
