"""q(z, n | x): one step written plainly, scanned K times (Eqn. 5 of the paper).

A step finds one more box. What is in the boxes is encoded for all of them afterwards: appearance
depends on its own box, q(appearance^t | box^t, x), and on what earlier objects leave in sight.
"""

from __future__ import annotations

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct

from asr_jax import attention, backgrounds, boxes, spatial
from asr_jax.config import ModelConfig
from asr_jax.distributions import bounded, known_presence, restrict
from asr_jax.networks import (
    ACTIVATIONS,
    MLP,
    SMALL,
    GaussianHead,
    LSTMStep,
    encode_image,
    lstm_start,
)
from asr_jax.types import Gaussian, Latents, Noise, Posterior

LOOK = 16  # pixels along an edge of what is seen around a proposed centre
LOOK_FEATURES = 128
COARSER = 3  # pixels of a window for one of its colours
ALIKE = 0.2  # how far apart colours are, in RGB, that look alike


def draw_noise(keys: jax.Array, config: ModelConfig) -> Noise:
    """Noise of one posterior sample; keys: [B], one an image, so that a batch can be split."""

    def one(key):
        presence, rest = jax.random.split(key)
        steps, code = config.max_objects, config.appearance
        normal = jax.random.normal(rest, (steps, 3 + code))
        background = None
        if config.background != "black":
            apart = jax.random.fold_in(rest, 1)
            background = jax.random.normal(apart, (backgrounds.code_size(config),))
        return Noise(
            presence=jax.random.logistic(presence, (steps,)),
            shift=normal[:, :2],
            scale=normal[:, 2:3],
            appearance=normal[:, 3:],
            background=background,
        )

    return jax.vmap(one)(keys)


def no_noise(batch: int, config: ModelConfig) -> Noise:
    """Zeros: the latents are then the means of the posterior's Gaussians, step after step."""
    shape = (batch, config.max_objects)
    black = config.background == "black"
    return Noise(
        presence=jnp.zeros(shape),
        shift=jnp.zeros(shape + (2,)),
        scale=jnp.zeros(shape + (1,)),
        appearance=jnp.zeros(shape + (config.appearance,)),
        background=None if black else jnp.zeros((batch, backgrounds.code_size(config))),
    )


@struct.dataclass
class Box:
    """What a step says of one more object."""

    presence_logits: jax.Array  # [B]
    q_shift: Gaussian  # [B, 2]
    q_scale: Gaussian  # [B, 1]
    shift: jax.Array
    scale: jax.Array
    scope: jax.Array | None  # [B, H, W]  what earlier objects leave in sight


# (planes in scope, shift [B, 2], scale [B, 1]) -> the alpha [B, H, W] of the object in that box,
# without gradients.
Cover = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]


class InferenceStep(nn.Module):
    """One look at the image: is there one more object, where is it, and how large?"""

    config: ModelConfig
    cover: Cover | None = None  # where objects lie over each other

    @nn.compact
    def __call__(
        self,
        carry,
        noise: Noise,
        image_gates: jax.Array,
        images: jax.Array,
        places: attention.Places | None,
    ) -> tuple[tuple, Box]:
        """One step.

        carry: LSTM state; previous shift and scale [B, 3]; how far each place is explained [B, P];
        the scope [B, H, W] that earlier objects leave, None where none lies over another.
        noise of this step [B, ...]; `places` where there is attention, else None.
        """
        config = self.config
        state, previous, explained, scope = carry
        gates = image_gates + nn.Dense(4 * config.lstm, name="gates")(previous)
        state = LSTMStep(config.lstm, name="lstm")(state, gates)
        h = state[1]  # [B, F]
        mean, variance = config.scale_prior
        expected = boxes.side(jnp.full_like(noise.scale, mean))  # the side that the prior expects

        seen, start = h, {"initial": (0.0, 0.5)}
        if scope is not None:
            places = attention.in_scope(places, images[:, -1], scope)
            images = backgrounds.in_scope(images, scope)
        if places is not None:
            look = attention.Attention(config, name="attention")(h, places, explained)
            around = spatial.read(images, look.centre, config.look * expected, LOOK)
            if config.coloured:
                around = jnp.concatenate([around, likeness(around[:, :-1])[:, None]], axis=1)
            around = MLP((LOOK_FEATURES,), name="look")(_flat(around))
            seen = jnp.concatenate([h, look.context, look.facts, around], axis=-1)
            start["kernel_init"] = SMALL  # what is proposed is good as it is

        if config.count is None:
            facts = seen
            if scope is not None:  # attention may look where nothing is
                facts = jnp.concatenate([seen, attention.left(places, config)], axis=-1)
            hidden = nn.relu(nn.Dense(config.head, name="presence_hidden")(facts))
            logits = nn.Dense(1, name="presence")(hidden)[:, 0]  # [B]
        else:
            logits = jnp.zeros(h.shape[:1])  # set by `known_presence` after the scan

        q_shift = GaussianHead(2, config.head, name="shift", **start)(seen)
        if places is not None:
            q_shift = attention.around(look.centre, q_shift, config)
        shift = _sample(q_shift, noise.shift)

        scale_head = GaussianHead(1, config.head, (mean, variance**0.5), name="scale")
        seen = [seen, shift]
        if places is not None:
            seen.append((boxes.centre(shift) - look.centre) / attention.half_side(config)[None])
        if config.scale_glimpse:  # how large an object is, is best seen from where it is
            side = expected * config.scale_glimpse
            seen.append(_flat(spatial.read(images, boxes.centre(shift), side, config.window)))
        q_scale = scale_head(jnp.concatenate(seen, axis=-1))
        scale = _sample(q_scale, noise.scale)

        if places is not None:
            explained = explained + attention.explains(places, boxes.centre(shift), config)
        box = jnp.concatenate([shift, scale], axis=-1)
        found = Box(logits, q_shift, q_scale, shift, scale, scope)
        if self.cover is not None:
            scope = scope * (1 - self.cover(images, shift, scale))
        return (state, box, explained, scope), found


