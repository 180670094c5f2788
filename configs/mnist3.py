"""Multi-MNIST-3: three non-overlapping digits of 12 pixels on a 50 x 50 canvas (Table 2).

    python -m experiments.overlap --config=configs/mnist3.py

2 CPU cores, 8 to 32 minutes: nELBO 208, SE 15.5, mean IoU 0.74; RESULTS.md has every row.
asr,tight: 10 minutes, nELBO 205, SE 16.0, mean IoU 0.79.
"""

from ml_collections import ConfigDict

from configs import base


def get_config(argument: str = "asr") -> ConfigDict:
    """argument: METHOD[,quick|paper|tight], METHOD one of asr, air, pprior."""
    config = base.overlap("mnist3")
    # What is known of the digits' side, 12 of 50 pixels, is the same for every method.
    config.model.scale_prior = base.scale_prior(12, 50, 0.05)
    presets = {"paper": base.paper, "tight": tight, "quick": base.quick}
    return base.apply(config, argument, presets)


def tight(config: ConfigDict) -> None:
    """Boxes shrink to their digits (12 pixels, half a pixel of room on each side) in training.

    A window that is larger than its digit costs nothing and forgives a centre that is off, so
    boxes grow to what F6 allows. Small boxes from the start slow learning: digits must first be
    found. Hence a second upper bound on sides, whose weight rises while the model trains. Sizes
    are constrained here, so the prior may learn them, too.
    """
    if config.method != "asr":
        raise ValueError(f"tight adds a constraint, and {config.method} has none: use asr,tight")
    config.model.learned_scale = True
    config.constraints.tight = 13.0
    config.constraints.weights.tight = 20.0
    config.constraints.ramps.tight = (0.1, 0.4)
