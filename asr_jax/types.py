"""Structs that cross a module boundary, and the letters used for their axes.

B images, K steps, H x W canvas, h x w window, D appearance code, N = number of possible counts.
Everything that leaves a module is batch first, `[B, K, ...]`. Log-densities are in nats.
"""

from __future__ import annotations

import dataclasses

import jax
from flax import struct

ENCODERS = ("patches", "raw")
PRIORS = ("fixed", "learned")
LIKELIHOODS = ("bernoulli", "gaussian")
ESTIMATORS = ("marginal", "concrete")


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Everything that defines the model; hashable, so that a model can be a static argument.

    Raises:
      ValueError: when a value breaks its rule; the message names value, rule and remedy.
    """

    canvas: tuple[int, int] = (50, 50)  # (H, W) in pixels
    max_steps: int = 3  # K: the posterior looks at an image at most so often
    count: int | None = None  # number of objects where it is known; None: inferred
    window: int = 28  # h = w of the glimpse and of a decoded object, pixels
    appearance: int = 50  # D: size of the appearance code
    lstm: int = 256  # units of both LSTMs
    hidden: tuple[int, ...] = (512, 256)  # appearance encoder; the decoder mirrors it
    head: int = 64  # units of the hidden layer of every small head
    encoder: str = "patches"  # what the posterior's LSTM sees: "patches" or "raw" pixels
    encoder_hidden: int = 0  # units of a dense layer after the patches; 0: none
    prior: str = "learned"  # "fixed": independent objects; "learned": an LSTM
    learned_scale: bool = False  # the learned prior also moves p(scale | shift)
    scale_prior: tuple[float, float] = (-1.0, 0.05)  # mean, variance of the side before sigmoid
    # p(n) where the count is inferred: a learned prior learns it, a fixed one is geometric, or
    # uniform over the possible counts if they are named.
    presence_prior: float = 0.0  # log-odds of one more object in the geometric prior
    possible_counts: tuple[int, ...] = ()
    likelihood: str = "bernoulli"  # of a pixel given the canvas: "bernoulli" or "gaussian"
    sigma: float = 0.3  # standard deviation of the Gaussian likelihood
    # A pixel's Bernoulli probability keeps this distance from 0 and 1. Without one, a grey pixel
    # outside every window costs infinitely many nats; a tiny one makes gradients spike.
    epsilon: float = 1e-3
    estimator: str = "marginal"  # "marginal": exact in n; "concrete": relaxed presence
    temperature: float = 0.1  # of the relaxed presence

    def __post_init__(self):
        for field in ("canvas", "hidden", "scale_prior", "possible_counts"):  # lists would not hash
            object.__setattr__(self, field, tuple(getattr(self, field)))
        for field, allowed in (
            ("encoder", ENCODERS),
            ("prior", PRIORS),
            ("likelihood", LIKELIHOODS),
            ("estimator", ESTIMATORS),
        ):
            value = getattr(self, field)
            if value not in allowed:
                raise ValueError(
                    f"model.{field} must be one of {', '.join(allowed)}, got {value!r}"
                )
        for field in ("max_steps", "window", "appearance", "lstm", "head"):
            if getattr(self, field) < 1:
                raise ValueError(f"model.{field} must be at least 1, got {getattr(self, field)}")
        for field in ("sigma", "temperature"):
            if not getattr(self, field) > 0:
                raise ValueError(f"model.{field} must be positive, got {getattr(self, field)}")
        if not 1e-7 <= self.epsilon < 0.5:  # below that, 1 - epsilon is 1 in float32
            raise ValueError(f"model.epsilon must lie in [1e-7, 0.5), got {self.epsilon}")
        if self.learned_scale and self.prior != "learned":
            raise ValueError(
                f"model.learned_scale needs model.prior='learned', got {self.prior!r}: set it False"
            )
        if self.possible_counts and (self.prior != "fixed" or self.count is not None):
            raise ValueError(
                "model.possible_counts is the fixed prior over a count that is inferred, got it "
                f"with prior={self.prior!r} and count={self.count}: leave it empty"
            )
        outside = [n for n in self.possible_counts if not 0 <= n <= self.max_steps]
        if outside:
            raise ValueError(
                f"model.possible_counts must lie in 0..K={self.max_steps}, got {outside[0]}: "
                "raise model.max_steps, or leave it out"
            )
        if len(set(self.possible_counts)) < len(self.possible_counts):
            raise ValueError(
                f"model.possible_counts must name each count once, got {self.possible_counts}"
            )
        if self.encoder_hidden < 0 or (self.encoder_hidden and self.encoder != "patches"):
            raise ValueError(
                "model.encoder_hidden must be 0, or above with model.encoder='patches', got "
                f"{self.encoder_hidden} with encoder={self.encoder!r}: set it 0"
            )
        if not self.hidden or min(self.hidden) < 1:
            raise ValueError(f"model.hidden needs sizes of at least 1, got {self.hidden}")
        if self.count is not None and self.count < 0:
            raise ValueError(f"model.count must be at least 0, or None, got {self.count}")
        if len(self.canvas) != 2 or min(self.canvas) < 2:
            raise ValueError(f"model.canvas must be (height, width) >= 2, got {self.canvas}")
        if not self.scale_prior[1] > 0:
            raise ValueError(f"model.scale_prior needs a variance > 0, got {self.scale_prior}")
        if self.count is not None and self.count > self.max_steps:
            raise ValueError(
                f"model.max_steps must be at least model.count={self.count}, got "
                f"{self.max_steps}: set model.max_steps={self.count} or more"
            )

    @property
    def counts(self) -> tuple[int, ...]:
        """The counts n that the objective sums over: one where it is known, else 0..K."""
        return tuple(range(self.max_steps + 1)) if self.count is None else (self.count,)


@struct.dataclass
class Gaussian:
    """A diagonal Gaussian as plain arrays: distributions cannot leave a scan, arrays can."""

    loc: jax.Array  # [..., D]
    std: jax.Array  # [..., D]


@struct.dataclass
class Latents:
    """What is sampled for each object, before tanh and sigmoid (`boxes.py` maps it to pixels)."""

    shift: jax.Array  # [B, K, 2]  tanh(shift) = centre (x, y) in [-1, 1]
    scale: jax.Array  # [B, K, 1]  sigmoid(scale) = side as a fraction of the canvas
    appearance: jax.Array  # [B, K, D]


@struct.dataclass
class Noise:
    """The randomness of one posterior sample; zeros give the means of the Gaussians."""

    presence: jax.Array  # [B, K]  standard logistic
    shift: jax.Array  # [B, K, 2]  standard normal, as the next two
    scale: jax.Array  # [B, K, 1]
    appearance: jax.Array  # [B, K, D]


@struct.dataclass
class Posterior:
    """q(z, n | x), with one sample of the continuous latents of all K steps.

    The sample is drawn as if every step had an object: given that step t is reached,
    q(z^t | z^{<t}, x) does not depend on what comes later.
    """

    presence_logits: jax.Array  # [B, K]  log-odds of one more object at step t
    presence_noise: jax.Array  # [B, K]  what the relaxed presence is sampled with
    shift: Gaussian  # [B, K, 2]
    scale: Gaussian  # [B, K, 1]
    appearance: Gaussian  # [B, K, D]
    latents: Latents


@struct.dataclass
class Prior:
    """p(z, n), each step conditioned on the latents of the steps before it."""

    presence_logits: jax.Array  # [B, K]
    shift: Gaussian  # [B, K, 2]
    scale: Gaussian  # [B, K, 1]
    appearance: Gaussian  # [B, K, D]


@struct.dataclass
class Terms:
    """The objective taken apart, one value an image, in nats (constraints: in their own unit)."""

    elbo: jax.Array  # [B]  log_likelihood - kl_count - kl_shift - kl_scale - kl_appearance
    log_likelihood: jax.Array  # [B]  E_q log p(x | z, n)
    kl_count: jax.Array  # [B]
    kl_shift: jax.Array  # [B]
    kl_scale: jax.Array  # [B]
    kl_appearance: jax.Array  # [B]
    penalty: jax.Array  # [B]  sum_i weight_i max(F_i, 0)
    prior_penalty: jax.Array  # [B]  the same of a sample of the prior, with weights of its own
    constraints: dict[str, jax.Array]  # F_i of the posterior, each [B]
