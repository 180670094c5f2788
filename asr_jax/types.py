"""Structs that cross a module boundary, and the letters used for their axes.

B images, K steps, H x W canvas, h x w window, D appearance code, N = number of possible counts.
Everything that leaves a module is batch first, `[B, K, ...]`. Log-densities are in nats.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from numbers import Integral, Real

import jax
from flax import struct

ENCODERS = ("patches", "raw")
PRIORS = ("fixed", "learned")
LIKELIHOODS = ("bernoulli", "gaussian")
ESTIMATORS = ("marginal", "concrete")
MAX_STEPS = 100  # steps are unrolled: more would compile for hours
MAX_SIZE = 2**16  # of a layer or a window: the product of three still fits an index


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
    # Side of a second glimpse, at the inferred centre, that the scale is inferred from; in sides
    # that the prior expects. 0: none, the scale sees what the LSTM sees.
    scale_glimpse: float = 0.0
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
        if not 1 <= self.max_steps <= MAX_STEPS:
            raise ValueError(f"model.max_steps must lie in 1..{MAX_STEPS}, got {self.max_steps}")
        for field in ("window", "appearance", "lstm", "head"):
            if not 1 <= getattr(self, field) <= MAX_SIZE:
                raise ValueError(
                    f"model.{field} must lie in 1..{MAX_SIZE}, got {getattr(self, field)}"
                )
        for field, low in (("sigma", 1e-6), ("temperature", 1e-6), ("presence_prior", -1e6)):
            if not low <= getattr(self, field) <= 1e6:  # what float32 can square or invert
                raise ValueError(
                    f"model.{field} must lie in [{low:g}, {1e6:g}], got {getattr(self, field)}"
                )
        if not 0 <= self.scale_glimpse <= 100:
            raise ValueError(
                f"model.scale_glimpse must lie in [0, 100], got {self.scale_glimpse}: 0 is none"
            )
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
        if not whole(self.possible_counts):
            raise ValueError(
                f"model.possible_counts must be whole numbers, got {self.possible_counts}"
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
        largest = MAX_SIZE if self.encoder == "patches" else 0
        if not 0 <= self.encoder_hidden <= largest:
            raise ValueError(
                f"model.encoder_hidden must be 0, or up to {MAX_SIZE} with model.encoder='patches',"
                f" got {self.encoder_hidden} with encoder={self.encoder!r}: set it 0"
            )
        sizes = self.hidden if whole(self.hidden) else ()
        if not sizes or min(sizes) < 1 or max(sizes) > MAX_SIZE:
            raise ValueError(f"model.hidden needs sizes in 1..{MAX_SIZE}, got {self.hidden}")
        if self.count is not None and self.count < 0:
            raise ValueError(f"model.count must be at least 0, or None, got {self.count}")
        if len(self.canvas) != 2 or min(self.canvas) < 2:
            raise ValueError(f"model.canvas must be (height, width) >= 2, got {self.canvas}")
        prior = self.scale_prior
        pair = len(prior) == 2 and all(isinstance(value, Real) for value in prior)
        # Beyond these a side is less than a ten-thousandth of the canvas or all of it, and the
        # standard deviation falls below the least that networks put out.
        if not pair or not (-10 <= prior[0] <= 10 and 1e-6 <= prior[1] <= 100):
            raise ValueError(
                "model.scale_prior must be (mean, variance), a mean in [-10, 10] and a variance in "
                f"[1e-6, 100], got {prior}"
            )
        if self.count is not None and self.count > self.max_steps:
            raise ValueError(
                f"model.max_steps must be at least model.count={self.count}, got "
                f"{self.max_steps}: set model.max_steps={self.count} or more"
            )

    @property
    def counts(self) -> tuple[int, ...]:
        """The counts n that the objective sums over, one where it is known, else 0..K."""
        return tuple(range(self.max_steps + 1)) if self.count is None else (self.count,)


def whole(values: Iterable) -> bool:
    """Whether all are whole numbers; True is none."""
    return all(isinstance(v, Integral) and not isinstance(v, bool) for v in values)


@struct.dataclass
class Gaussian:
    """A diagonal Gaussian as plain arrays: distributions cannot leave a scan, arrays can."""

    loc: jax.Array  # [..., D]
    std: jax.Array  # [..., D]


@struct.dataclass
class Latents:
    """What is sampled for each object, before tanh and sigmoid (`boxes.py` maps it to pixels)."""

    shift: jax.Array  # [B, K, 2]  tanh(shift) = centre (x, y) in [-1, 1]
    scale: jax.Array  # [B, K, 1]  sigmoid(scale) = side as a fraction of the shorter edge
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
