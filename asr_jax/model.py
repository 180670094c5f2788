"""The model: binds posterior, prior and decoder as pure functions of `params`."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from asr_jax import boxes, generative, inference, spatial
from asr_jax.distributions import CountChain
from asr_jax.types import Latents, ModelConfig, Posterior, Prior

Params = Any  # {"inference": ..., "prior": ..., "decoder": ...}

_jit = functools.partial(jax.jit, static_argnums=0)  # of a method: the model is static


@struct.dataclass
class Scene:
    """An explained or a dreamt image."""

    canvas: jax.Array  # [B, H, W] in [0, 1]
    count: jax.Array  # [B] number of objects
    boxes: jax.Array  # [B, K, 4] pixels; those from `count` on mean nothing


@dataclasses.dataclass(frozen=True)
class Model:
    """Pure, jitted functions that share one static configuration; hashable, holds no parameters."""

    config: ModelConfig

    @_jit
    def init(self, key: jax.Array) -> Params:
        """Fresh parameters; the key is consumed."""
        keys = jax.random.split(key, 3)
        images = jnp.zeros((1, *self.config.canvas))
        noise = inference.no_noise(1, self.config)
        code = noise.appearance[:, 0]
        latents = Latents(noise.shift, noise.scale, noise.appearance)
        return {
            "inference": self._inference.init(keys[0], images, noise),
            "prior": self._prior.init(keys[1], latents),
            "decoder": self._decoder.init(keys[2], code),
        }

    @_jit
    def posterior(self, params: Params, keys: jax.Array | None, images: jax.Array) -> Posterior:
        """q(z, n | x) and one sample of its latents.

        Args:
          params: from `init` or training.
          keys: [B] random keys, one an image; None samples the means instead.
          images: [B, H, W] in [0, 1].
        """
        if keys is None:
            noise = inference.no_noise(images.shape[0], self.config)
        else:
            noise = inference.draw_noise(keys, self.config)
        return self._inference.apply(params["inference"], images, noise)

    @_jit
    def prior(
        self, params: Params, latents: Latents, presence_prior: jax.Array | None = None
    ) -> Prior:
        """p(z^t | z^{<t}) and p(n) along the given latents [B, K, ...].

        `presence_prior` replaces the geometric prior's log-odds of one more object.
        """
        return self._prior.apply(params["prior"], latents, presence_prior)

    @_jit
    def render(self, params: Params, latents: Latents) -> jax.Array:
        """Each object alone on its canvas: [B, K, H, W]."""
        windows = self._decoder.apply(params["decoder"], latents.appearance)  # [B, K, h, w]
        centre, side = boxes.centre(latents.shift), boxes.side(latents.scale)
        return spatial.write(windows, centre, side, self.config.canvas)

    @_jit
    def scene(self, params: Params, latents: Latents, count: jax.Array) -> Scene:
        """The first count[b] objects of each image, summed and clipped to [0, 1]."""
        objects = self.render(params, latents)
        exists = jnp.arange(self.config.max_steps)[None] < count[:, None]  # [B, K]
        canvas = jnp.einsum("bkhw,bk->bhw", objects, exists.astype(objects.dtype))
        return Scene(
            canvas=jnp.clip(canvas, 0, 1),
            count=count,
            boxes=boxes.latents_to_pixels(latents, self.config.canvas),
        )

    @_jit
    def reconstruct(self, params: Params, images: jax.Array) -> Scene:
        """The posterior's mode: the most likely n, and the Gaussians' means."""
        posterior = self.posterior(params, None, images)
        count = CountChain(posterior.presence_logits).mode()
        return self.scene(params, posterior.latents, count)

    @functools.partial(jax.jit, static_argnums=(0, 3), static_argnames="num")
    def sample(self, params: Params, key: jax.Array, num: int) -> Scene:
        """Ancestral samples of the generative model: n, z and the canvas's mean."""
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(num))
        latents, _, count = self.sample_latents(params, keys)
        return self.scene(params, latents, count)

    @_jit
    def sample_latents(self, params: Params, keys: jax.Array) -> tuple[Latents, Prior, jax.Array]:
        """z, the distributions it came from, and n; keys: [B], one a sample.

        Latents of all K steps are drawn; those beyond the count n [B] mean nothing.
        """
        keys = jax.vmap(jax.random.split)(keys)  # [B, 2]
        noise = inference.draw_noise(keys[:, 0], self.config)
        latents, prior = self._prior.apply(params["prior"], noise, method="sample")
        log_probs = CountChain(prior.presence_logits).log_probs  # [B, K+1]
        return latents, prior, jax.vmap(jax.random.categorical)(keys[:, 1], log_probs)

    @property
    def _inference(self):
        return inference.Inference(self.config)

    @property
    def _prior(self):
        return generative.prior_module(self.config)

    @property
    def _decoder(self):
        return generative.Decoder(self.config)
