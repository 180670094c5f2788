"""q(z, n | x): one step written plainly, scanned K times (Eqn. 5 of the paper).

A step finds one more box. What is in the boxes is encoded for all of them afterwards: appearance
depends on its own box, q(appearance^t | box^t, x), and on what earlier objects leave in sight.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct

from asr_jax import attention, backgrounds, boxes, spatial
from asr_jax.appearance import Appearance, Cover, Covered, depth, likeness
from asr_jax.config import ModelConfig
from asr_jax.distributions import bounded, known_presence, restrict
from asr_jax.networks import (
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


def draw_depth(keys: jax.Array, config: ModelConfig) -> jax.Array:
    """Of samples of the prior, where every order is as likely; keys: [B] -> [B, K]."""
    steps = (config.max_objects,)
    return jax.vmap(lambda key: jax.random.uniform(jax.random.fold_in(key, 1), steps))(keys)


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
    covered: Covered | None  # where there is a scope


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
            places = attention.in_scope(places, backgrounds.bright(images), scope, config)
            images = backgrounds.in_scope(images, scope)
        if places is not None:
            look = attention.Attention(config, name="attention")(h, places, explained)
            around = spatial.read(images, look.centre, config.look * expected, LOOK)
            if config.coloured:
                rough = backgrounds.noise(images)
                alike = likeness(around[:, :-1], around[:, -1], rough)
                around = jnp.concatenate([around, alike], axis=1)
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
        covered = None if self.cover is None else self.cover(images, shift, scale)
        found = Box(logits, q_shift, q_scale, shift, scale, scope, covered)
        if covered is not None:
            scope = scope * (1 - covered.share)
        return (state, box, explained, scope), found


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
            places, features = attention.PlaceEncoder(config, name="places")(images)
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
        deep = None if box.covered is None else depth(box.covered, config)
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
            latents=Latents(box.shift, box.scale, appearance, background, deep),
            background=q_background,
        )


def _sample(q: Gaussian, noise: jax.Array) -> jax.Array:
    return q.loc + q.std * noise


def _flat(windows: jax.Array) -> jax.Array:
    """[B, ...] -> [B, F]."""
    return windows.reshape(len(windows), -1)