def likeness(glimpses: jax.Array) -> jax.Array:
    """How alike each pixel's colour is to the middle's: [..., C, h, w] -> [..., h, w] in (0, 1].

    Objects that touch differ in colour, if in nothing else. The middle is a sixth of the window.
    """
    size = glimpses.shape[-1]
    low = (size - 1) // 2 - size // 12
    middle = glimpses[..., low : size - low, low : size - low].mean((-2, -1), keepdims=True)
    apart = jnp.square(glimpses - jax.lax.stop_gradient(middle)).sum(-3)
    return jnp.exp(-apart / (2 * ALIKE**2))


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


class Inference(nn.Module):
    """The amortised posterior over K steps."""

    config: ModelConfig
    cover: Cover | None = None

    @nn.compact
    def __call__(self, images: jax.Array, noise: Noise) -> Posterior:
        """images: [B, H, W] or [B, H, W, C] in [0, 1] -> Posterior, [B, K, ...]."""
        config, batch = self.config, images.shape[0]
        median = None
        if config.coloured:
            median = backgrounds.median(images)  # [B, C]
            images = backgrounds.planes(images, median)  # [B, C + 1, H, W]
        if config.encoder == "attention":
            places, features = attention.PlaceEncoder(name="places")(images)
            explained = jnp.zeros_like(places.ink)
        else:
            places, features, explained = None, encode_image(images, config), None
        # The image's share of the LSTM's input is the same at every step: project it once.
        image_gates = nn.Dense(4 * config.lstm, use_bias=False, name="image")(features)

        steps = nn.scan(
            InferenceStep,
            variable_broadcast="params",
            split_rngs={"params": False},
            in_axes=(1, nn.broadcast, nn.broadcast, nn.broadcast),  # noise by step; the image
            out_axes=1,  # [B, K, ...]
            length=config.max_objects,
            unroll=config.max_objects,  # a short loop: XLA fuses across its steps
        )
        scope = jnp.ones((batch, *config.canvas)) if config.scoped else None
        start = lstm_start(batch, config.lstm), jnp.zeros((batch, 3)), explained, scope
        by_step = noise.replace(background=None)
        _, box = steps(config, self.cover, name="step")(start, by_step, image_gates, images, places)
        appearance_of = Appearance(config, name="appearance")
        q_appearance = appearance_of(images, box.shift, box.scale, box.scope)
        appearance = _sample(q_appearance, noise.appearance)
        q_background = background = None
        if config.background != "black":
            q_background = backgrounds.Encoder(config, name="background")(median, features)
            background = _sample(q_background, noise.background)

        logits = box.presence_logits  # [B, K]
        if config.presence_bound:
            logits = bounded(logits, config.presence_bound)
        if config.possible_counts:
            logits = restrict(logits, config.possible_counts)
        if config.count is not None:
            logits = known_presence((config.count,), batch, config.max_objects)
        return Posterior(
            presence_logits=logits,
            presence_noise=noise.presence,
            shift=box.q_shift,
            scale=box.q_scale,
            appearance=q_appearance,
            latents=Latents(box.shift, box.scale, appearance, background),
            background=q_background,
        )


def _sample(q: Gaussian, noise: jax.Array) -> jax.Array:
    return q.loc + q.std * noise


def _flat(windows: jax.Array) -> jax.Array:
    """[B, ...] -> [B, F]."""
    return windows.reshape(len(windows), -1)
