"""Methods, and presets: what may follow a config's name after a colon, in any order.

`--config=configs/mnist3.py:air,quick` is AIR, quickly.
"""

import functools
from collections.abc import Callable, Mapping

from ml_collections import ConfigDict

METHODS = ("asr", "air", "pprior")


def fixed(config: ConfigDict, **weights: float) -> None:
    """Multipliers set by hand, without `side`, which they were not tried with."""
    config.constraints.multipliers = "fixed"
    config.constraints.side = 0.0
    config.constraints.weights = ConfigDict(weights)
    for field in ("tolerances", "prior_tolerances", "prior_weights", "ramps"):
        config.constraints[field] = ConfigDict()  # one each: what fills one is not in the others


def fixed_overlap(config: ConfigDict) -> None:
    """The paper's weights."""
    fixed(config, F1=1.0, F2=1.0, F3=1.0, F4=1.0, F5=1.0, F6=20.0, F7=10.0)


def fixed_number(config: ConfigDict) -> None:
    """The paper's weights."""
    fixed(config, number=10.0, balance=100.0)


def tight(config: ConfigDict, side: float, weight: float, ramp: tuple[float, float]) -> None:
    """A price on every pixel of a side beyond `side`, which rises during the fractions `ramp`.

    A window that is larger than its object costs nothing and forgives a centre that is off, so
    boxes grow to what F6 allows. Small boxes from the start slow learning.
    """
    config.constraints.tight = side
    config.constraints.weights.tight = weight
    config.constraints.ramps.tight = ramp


def known(config: ConfigDict) -> None:
    """The stronger AIR: its prior over n is uniform over the possible counts."""
    if config.method != "air":
        raise ValueError(f"known is a prior for air, and {config.method} learns its: use air,known")
    config.model.possible_counts = config.data.counts


def patches(config: ConfigDict) -> None:
    """Without `attention`, and what came with it.

    The caller sets the multipliers.
    """
    config.model.encoder = "patches"
    config.model.overlap, config.model.votes_within, config.model.border = False, 1.0, 0.0
    config.constraints.prior_weights = ConfigDict()  # its places are Gaussian
    if config.model.count < 0:
        config.model.encoder_hidden = 512  # see asr_jax.networks.PatchEncoder
    else:
        config.train.epochs = 60
    config.model.place_prior = "gaussian"
    config.model.count_gap_weight = config.train.count_mix_until = 0.0
    config.optimizer.learning_rate = 1e-3


def patches_number(config: ConfigDict) -> None:
    """As `patches`."""
    fixed_number(config)
    patches(config)


def paper(config: ConfigDict) -> None:
    """The paper's encoder, epochs and learning rate; the released code's prior over sides.

    For the caller to begin with: `patches`, and multipliers that are the paper's.
    """
    config.model.encoder = "raw"
    config.model.encoder_hidden = 0
    config.model.activation = "softplus"
    config.model.scale_prior = (-1.0, 0.05)
    config.model.epsilon = 1e-7  # the smallest that float32 allows; the released code: 1e-10
    config.constraints.ramps = ConfigDict()  # with full weights from the start
    config.optimizer.schedule = "constant"
    config.optimizer.warmup = 0
    config.optimizer.weight_decay = 0.0
    config.train.epochs = 300


def paper_number(config: ConfigDict) -> None:
    """As `paper`, with the released code's number of steps."""
    patches_number(config)
    paper(config)
    config.model.max_objects = 6


def small(config: ConfigDict) -> None:
    """Networks of the sizes that public AIR codes have, for a comparison of speed."""
    patches_number(config)
    config.model.hidden = (200,)
    config.model.encoder_hidden = 256


def quick(config: ConfigDict, train_size: int = 5_000, epochs: int = 12) -> None:
    """A minute or so, to see that everything works; the result is not a result."""
    config.data.train_size = train_size
    config.data.test_size = 200
    config.train.epochs = epochs
    config.evaluate.iwae_samples = 10
    config.evaluate.generated = 1_000
    config.evaluate.every = 200


# Presets of experiments whose counts are inferred.
COUNTED = {
    "known": known,
    "fixed": fixed_number,
    "quick": functools.partial(quick, train_size=4_000, epochs=8),
}


def apply(
    config: ConfigDict, argument: str, presets: Mapping[str, Callable[[ConfigDict], None]]
) -> ConfigDict:
    """Sets method, presets and name from a config's argument.

    Raises:
      ValueError: for a word that is neither a method nor a preset, and for two methods.
    """
    words = [word for word in argument.split(",") if word]
    unknown = [word for word in words if word not in METHODS and word not in presets]
    if unknown:
        raise ValueError(
            f"unknown method or preset {unknown[0]!r}: methods are {', '.join(METHODS)}, "
            f"presets are {', '.join(presets)}, as in --config=configs/mnist3.py:air,quick"
        )
    methods = [word for word in words if word in METHODS] or [config.method]
    if len(methods) > 1:
        raise ValueError(f"one method at a time, got {' and '.join(methods)}: run them in turn")
    config.method = methods[0]
    chosen = [word for word in presets if word in words]
    config.name = "-".join([config.name, config.method, *chosen])
    for word in chosen:
        presets[word](config)
    # A method is a prior and constraints, nothing else.
    config.model.prior = "fixed" if config.method == "air" else "learned"
    if config.method == "air":
        config.model.place_prior = "gaussian"  # it is fixed
    if config.method != "asr":
        fixed(config)  # and there are none
    return config
