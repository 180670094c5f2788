"""What a model and its optimiser are: frozen, hashable, and checked where they are made.

Messages begin with the field that breaks its rule.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from numbers import Integral, Real
from typing import Any

ENCODERS = ("attention", "patches", "raw")
PRIORS = ("fixed", "learned")
PLACE_PRIORS = ("gaussian", "relations")
BACKGROUNDS = ("black", "colour", "image")
COMPOSITINGS = ("sum", "over")
LIKELIHOODS = ("bernoulli", "gaussian")
ACTIVATIONS = ("silu", "softplus")
ESTIMATORS = ("marginal", "concrete")
SCHEDULES = ("cosine", "constant")
MAX_OBJECTS = 100  # steps of inference are unrolled: more would compile for hours
MAX_BLOCKS = 8  # residual blocks: a place then sees all of a canvas of 80 pixels
MAX_SIZE = 2**16  # of a layer or a window: the product of three still fits an index


def from_fields(kind: type, fields: Mapping[str, Any]) -> Any:
    """A configuration from named fields, such as those of a file.

    Raises:
      ValueError: an unknown field, or a value that breaks its rule.
    """
    known = [field.name for field in dataclasses.fields(kind)]
    for name in sorted(set(fields) - set(known)):
        raise ValueError(f"{name} is an unknown field: the fields are {', '.join(known)}")
    return kind(**fields)


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Everything that defines the model; hashable, so that a model can be a static argument.

    Raises:
      ValueError: when a value breaks its rule; the message names value, rule and remedy.
    """

    canvas: tuple[int, int] = (50, 50)  # (H, W) in pixels
    channels: int = 1  # C: 1 for grey images [H, W], 3 for colours [H, W, 3]
    # What is behind the objects: nothing ("black"), one "colour", or an "image".
    background: str = "black"
    background_code: int = 8  # Z: size of the code of an "image"
    background_size: int = 8  # pixels along the edges of that image, before it is enlarged
    # How objects come together: light adds up ("sum"), or nearer ones lie "over" others.
    compositing: str = "sum"
    # Where light adds up, objects may lie over each other: the posterior then looks at what earlier
    # ones leave of it, as it always does with "over".
    overlap: bool = False
    texture: int = 1  # an object's colours are a grid of so many cells by as many, interpolated
    max_objects: int = 3  # K: the posterior looks at an image at most so often
    count: int | None = None  # number of objects where it is known; None: inferred
    window: int = 28  # h = w of the glimpse and of a decoded object, pixels
    # How far a window reaches beyond each edge of its box, in sides of the box: sampled at its own
    # edge, a window loses the ends of strokes, and boxes grow to keep them.
    border: float = 0.0
    appearance: int = 50  # D: size of the appearance code
    lstm: int = 256  # units of both LSTMs
    hidden: tuple[int, ...] = (512, 256)  # appearance encoder; the decoder mirrors it
    activation: str = "silu"  # of both; "softplus" is the paper's
    head: int = 64  # units of the hidden layer of every small head
    # How the posterior looks at an image: with "attention" over its places, or through an LSTM
    # alone, which sees "patches" or "raw" pixels.
    encoder: str = "attention"
    encoder_hidden: int = 0  # units of a dense layer after the patches; 0: none
    # Residual blocks of 3x3 convolutions over attention's places, which are then 4 pixels apart and
    # not 6. Where objects touch, and differ in colour alone, that is worth its time. 0: none.
    encoder_blocks: int = 0
    look: float = 1.8  # side of what attention sees around a centre, in sides the prior expects
    # How near votes count for the last of attention's mean shifts, in halves of that side; for the
    # first it is 1. Two objects that are nearer than twice that are one, unless it narrows.
    votes_within: float = 1.0
    # Side of a second glimpse, at the inferred centre, that the scale is inferred from; in sides
    # that the prior expects. 0: none, the scale sees what the LSTM sees.
    scale_glimpse: float = 0.0
    prior: str = "learned"  # "fixed": independent objects; "learned": an LSTM
    # The learned prior's p(shift): a "gaussian", or a density of "relations" to earlier boxes and
    # to the canvas, which can say "anywhere but there". A fixed prior has Gaussians.
    place_prior: str = "relations"
    learned_scale: bool = False  # the learned prior also moves p(scale)
    scale_prior: tuple[float, float] = (-1.0, 0.05)  # mean, variance of the side before sigmoid
    # p(n) where the count is inferred: a learned prior learns it, a fixed one is geometric, or
    # uniform over the possible counts if they are named.
    presence_prior: float = 0.0  # log-odds of one more object in the geometric prior
    possible_counts: tuple[int, ...] = ()
    # Where the count is inferred: the largest log-odds of one more object, either way, in the
    # posterior. 0: no bound.
    presence_bound: float = 0.0
    # Weight of the divergence of q(n) from the best count posterior of its sample: the ELBO's own
    # gradient vanishes where q(n) is sure of itself. 0: without.
    count_gap_weight: float = 0.0
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
        _one_of(self, "encoder", ENCODERS)
        _one_of(self, "activation", ACTIVATIONS)
        _one_of(self, "prior", PRIORS)
        _one_of(self, "place_prior", PLACE_PRIORS)
        _one_of(self, "background", BACKGROUNDS)
        _one_of(self, "compositing", COMPOSITINGS)
        _one_of(self, "likelihood", LIKELIHOODS)
        _one_of(self, "estimator", ESTIMATORS)
        for field in ("max_objects", "window", "appearance", "lstm", "head"):
            _whole_number(self, field)
        for field in ("encoder_hidden", "encoder_blocks"):
            _whole_number(self, field)
        if self.count is not None:
            _whole_number(self, "count")
        _within(self, "max_objects", 1, MAX_OBJECTS)
        for field in ("window", "appearance", "lstm", "head"):
            _within(self, field, 1, MAX_SIZE)
        for field, low in (("sigma", 1e-6), ("temperature", 1e-6), ("presence_prior", -1e6)):
            _within(self, field, low, 1e6)  # what float32 can square or invert
        _within(self, "scale_glimpse", 0, 100, "0 is none")
        _within(self, "look", 0.1, 100)
        _within(self, "votes_within", 0.1, 1)
        _within(self, "border", 0, 1)
        _within(self, "count_gap_weight", 0, 1e6, "0 is without")
        if self.presence_bound and not 1 <= self.presence_bound <= 100:  # 0.1 would decide nothing
            raise ValueError(
                f"presence_bound must be 0, for none, or in [1, 100], got {self.presence_bound}"
            )
        if not 1e-7 <= self.epsilon < 0.5:  # below that, 1 - epsilon is 1 in float32
            raise ValueError(f"epsilon must lie in [1e-7, 0.5), got {self.epsilon}")
        if len(self.canvas) != 2 or not whole(self.canvas) or min(self.canvas) < 2:
            raise ValueError(f"canvas must be (height, width) >= 2, got {self.canvas}")
        sizes = self.hidden if whole(self.hidden) else ()
        if not sizes or min(sizes) < 1 or max(sizes) > MAX_SIZE:
            raise ValueError(f"hidden needs sizes in 1..{MAX_SIZE}, got {self.hidden}")
        for field, encoder, largest in (
            ("encoder_hidden", "patches", MAX_SIZE),
            ("encoder_blocks", "attention", MAX_BLOCKS),
        ):
            value = getattr(self, field)
            if not 0 <= value <= (largest if self.encoder == encoder else 0):
                raise ValueError(
                    f"{field} must be 0, or up to {largest} with encoder={encoder!r}, got "
                    f"{value} with encoder={self.encoder!r}: set it 0"
                )
        self._check_colour()
        self._check_prior()
        self._check_counts()

    def _check_colour(self):
        if self.channels not in (1, 3):
            raise ValueError(f"channels must be 1 (grey) or 3 (colour), got {self.channels}")
        for field in ("background_code", "background_size", "texture"):
            _whole_number(self, field)
        _within(self, "texture", 1, self.window)
        if self.background == "image":
            _within(self, "background_code", self.channels, MAX_SIZE)  # its first are a colour
            _within(self, "background_size", 1, max(self.canvas))
        if self.background != "black" and self.compositing != "over":
            raise ValueError(
                f"background={self.background!r} needs compositing='over', got "
                f"{self.compositing!r}: light adds up in front of black only"
            )
        if self.compositing == "over" and self.estimator == "concrete":
            raise ValueError(
                "estimator='concrete' needs compositing='sum', got 'over': set estimator='marginal'"
            )
        settings = (self.channels, self.background, self.compositing, self.encoder)
        if self.overlap and settings != (1, "black", "sum", "attention"):
            raise ValueError(
                "overlap=True is for channels, background, compositing and encoder of 1, 'black', "
                f"'sum' and 'attention', got {settings}: set it False"
            )
        if self.coloured and self.encoder != "attention":
            raise ValueError(
                f"encoder={self.encoder!r} sees grey images on black alone, got "
                f"channels={self.channels} and background={self.background!r}: set "
                "encoder='attention'"
            )

    def _check_prior(self):
        prior = self.scale_prior
        pair = len(prior) == 2 and all(isinstance(value, Real) for value in prior)
        # Beyond these a side is less than a ten-thousandth of the canvas or all of it, and the
        # standard deviation falls below the least that networks put out.
        if not pair or not (-10 <= prior[0] <= 10 and 1e-6 <= prior[1] <= 100):
            raise ValueError(
                "scale_prior must be (mean, variance), a mean in [-10, 10] and a variance in "
                f"[1e-6, 100], got {prior}"
            )
        if self.learned_scale and self.prior != "learned":
            raise ValueError(
                f"learned_scale needs prior='learned', got {self.prior!r}: set it False"
            )

    def _check_counts(self):
        if self.count is not None and self.count < 0:
            raise ValueError(f"count must be at least 0, or None, got {self.count}")
        if self.count is not None and self.count > self.max_objects:
            raise ValueError(
                f"max_objects must be at least count={self.count}, got {self.max_objects}: set "
                f"max_objects={self.count} or more"
            )
        counts = self.possible_counts
        if counts and (self.prior != "fixed" or self.count is not None):
            raise ValueError(
                "possible_counts is the fixed prior over a count that is inferred, got it with "
                f"prior={self.prior!r} and count={self.count}: leave it empty"
            )
        if not whole(counts):
            raise ValueError(f"possible_counts must be whole numbers, got {counts}")
        for n in counts:
            if not 0 <= n <= self.max_objects:
                raise ValueError(
                    f"possible_counts must lie in 0..K={self.max_objects}, got {n}: raise "
                    "max_objects, or leave it out"
                )
        if len(set(counts)) < len(counts):
            raise ValueError(f"possible_counts must name each count once, got {counts}")

    @property
    def shape(self) -> tuple[int, ...]:
        """Of an image: (H, W), or (H, W, C)."""
        return self.canvas if self.channels == 1 else (*self.canvas, self.channels)

    @property
    def coloured(self) -> bool:
        """Whether brightness alone does not say where objects are."""
        return self.channels > 1 or self.background != "black"

    @property
    def scoped(self) -> bool:
        """Whether the posterior looks at what earlier objects leave in sight."""
        return self.overlap or (self.coloured and self.compositing == "over")

    @property
    def counts(self) -> tuple[int, ...]:
        """The counts n that the objective sums over: what is known, else what is possible."""
        if self.count is not None:
            return (self.count,)
        return tuple(sorted(self.possible_counts)) or tuple(range(self.max_objects + 1))


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """Adam with warm-up, decay, decoupled weight decay and clipping by the global norm.

    Raises:
      ValueError: when a value breaks its rule; the message names both.
    """

    learning_rate: float = 2e-3
    schedule: str = "cosine"  # after the warm-up: "cosine" decay to 0, or "constant"
    warmup: int = 300  # steps of linear warm-up
    clip: float = 1000.0  # largest global norm of the gradient, nats; 0: no clipping
    weight_decay: float = 0.1  # decoupled, as in AdamW, and scaled by the learning rate
    b1: float = 0.9
    b2: float = 0.999

    def __post_init__(self):
        _one_of(self, "schedule", SCHEDULES)
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"learning_rate must be > 0 and finite, got {self.learning_rate}")
        for field in ("warmup", "clip", "weight_decay"):
            value = getattr(self, field)
            if not 0 <= value < math.inf:
                raise ValueError(f"{field} must not be negative, and finite, got {value}")
        for field in ("b1", "b2"):  # 1 - b^step divides, and is 0 in float32 where b is nearer to 1
            _within(self, field, 0, 0.999999)


def whole(values: Iterable) -> bool:
    """Whether all are whole numbers; True is none."""
    return all(isinstance(v, Integral) and not isinstance(v, bool) for v in values)


def _one_of(config, field: str, allowed: tuple[str, ...]) -> None:
    value = getattr(config, field)
    if value not in allowed:
        raise ValueError(f"{field} must be one of {', '.join(allowed)}, got {value!r}")


def _whole_number(config, field: str) -> None:
    value = getattr(config, field)
    if not whole([value]):
        raise ValueError(f"{field} must be a whole number, got {value!r}")


def _within(config, field: str, low: float, high: float, remark: str = "") -> None:
    value = getattr(config, field)
    if not low <= value <= high:
        rule = f"{field} must lie in [{low:g}, {high:g}], got {value}"
        raise ValueError(f"{rule}: {remark}" if remark else rule)
