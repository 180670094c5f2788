"""2 to 5 shapes of any colour and size on grey, lying over each other: Multi-dSprites in colour.

    python -m experiments.number --config=configs/colour_dsprites.py

One CPU core, 95 minutes a seed. Three side by side on one H200, twelve programs beside: 11 minutes.
Those reach, test scenes:

                 ACC                   SE    box mIoU   mask mIoU   FG-ARI
    AIR-ASR      0.953, 0.956, 0.953   9.3   0.829      0.952       0.967
    AIR-pPrior   0.917, 0.889, 0.896   9.0   0.707      0.945       0.970
    AIR          0.901, 0.912, 0.916   8.9   0.704      0.947       0.970
"""

from ml_collections import ConfigDict

from configs import base, presets


def get_config(argument: str = "asr") -> ConfigDict:
    """argument: METHOD[,coloured|known|fixed|quick], METHOD one of asr, air, pprior."""
    config = base.inferred("colour-dsprites", "dsprites", (2, 3, 4, 5))
    base.colour(config, "grey")
    config.data.layout = "occluded"
    config.train.epochs = 20
    config.data.scales = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
    # Sides of 9 to 26 pixels, 16.7 on average.
    config.model.scale_prior = base.scale_prior(16.2, 64, 0.15)
    config.constraints.c_min, config.constraints.c_max = 8.0, 27.0
    config.constraints.side = 16.7
    # Smaller than for digits: shapes lie over each other, and may differ little in colour.
    config.model.sigma = 0.14
    config.model.window = 24  # the largest shape has 26 pixels
    config.constraints.largest = 400.0  # at 100 `possible` cannot rule out a sixth shape
    config.constraints.visible = float(config.data.min_visible)
    config.constraints.tolerances.visible = base.TOLERANCES["visible"]
    own = {"coloured": coloured} | presets.COUNTED
    return presets.apply(config, argument, own)


def coloured(config: ConfigDict) -> None:
    """1 to 4 shapes, on one colour."""
    config.data.background = "colour"
    config.data.counts = config.constraints.counts = (1, 2, 3, 4)
    config.model.max_objects = 5
