"""Multi-MNIST-3: three non-overlapping digits of 12 pixels on a 50 x 50 canvas (Table 2).

    python -m experiments.overlap --config=configs/mnist3.py

Measured on 2 CPU cores with all of MNIST (ASR_MNIST_DIR) where nothing else is said, seed 0, on
the 1,000 test scenes; 41 steps/s where nothing else ran, and the first three on one core each of a
slower machine:

    argument                            minutes   nELBO    SE    mean IoU
    asr                                  31.8     207.3   15.8    0.736
    pprior                               35.1     204.4   14.0    0.705
    air                                  27.9     208.2   13.8    0.692
    asr, on another machine               7.7     205.6   13.8    0.740
    asr, with the embedded digits         7.7     206.4   15.3    0.741
    asr,tight                             9.5     205.0   16.0    0.789
    asr   --config.model.encoder=raw --config.train.epochs=40
                                          4.9     225.4   18.5    0.674
    asr      --config.train.epochs=12     2.1     252.7   32.5    0.646
    pprior   --config.train.epochs=12     2.7     241.9   26.6    0.502
    air      --config.train.epochs=12     2.2     248.2   27.9    0.499
    paper: not yet run; what else is: RESULTS.md
"""

from ml_collections import ConfigDict

from configs import base, overlap


def get_config(argument: str = "asr") -> ConfigDict:
    """argument: METHOD[,quick|paper|tight], METHOD one of asr, air, pprior."""
    config = overlap.config("mnist3")
    # What is known of the digits' side, 12 of 50 pixels, is the same for every method.
    config.model.scale_prior = base.scale_prior(12, 50, 0.05)
    return base.apply(
        config, argument, {"paper": base.paper, "tight": tight, "quick": overlap.quick}
    )


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
