"""What the files of configs/ begin with: two experiments, and what their constraints allow."""

import math
from collections.abc import Sequence

from ml_collections import ConfigDict

from configs import presets
from configs.fields import fields

# What is allowed on average, in nats (the first line), objects (`visible`) and pixels (the rest):
# the same for all data sets, but that `balance` grows with the number of counts, and `possible` has
# its earlier 0.001 in colour, where less has not been run yet.
TOLERANCES = dict(
    **dict(possible=0.0001, number=0.02, balance=0.02, counted=0.001),
    visible=0.02,
    **dict(F1=0.3, F2=0.05, F3=0.05, F4=0.05, F5=0.05, F6=0.05, F7=0.05, side=0.1),
    **dict(snug=1.0, centred=1.0),
)

# The same of the places that the prior would draw.
PRIOR_TOLERANCES = dict(F1=0.02, F2=0.005, F3=0.005, F4=0.005, F5=0.005)


def allow(config: ConfigDict, *names: str) -> None:
    """Trains with the constraints of these names, whose multipliers follow the tolerances."""
    config.constraints.multipliers = "dual"
    config.constraints.tolerances = ConfigDict({name: TOLERANCES[name] for name in names})


def price_places(config: ConfigDict, weight: float) -> None:
    """The same weight on the places that the prior would draw, for F1..F5."""
    config.constraints.prior_weights = ConfigDict(dict.fromkeys(PRIOR_TOLERANCES, weight))


def balance_tolerance(counts: Sequence[int], batch_size: float) -> float:
    """What `balance` may be on average, nats, for so many possible counts.

    It sees a batch, whose counts are not balanced by chance: that alone costs (|L| - 1) / (2 B) on
    average. The tolerance is for two counts, and grows by what chance costs more of them.
    """
    return TOLERANCES["balance"] + max(len(counts) - 2, 0) / (2 * batch_size)


def sharp_tolerance(objects: float) -> float:
    """What `snug` and `centred` may be on average, pixels, of so many objects in an image.

    The tolerances are for three. A part of them is the posterior's own noise: with half as much
    boxes fit no better, and the likelihood suffers (docs/method.md).
    """
    return TOLERANCES["snug"] * objects / 3


def overlap(name: str) -> ConfigDict:
    """Three objects with disjoint boxes, a count that is known, and F1..F7."""
    config = fields()
    config.name = name
    config.train.epochs = 20
    allow(config, *(f"F{i}" for i in range(1, 8)), "side")
    config.constraints.prior_tolerances = ConfigDict(PRIOR_TOLERANCES)
    return config


def number(name: str, objects: str, counts: tuple[int, ...], argument: str) -> ConfigDict:
    """`inferred`, with what follows a config's name after a colon.

    That is METHOD[,PRESET], METHOD one of asr, air, pprior, PRESET one of known (for air), fixed,
    patches, paper, small, quick.
    """
    own = {
        "patches": presets.patches_number,
        "paper": presets.paper_number,
        "small": presets.small,
    } | presets.COUNTED  # applied in this order, `quick` last
    config = inferred(name, objects, counts)
    boxes_meet(config)
    return presets.apply(config, argument, own)


def inferred(name: str, objects: str, counts: tuple[int, ...]) -> ConfigDict:
    """Objects at full size whose ink does not meet, as many as one of some counts, inferred.

    Args:
      name: of the experiment.
      objects: "mnist", 20 pixels on a canvas of 50, or "dsprites", 17 to 26 pixels on 64.
      counts: the possible numbers of objects.
    """
    config = fields()
    config.name = name
    config.data.objects = objects
    config.data.counts = config.constraints.counts = counts
    config.data.layout = "pixels"
    config.data.scale = 1.0
    config.data.train_size = 40_000
    config.data.test_size = 2_000
    config.model.count = -1
    config.model.max_objects = max(counts) + 1  # one more than needed: over-counting shows
    # AIR's prior over n, as annealed in the released code; no other method looks at it.
    config.model.presence_prior = -20.0
    config.train.presence_prior_start = 9.2
    config.train.presence_prior_until = 0.5
    # For every method: latents learn to explain an image with every n, and q(n) which is best.
    config.model.count_gap_weight = 1.0
    config.train.count_mix_until = 0.2
    config.train.epochs = 20
    allow(config, "possible", "number", "balance", "F6", "side")
    batch_size = config.train.get_ref("batch_size").to_float()  # follows what is set later
    config.constraints.tolerances.balance = balance_tolerance(counts, batch_size)
    # What is known of sides is the same for every method: digits vary by 1.2 pixels, shapes by 3.
    # A prior that is wider lets boxes grow.
    if objects == "mnist":
        config.model.scale_prior = scale_prior(20, 50, 0.01)
        config.constraints.c_min, config.constraints.c_max = 17.0, 23.0
        config.constraints.side = 20.0
    else:
        config.data.canvas = 64
        config.model.scale_prior = scale_prior(22.2, 64, 0.05)
        config.constraints.c_min, config.constraints.c_max = 20.0, 25.0
        config.constraints.side = 22.2
    return config


def boxes_meet(config: ConfigDict) -> None:
    """Boxes may meet, and light adds up: how objects are told apart (docs/method.md)."""
    config.model.overlap = True
    config.model.votes_within = 0.4
    if config.data.objects == "mnist":  # strokes reach the edges of their boxes
        config.model.border = 0.025


def colour(config: ConfigDict, background: str) -> None:
    """Objects of random colours on a background, and a model that knows of both.

    Args:
      config: of `inferred`.
      background: of the scenes, "grey", "colour", "noise" or "grid".
    """
    config.data.colours = "random"
    config.data.background = background
    config.model.channels = 3
    config.model.background = "colour"
    config.model.compositing = "over"
    config.model.encoder_blocks = 2
    config.model.likelihood = "gaussian"
    config.model.sigma = 0.2  # at 0.3 an object of which little is seen does not pay
    # With 1,000 counts were no better, and SE was worse (docs/method.md).
    config.constraints.largest = 100.0
    config.constraints.tolerances.possible = 0.001  # less has not been run yet
    # Three channels cost as much more: distances to training scenes, and samples.
    config.evaluate.iwae_samples = 20
    config.evaluate.generated = 2_000


def scale_prior(side: float, canvas: int, variance: float) -> tuple[float, float]:
    """The prior over the logit of a side as a fraction of the canvas, centred on `side` pixels."""
    fraction = side / canvas
    return math.log(fraction / (1 - fraction)), variance
