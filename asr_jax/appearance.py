"""q(appearance | box, x): what objects look like whose boxes are known, and what they cover."""

from __future__ import annotations

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from asr_jax import backgrounds, boxes, spatial
from asr_jax.config import ModelConfig
from asr_jax.networks import ACTIVATIONS, MLP, GaussianHead
from asr_jax.types import Gaussian

COARSER = 3  # pixels of a window for one of its colours
ALIKE = 0.2  # how far apart colours are, in RGB, that look alike

# (planes in scope, shift [B, 2], scale [B, 1]) -> the alpha [B, H, W] of the object in that box,
# without gradients.
Cover = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]


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
        config, centre, side = self.config, boxes.centre(shift), boxes.side(scale)
        axis = None if scope is None else 1  # all objects see the same image, or each its own
        read = jax.vmap(spatial.read, in_axes=(axis, 1, 1, None), out_axes=1)
        bright = images[:, -1] if config.coloured else images
        bright = bright if scope is None else bright[:, None] * scope
        seen = [read(bright, centre, side, config.window)]  # [B, K, h, w]
        if config.coloured:  # shapes are seen in contrast and likeness; colours need fewer pixels
            read = jax.vmap(spatial.read, in_axes=(None, 1, 1, None), out_axes=1)
            colours = images[:, :-1]
            seen.append(likeness(read(colours, centre, side, config.window)))
            seen.append(read(colours, centre, side, -(-config.window // COARSER)))
        glimpses = [glimpse.reshape(*shift.shape[:2], -1) for glimpse in seen]
        glimpses = jnp.concatenate(glimpses, axis=-1)  # [B, K, F]
        activation = ACTIVATIONS[config.activation]
        features = MLP(config.hidden, activation, name="encoder")(glimpses)
        # Attention finds objects before they can be told apart: noisy codes would be given up.
        start = (0.0, 0.3) if config.encoder == "attention" else (0.0, 1.0)
        return GaussianHead(config.appearance, initial=start, name="code")(features)


def likeness(glimpses: jax.Array) -> jax.Array:
    """How alike each pixel's colour is to the middle's: [..., C, h, w] -> [..., h, w] in (0, 1].

    Objects that touch differ in colour, if in nothing else. The middle is a sixth of the window.
    """
    size = glimpses.shape[-1]
    low = (size - 1) // 2 - size // 12
    middle = glimpses[..., low : size - low, low : size - low].mean((-2, -1), keepdims=True)
    apart = jnp.square(glimpses - jax.lax.stop_gradient(middle)).sum(-3)
    return jnp.exp(-apart / (2 * ALIKE**2))


def scopes(cover: Cover, images: jax.Array, shift: jax.Array, scale: jax.Array) -> jax.Array:
    """What the objects before each step leave in sight, for boxes that are known: [B, K, H, W].

    images: of `backgrounds.planes`; shift [B, K, 2] and scale [B, K, 1].
    """
    scope, found = jnp.ones_like(images[:, -1]), []
    for t in range(shift.shape[1]):
        found.append(scope)
        seen = backgrounds.in_scope(images, scope)
        scope = scope * (1 - cover(seen, shift[:, t], scale[:, t]))
    return jnp.stack(found, axis=1)
