"""The model: binds posterior, prior and decoder as pure functions of `params`."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from asr_jax import backgrounds, boxes, compositing, generative, inference, random_keys
from asr_jax.appearance import COVERS, Appearance, Cover, Covered, alike
from asr_jax.batches import checked, in_batches
from asr_jax.config import ModelConfig
from asr_jax.constraints.base import Constraint, check_constraints, default_weights
from asr_jax.distributions import CountChain
from asr_jax.images import check, to_float, warn_of_background
from asr_jax.types import Latents, Layers, Posterior, Prior, Scene, Windows

DARK = 1e-3  # light that is as good as none
Params = Any  # {"inference": ..., "prior": ..., "decoder": ...}

_jit = functools.partial(jax.jit, static_argnums=0)  # of a method: the model is static


@dataclasses.dataclass(frozen=True)
class Model:
    """Pure, jitted functions that share one static configuration; hashable, holds no parameters.

    Images come in through `asr_jax.images`: uint8, bool, or floats in [0, 1], [B, H, W], or
    [B, H, W, 3] in colour. Random functions take one key, whose noise follows an image's index, or
    one key an image.
    """

    config: ModelConfig

    @_jit
    def init(self, key: jax.Array) -> Params:
        """Fresh parameters; the key is consumed."""
        keys = jax.random.split(key, 3)
        images = jnp.zeros((1, *self.config.shape))
        noise = inference.no_noise(1, self.config)
        code = noise.appearance[:, 0]
        latents = Latents(noise.shift, noise.scale, noise.appearance)
        params = {
            "inference": self._inference.init(keys[0], images, noise),
            "prior": self._prior.init(keys[1], latents),
            "decoder": self._decoder.init(keys[2], code),
        }
        if self.config.background != "black":
            apart = jax.random.fold_in(key, 3)
            params["background"] = self._background.init(apart, noise.background)
        return params

    def posterior(
        self,
        params: Params,
        key: jax.Array | None,
        images: jax.Array,
        *,
        batch_size: int | None = None,
    ) -> Posterior:
        """q(z, n | x) and one sample of its latents.

        Args:
          params: from `init` or training.
          key: one random key, or [B]; None samples the means instead.
          images: [B, H, W], or [B, H, W, 3] in colour, any number.
          batch_size: images at a time (static), for memory that does not grow with B beyond what
            comes in and goes out; None: all at once.

        Raises:
          ValueError: images or keys that do not fit, a batch_size below 1.
        """
        images = self.check(images)
        keys = None if key is None else random_keys.per_image(key, len(images))
        return self._posterior(params, keys, images, checked(batch_size))

    @functools.partial(jax.jit, static_argnums=(0, 4))
    def _posterior(self, params, keys, images, batch_size):
        def one_batch(keys, pixels):
            if keys is None:
                noise = inference.no_noise(len(pixels), self.config)
            else:
                noise = inference.draw_noise(keys, self.config)
            module = inference.Inference(self.config, self.cover(params))
            return module.apply(params["inference"], to_float(pixels), noise)

        return in_batches(one_batch, batch_size, keys, images)

    def cover(self, params: Params) -> Cover | None:
        """What an object covers whose box is known, at its mean appearance; see `appearance.Cover`.

        Of light that adds up, the share of it; else pixels that have the object's colour: what lies
        in front of it, and is found later, stays in sight.

        None where no object lies over another.
        """
        if not self.config.scoped:
            return None
        params = jax.lax.stop_gradient(params)
        look = {"params": params["inference"]["params"]["appearance"]}

        def cover(planes, shift, scale):
            planes, shift, scale = jax.lax.stop_gradient((planes, shift[:, None], scale[:, None]))
            q = Appearance(self.config).apply(look, planes, shift, scale)
            latents = Latents(shift, scale, q.loc)
            layers = self.layers(params, latents)
            alpha, light = layers.alpha[:, 0], layers.light[:, 0]
            if self.config.compositing == "sum":
                return Covered(jnp.minimum(alpha / (backgrounds.bright(planes) + DARK), 1))
            colour = light / (alpha[:, None] + DARK)  # [B, C, H, W]
            apart = jnp.square(planes[:, :-1] - colour).sum(1)
            noise = backgrounds.noise(planes)[:, None, None]
            return Covered(alpha * alike(apart, COVERS, noise), alpha, apart)

        return cover

    def refine(
        self,
        params: Params,
        images: jax.Array,
        posterior: Posterior,
        *,
        steps: int = 50,
        moves: int = 1,
        constraints: Sequence[Constraint] = (),
        weights: Mapping[str, jax.Array] | None = None,
        learning_rate: float = 0.02,
        batch_size: int | None = 250,
    ) -> Posterior:
        """The posterior with means of shift and scale that the objective likes better.

        In `moves` rounds each object is tried at the place that holds most of the light which the
        others leave unexplained, and stays there if ELBO - penalty rises. Then Adam climbs that
        objective. It is taken at the means and exact in n; no image ends lower than it began.
        Counts and standard deviations stay, and appearance is encoded anew.

        Args:
          params: from `init` or training; they stay.
          images: [B, H, W], or [B, H, W, 3] in colour, any number.
          posterior: of these images, best at its means, `posterior(params, None, images)`. The
            sample that is returned has the noise of this one's, and means if it has none.
          steps: of Adam (static); 0: none.
          moves: rounds over the K objects (static); 0: none.
          constraints: of the objective (static). Those on the mean of a batch (`of_mean`) are left
            out: images do not depend on each other.
          weights: a multiplier for each, traced; None: those that they carry.
          learning_rate: of Adam, in shift and scale before tanh and sigmoid; traced.
          batch_size: as in `posterior`.

        Raises:
          ValueError: images that do not fit; a posterior of another number of them; steps or moves
            below 0 or not whole; a learning rate that is not above 0; a constraint without a
            weight, or a weight without a constraint; a batch_size below 1.
        """
        from asr_jax import refinement  # which is built on models

        return refinement.refine(
            params,
            images,
            posterior,
            model=self,
            steps=steps,
            moves=moves,
            constraints=constraints,
            weights=weights,
            learning_rate=learning_rate,
            batch_size=batch_size,
        )

    @_jit
    def prior(
        self, params: Params, latents: Latents, presence_prior: jax.Array | None = None
    ) -> Prior:
        """p(z^t | z^{<t}) and p(n) along the given latents [B, K, ...].

        `presence_prior` replaces the geometric prior's log-odds of one more object.
        """
        return self._prior.apply(params["prior"], latents, presence_prior)

    @_jit
    def decoded(self, params: Params, posterior: Posterior) -> Posterior:
        """The posterior with the `windows` of its sample; as it is if it has them."""
        if posterior.windows is not None:
            return posterior
        return posterior.replace(windows=self.windows(params, posterior.latents))

    @_jit
    def windows(self, params: Params, latents: Latents) -> Windows:
        """What is in the boxes: [B, K, h, w]."""
        return self._decoder.apply(params["decoder"], latents.appearance)

    @_jit
    def layers(self, params: Params, latents: Latents, windows: Windows | None = None) -> Layers:
        """Each object alone on its canvas; `windows` if they are known already."""
        if windows is None:
            windows = self.windows(params, latents)
        return compositing.draw(windows, latents, self.config.canvas)

    def render(self, params: Params, latents: Latents) -> jax.Array:
        """The light of each object alone on black: [B, K, H, W] or [B, K, H, W, C]."""
        return compositing.channels_last(self.layers(params, latents).light)

    @_jit
    def background(self, params: Params, latents: Latents) -> jax.Array | None:
        """What lies behind the objects: [B, C, H, W], or None where light adds up on black."""
        config = self.config
        if config.background != "black":
            return self._background.apply(params["background"], latents.background)
        if config.compositing == "over":
            return jnp.zeros((len(latents.shift), config.channels, *config.canvas))
        return None

    @_jit
    def scene(
        self, params: Params, latents: Latents, count: jax.Array, windows: Windows | None = None
    ) -> Scene:
        """The first count[b] objects of each image together, clipped to [0, 1]."""
        exists = jnp.arange(self.config.max_objects)[None] < count[:, None]  # [B, K]
        layers = self.layers(params, latents, windows)
        layers = compositing.exist(layers, exists.astype(layers.alpha.dtype))
        every = (self.config.max_objects,)
        canvas = compositing.canvases(layers, self.background(params, latents), every)[:, 0]
        return Scene(
            canvas=jnp.clip(canvas, 0, 1),
            count=count,
            boxes=boxes.latents_to_pixels(latents, self.config.canvas),
            mask=compositing.mask(layers, self.config.compositing),
        )

    def reconstruct(
        self,
        params: Params,
        images: jax.Array,
        *,
        batch_size: int = 250,
        refine: int = 0,
        constraints: Sequence[Constraint] = (),
    ) -> Scene:
        """The posterior's mode: the most likely n, and the Gaussians' means.

        `images` [B, H, W(, 3)], any number; `batch_size` (static) of them at a time. With `refine`
        steps the means are those of `refine`, whose objective has these constraints with the
        weights that they carry.

        Raises:
          ValueError: images that do not fit, a batch_size below 1, and as `refine`.
        """
        images, constraints = self.check(images), check_constraints(constraints)
        weights = default_weights(constraints)
        return self._reconstruct(params, images, checked(batch_size), refine, constraints, weights)

    @functools.partial(jax.jit, static_argnums=(0, 3, 4, 5))
    def _reconstruct(self, params, images, batch_size, refine, constraints, weights):
        def one_batch(pixels):
            posterior = self._posterior(params, None, pixels, None)
            if refine:
                posterior = self.refine(
                    params,
                    pixels,
                    posterior,
                    steps=refine,
                    constraints=constraints,
                    weights=weights,
                    batch_size=None,
                )
            count = CountChain(posterior.presence_logits).mode()
            return self.scene(params, posterior.latents, count)

        return in_batches(one_batch, batch_size, images)

    def check(self, images: jax.Array) -> jax.Array:
        """Images as they are, once they fit this model; see `asr_jax.images.check`."""
        return check(images, self.config.canvas, channels=self.config.channels)

    def warn_of_background(self, images: jax.Array, name: str = "images") -> None:
        """Warns of images that cannot be explained without a background; once for a data set."""
        if self.config.background == "black":
            warn_of_background(images, name)

    def sample(self, params: Params, key: jax.Array, num: int) -> Scene:
        """`num` (static) ancestral samples of the generative model: n, z and the canvas's mean.

        Raises:
          ValueError: fewer than one; keys that are neither one nor `num`.
        """
        if num < 1:
            raise ValueError(f"num must be at least 1, got {num}")
        return self._sample(params, random_keys.per_image(key, num))

    @_jit
    def _sample(self, params, keys):
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
        latents = latents.replace(background=noise.background)  # of N(0, 1)
        if self.config.compositing == "over":
            latents = latents.replace(depth=inference.draw_depth(keys[:, 1], self.config))
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

    @property
    def _background(self):
        return backgrounds.Decoder(self.config)
