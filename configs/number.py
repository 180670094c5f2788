"""What the experiments on the number of objects share (section 6.1 of the paper, Table 1).

Scenes of objects at full size, as many as one of two possible counts, whose ink does not meet.
"""

import functools
from collections.abc import Callable

from ml_collections import ConfigDict

from configs import base


def config(
    name: str, counts: tuple[int, ...], argument: str, objects: Callable[[ConfigDict], None]
) -> ConfigDict:
    """objects: `mnist` or `dsprites`, below.

    argument: METHOD[,known|quick|paper|small], METHOD one of asr, air, pprior; known goes with air.
    """
    config = base.base()
    config.name = name
    config.data.counts = config.constraints.counts = counts
    config.data.layout = "pixels"
    config.data.scale = 1.0
    config.data.train_size = 40_000
    config.data.test_size = 2_000
    config.model.count = -1
    config.model.encoder_hidden = 512  # see asr_jax.networks.PatchEncoder
    config.model.max_steps = max(counts) + 1  # one more than needed, so that over-counting shows
    # AIR's prior over n, as annealed in the released code; no other method looks at it.
    config.model.presence_prior = -20.0
    config.train.presence_prior_start = 9.2
    config.train.presence_prior_until = 0.5
    config.train.epochs = 12
    config.constraints.weights = ConfigDict(dict(number=10.0, balance=100.0))
    objects(config)
    presets = {
        "known": functools.partial(known, counts),
        "paper": paper,
        "small": small,
        "quick": quick,
    }
    return base.apply(config, argument, presets)


def mnist(config: ConfigDict) -> None:
    """Digits of 20 pixels on a canvas of 50."""
    # What is known of their side, give or take 1.2 pixels, is the same for every method. A prior
    # that is wider lets boxes grow.
    config.model.scale_prior = base.scale_prior(20, 50, 0.01)
    config.constraints.c_min, config.constraints.c_max = 17.0, 23.0


def dsprites(config: ConfigDict) -> None:
    """Shapes of 17 to 26 pixels on a canvas of 64."""
    config.data.objects = "dsprites"
    config.data.canvas = 64
    # What is known of their side, 22.2 pixels on average, give or take 3.
    config.model.scale_prior = base.scale_prior(22.2, 64, 0.05)
    config.constraints.c_min, config.constraints.c_max = 20.0, 25.0


def known(counts: tuple[int, ...], config: ConfigDict) -> None:
    """The stronger AIR: its prior over n is uniform over the possible counts."""
    if config.method != "air":
        raise ValueError(f"known is a prior for air, and {config.method} learns its: use air,known")
    config.model.possible_counts = counts


def paper(config: ConfigDict) -> None:
    """As `base.paper`, with the released code's number of steps."""
    base.paper(config)
    config.model.max_steps = 6


def small(config: ConfigDict) -> None:
    """Networks of the sizes that public AIR codes have, for a comparison of speed."""
    config.model.hidden = (200,)
    config.model.encoder_hidden = 256


def quick(config: ConfigDict) -> None:
    """A minute or so, to see that everything works; the result is not a result."""
    base.quick(config)
    config.data.train_size = 4_000
    config.train.epochs = 8
