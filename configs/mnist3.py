"""Multi-MNIST-3: three non-overlapping digits of 12 pixels on a 50 x 50 canvas (Table 2).

    python -m experiments.overlap --config=configs/mnist3.py

One CPU core, 6 to 9 minutes a seed beside other work. AIR-ASR, test scenes, three seeds: nELBO
182.9, 184.0, 182.7, SE 7.6, mean IoU 0.901, tidy samples 0.962.
"""

from ml_collections import ConfigDict

from configs import base, presets


def get_config(argument: str = "asr") -> ConfigDict:
    """argument: METHOD[,fixed|patches|paper|quick], METHOD one of asr, air, pprior."""
    config = base.overlap("mnist3")
    # What is known of the digits' side, 12 of 50 pixels, is the same for every method.
    config.model.scale_prior = base.scale_prior(12, 50, 0.01)
    config.constraints.side = 12.0
    config.model.border = 0.04  # strokes reach the edges of their boxes
    own = {"fixed": fixed, "patches": patches, "paper": paper, "quick": presets.quick}
    return presets.apply(config, argument, own)


def fixed(config: ConfigDict) -> None:
    """Multipliers set by hand, and half a pixel of room on each side.

    Three seeds of an earlier state, 24 epochs, the first 200 test scenes: nELBO 190.6, SE 11.9,
    mean IoU 0.903; `asr` there: 191.0, 12.1, 0.901.
    """
    presets.fixed_overlap(config)
    presets.tight(config, 13.0, weight=20.0, ramp=(0.1, 0.4))
    base.price_places(config, 5.0)


def patches(config: ConfigDict) -> None:
    """As `presets.patches`, with a wider prior over sides, and boxes as large as F6 allows."""
    config.model.scale_prior = base.scale_prior(12, 50, 0.05)
    presets.fixed_overlap(config)
    presets.patches(config)


def paper(config: ConfigDict) -> None:
    """As `presets.paper`, with no price on sides."""
    patches(config)
    presets.paper(config)
