"""q(z, n | x): one step written plainly, scanned K times (Eqn. 5 of the paper)."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from asr_jax import boxes, spatial
from asr_jax.config import ModelConfig
from asr_jax.distributions import known_presence
from asr_jax.networks import MLP, GaussianHead, LSTMStep, encode_image, lstm_start
from asr_jax.types import Gaussian, Latents, Noise, Posterior


def draw_noise(keys: jax.Array, config: ModelConfig) -> Noise:
    """Noise of one posterior sample; keys: [B], one an image, so that a batch can be split."""

    def one(key):
        presence, rest = jax.random.split(key)
        steps, code = config.max_objects, config.appearance
        normal = jax.random.normal(rest, (steps, 3 + code))
        return Noise(
            presence=jax.random.logistic(presence, (steps,)),
            shift=normal[:, :2],
            scale=normal[:, 2:3],
            appearance=normal[:, 3:],
        )

    return jax.vmap(one)(keys)


def no_noise(batch: int, config: ModelConfig) -> Noise:
    """Zeros: the latents are then the means of the posterior's Gaussians, step after step."""
    shape = (batch, config.max_objects)
    return Noise(
        presence=jnp.zeros(shape),
        shift=jnp.zeros(shape + (2,)),
        scale=jnp.zeros(shape + (1,)),
        appearance=jnp.zeros(shape + (config.appearance,)),
    )


class InferenceStep(nn.Module):
    """One look at the image: is there one more object, where, how large, what does it show?"""

    config: ModelConfig

    @nn.compact
    def __call__(self, carry, noise: Noise, image_gates: jax.Array, images: jax.Array):
        """carry: (LSTM state, previous latents [B, 3 + D]); noise of this step [B, ...]."""
        config = self.config
        state, previous = carry
        state = LSTMStep(config.lstm, name="lstm")(state, previous, image_gates)
        h = state[1]  # [B, F]

        if config.count is None:
            hidden = nn.relu(nn.Dense(config.head, name="presence_hidden")(h))
            logits = nn.Dense(1, name="presence")(hidden)[:, 0]  # [B]
        else:
            logits = jnp.zeros(h.shape[:1])  # set by `known_presence` after the scan

        q_shift = GaussianHead(2, config.head, (0.0, 0.5), name="shift")(h)
        shift = _sample(q_shift, noise.shift)

        mean, variance = config.scale_prior
        scale_head = GaussianHead(1, config.head, (mean, variance**0.5), name="scale")
        seen = [h, shift]
        if config.scale_glimpse:  # how large an object is, is best seen from where it is
            side = boxes.side(jnp.full_like(noise.scale, mean)) * config.scale_glimpse
            look = spatial.read(images, boxes.centre(shift), side, config.window)
            seen.append(look.reshape(look.shape[0], -1))
        q_scale = scale_head(jnp.concatenate(seen, axis=-1))
        scale = _sample(q_scale, noise.scale)

        q_appearance = encode_glimpse(images, shift, scale, config)
        appearance = _sample(q_appearance, noise.appearance)

        posterior = Posterior(
            presence_logits=logits,
            presence_noise=noise.presence,
            shift=q_shift,
            scale=q_scale,
            appearance=q_appearance,
            latents=Latents(shift, scale, appearance),
        )
        return (state, jnp.concatenate([shift, scale, appearance], axis=-1)), posterior


class Inference(nn.Module):
    """The amortised posterior over K steps."""

    config: ModelConfig

    @nn.compact
    def __call__(self, images: jax.Array, noise: Noise) -> Posterior:
        """images: [B, H, W] in [0, 1] -> Posterior, [B, K, ...]."""
        config, batch = self.config, images.shape[0]
        # The image's share of the LSTM's input is the same at every step: project it once.
        features = encode_image(images, config)
        image_gates = nn.Dense(4 * config.lstm, use_bias=False, name="image")(features)

        steps = nn.scan(
            InferenceStep,
            variable_broadcast="params",
            split_rngs={"params": False},
            in_axes=(1, nn.broadcast, nn.broadcast),  # noise by step; image at every step
            out_axes=1,  # [B, K, ...]
            length=config.max_objects,
            unroll=config.max_objects,  # a short loop: XLA fuses across its steps
        )
        start = lstm_start(batch, config.lstm), jnp.zeros((batch, 3 + config.appearance))
        _, posterior = steps(config, name="step")(start, noise, image_gates, images)
        if config.count is not None:
            known = known_presence((config.count,), batch, config.max_objects)
            posterior = posterior.replace(presence_logits=known)
        return posterior


def encode_glimpse(images, shift, scale, config: ModelConfig) -> Gaussian:
    """q(appearance | glimpse at the box) of images [B, H, W] -> [B, D]. Call inside a module."""
    glimpse = spatial.read(images, boxes.centre(shift), boxes.side(scale), config.window)
    features = MLP(config.hidden, name="encoder")(glimpse.reshape(glimpse.shape[0], -1))
    return GaussianHead(config.appearance, name="appearance")(features)


class Appearance(nn.Module):
    """What `InferenceStep` says of an object whose box is known; its parameters are a part of that
    step's, under the same names."""

    config: ModelConfig

    @nn.compact
    def __call__(self, images: jax.Array, shift: jax.Array, scale: jax.Array) -> Gaussian:
        """images: [B, H, W]; shift [B, 2] and scale [B, 1] of one object -> [B, D]."""
        return encode_glimpse(images, shift, scale, self.config)


def _sample(q: Gaussian, noise: jax.Array) -> jax.Array:
    return q.loc + q.std * noise
