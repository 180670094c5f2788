"""p(x, z, n): priors over latents and count, the decoder, and the likelihood (Eqn. 4 of the paper).

`FixedPrior` and `LearnedPrior` are called alike: latents in, `Prior` out, where step t is
conditioned on the latents of the steps before it; `sample` draws ancestrally.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.scipy.stats import norm

from asr_jax import backgrounds
from asr_jax.compositing import canvases, one_by_one, over
from asr_jax.config import ModelConfig
from asr_jax.distributions import known_presence
from asr_jax.networks import ACTIVATIONS, MLP, GaussianHead, LSTMStep, lstm_start
from asr_jax.placement import Placement
from asr_jax.types import Gaussian, Latents, Layers, Noise, Posterior, Prior, Windows


class FixedPrior(nn.Module):
    """Independent objects: shift ~ N(0, 1), scale ~ N(scale_prior), appearance ~ N(0, 1).

    n is known, or uniform over the possible counts, or geometric (cut off at K).
    """

    config: ModelConfig

    def __call__(self, latents: Latents, presence_prior: jax.Array | None = None) -> Prior:
        """latents of [B, K] objects, of which only the shapes matter here.

        `presence_prior` replaces the geometric prior's log-odds.
        """
        config = self.config
        shape = latents.shift.shape[:-1]
        if config.count is not None:
            logits = known_presence((config.count,), *shape)
        elif config.possible_counts:
            logits = known_presence(config.possible_counts, *shape)
        else:
            log_odds = config.presence_prior if presence_prior is None else presence_prior
            logits = jnp.full(shape, log_odds)
        return Prior(
            presence_logits=logits,
            shift=standard(shape + (2,)),
            scale=_scale_prior(config, shape + (1,)),
            appearance=standard(latents.appearance.shape),
        )

    def sample(self, noise: Noise) -> tuple[Latents, Prior]:
        """Latents from noise [B, K, ...], and the distributions they came from."""
        prior = self(Latents(noise.shift, noise.scale, noise.appearance))
        return _sample(prior, noise), prior


class LearnedPrior(nn.Module):
    """An LSTM over objects: p(n), p(scale^t | z^{<t}), p(shift^t | scale^t, z^{<t}).

    Appearance is N(0, 1).

    A place has a Gaussian, or a density that knows what a box has to do with earlier ones and with
    the canvas: `place_prior`.

    With `learned_scale=False` the scale keeps the fixed prior: where nothing else constrains
    sizes, a learned one drifts to boxes that cover everything.
    """

    config: ModelConfig

    def setup(self):
        config = self.config
        mean, variance = config.scale_prior
        self.gates = nn.Dense(4 * config.lstm)
        self.lstm = LSTMStep(config.lstm)
        if config.place_prior == "relations":
            self.place = Placement(config.canvas)
        else:
            self.shift = GaussianHead(2, config.head)
        if config.learned_scale:
            self.scale = GaussianHead(1, config.head, (mean, variance**0.5))
        if config.count is None:
            self.presence = nn.Sequential([nn.Dense(config.head), nn.relu, nn.Dense(1)])

    def _scale(self, h) -> Gaussian:
        if self.config.learned_scale:
            return self.scale(h)
        return _scale_prior(self.config, h.shape[:-1] + (1,))

    def __call__(self, latents: Latents, presence_prior: jax.Array | None = None) -> Prior:
        """p(. | z^{<t}) on given latents: the LSTM runs over them, shifted by one step.

        `presence_prior` is the fixed prior's: p(n) is learned here.
        """
        config = self.config
        spatial_latents = jnp.concatenate([latents.shift, latents.scale], axis=-1)  # [B, K, 3]
        batch, steps = spatial_latents.shape[:2]
        # Nothing comes before the first object, in any image: its state is computed once.
        state = self.lstm(lstm_start(1, config.lstm), self.gates(jnp.zeros((1, 3))))
        h = [jnp.broadcast_to(state[1], (batch, config.lstm))]
        gates = self.gates(spatial_latents[:, :-1])  # [B, K - 1, 4F], of all other steps at once
        for t in range(steps - 1):  # K is small: a plain loop is an unrolled scan
            state = self.lstm(state, gates[:, t])
            h.append(state[1])
        h = jnp.stack(h, axis=1)  # [B, K, F]
        if config.count is not None:
            logits = known_presence((config.count,), batch, steps)
        else:
            logits = self.presence(h)[..., 0]
        if config.place_prior == "relations":
            shift = self.place(h, latents.shift, latents.scale)
        else:
            shift = self.shift(h)
        return Prior(
            presence_logits=logits,  # [B, K]
            shift=shift,
            scale=self._scale(h),
            appearance=standard(latents.appearance.shape),
        )

    def sample(self, noise: Noise) -> tuple[Latents, Prior]:
        """Ancestral latents from noise [B, K, ...], and the distributions they came from."""
        batch, steps = noise.shift.shape[:2]
        state, previous = lstm_start(batch, self.config.lstm), jnp.zeros((batch, 3))
        shift, scale = jnp.zeros((batch, 0, 2)), jnp.zeros((batch, 0, 1))
        for t in range(steps):
            state = self.lstm(state, self.gates(previous))
            h = state[1]
            p_scale = self._scale(h)
            new_scale = p_scale.loc + p_scale.std * noise.scale[:, t]
            if self.config.place_prior == "relations":
                where, which = norm.cdf(noise.shift[:, t]), nn.sigmoid(noise.presence[:, t])
                new_shift = self.place.draw(h, new_scale, (shift, scale), where, which)
            else:
                p_shift = self.shift(h)
                new_shift = p_shift.loc + p_shift.std * noise.shift[:, t]
            previous = jnp.concatenate([new_shift, new_scale], axis=-1)
            shift = jnp.concatenate([shift, new_shift[:, None]], axis=1)
            scale = jnp.concatenate([scale, new_scale[:, None]], axis=1)
        latents = Latents(shift, scale, noise.appearance)
        return latents, self(latents)


class Decoder(nn.Module):
    """Appearance codes [..., D] -> windows [..., h, w]."""

    config: ModelConfig

    @nn.compact
    def __call__(self, appearance: jax.Array) -> Windows:
        window = self.config.window
        x = MLP(self.config.hidden[::-1], ACTIVATIONS[self.config.activation])(appearance)
        # Start dark: a canvas of half-lit windows would be clipped at 1 where they meet.
        dark = nn.initializers.constant(-2.0)
        logits = nn.Dense(window * window, bias_init=dark)(x)
        alpha = nn.sigmoid(logits).reshape(appearance.shape[:-1] + (window, window))
        if self.config.channels == 1 and self.config.compositing == "sum":
            return Windows(alpha, border=self.config.border)
        channels, cells = self.config.channels, self.config.texture
        colour = nn.sigmoid(nn.Dense(channels * cells * cells, name="colour")(x))
        colour = colour.reshape(appearance.shape[:-1] + (channels, cells, cells))
        if cells > 1:
            colour = backgrounds.enlarged(colour, (window, window))
        return Windows(alpha, colour, self.config.border)


def as_posterior(prior: Prior, latents: Latents, windows: Windows | None = None) -> Posterior:
    """A sample of the prior in the struct that constraints look at."""
    return Posterior(
        presence_logits=prior.presence_logits,
        presence_noise=jnp.zeros_like(prior.presence_logits),
        shift=prior.shift,
        scale=prior.scale,
        appearance=prior.appearance,
        latents=latents,
        windows=windows,
    )


def prior_module(config: ModelConfig) -> nn.Module:
    """The prior that the configuration asks for."""
    return {"fixed": FixedPrior, "learned": LearnedPrior}[config.prior](config)


def log_likelihood(images: jax.Array, canvas: jax.Array, config: ModelConfig) -> jax.Array:
    """log p(x | canvas), summed over pixels.

    Args:
      images: [B, H, W] or [B, H, W, C] in [0, 1].
      canvas: [B, N, H, W] or [B, N, H, W, C]; sums of windows may exceed 1.

    Returns:
      [B, N] in nats. The Bernoulli one is minus the cross-entropy of grey pixels with the canvas,
      clipped to [epsilon, 1 - epsilon]; the Gaussian one takes the canvas as it is.
    """
    x = images[:, None]
    if config.likelihood == "gaussian":
        z = (x - canvas) / config.sigma
        log_p = -0.5 * z**2 - jnp.log(config.sigma * jnp.sqrt(2 * jnp.pi))
    else:
        p = jnp.clip(canvas, config.epsilon, 1 - config.epsilon)
        log_p = x * jnp.log(p) + (1 - x) * jnp.log1p(-p)
    return log_p.sum(range(2, log_p.ndim))


def log_likelihoods(
    images: jax.Array, layers: Layers, background: jax.Array | None, config: ModelConfig
) -> jax.Array:
    """log p(x | the first n of the objects) for n in `config.counts`: [B, N], nats.

    Canvases of objects that lie over each other are drawn again for their gradient, which takes
    less time than to read what they were drawn from.
    """
    if background is None:
        return log_likelihood(images, canvases(layers, None, config.counts), config)
    planes = images[:, None] if images.ndim == 3 else jnp.moveaxis(images, -1, 1)
    objects = one_by_one(layers)

    @jax.checkpoint
    def first(objects, background):
        return log_likelihood(planes, over(objects, background)[:, None], config)[:, 0]

    return jnp.stack([first(objects[:n], background) for n in config.counts], axis=1)


def _sample(prior: Prior, noise: Noise) -> Latents:
    return Latents(
        shift=prior.shift.loc + prior.shift.std * noise.shift,
        scale=prior.scale.loc + prior.scale.std * noise.scale,
        appearance=prior.appearance.loc + prior.appearance.std * noise.appearance,
    )


def standard(shape) -> Gaussian:
    """N(0, 1) of a shape."""
    return Gaussian(jnp.zeros(shape), jnp.ones(shape))


def _scale_prior(config: ModelConfig, shape) -> Gaussian:
    mean, variance = config.scale_prior
    return Gaussian(jnp.full(shape, mean), jnp.full(shape, variance**0.5))
