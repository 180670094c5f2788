"""1 or 3 digits of any colour, in front of one colour, of noise, or of a grid.

    python -m experiments.number --config=configs/colour_mnist.py
    python -m experiments.number --config=configs/colour_mnist.py:noise
    python -m experiments.number --config=configs/colour_mnist.py:grid

A grid: one CPU core beside other work, 21 to 26 minutes a seed. The others: three seeds side by
side on one H200, fifteen runs beside, 9 minutes. Test scenes:

               ACC                    box mIoU   SE
    a colour   0.997, 0.9965, 0.997   0.869      9.4
    noise      0.992, 0.9925, 0.9955  0.855      184.7, mostly the noise itself
    a grid     0.997, 0.9985, 0.9975  0.858      14.6
"""

from ml_collections import ConfigDict

from configs import base, presets


def get_config(argument: str = "asr") -> ConfigDict:
    """argument: METHOD[,noise|grid|known|fixed|quick], METHOD one of asr, air, pprior."""
    config = base.inferred("colour-mnist", "mnist", (1, 3))
    base.colour(config, "colour")
    config.train.epochs = 12
    own = {"noise": noise, "grid": grid} | presets.COUNTED
    return presets.apply(config, argument, own)


def noise(config: ConfigDict) -> None:
    """0.8 x + 0.1 + N(0, 0.2^2), of an image x on black."""
    config.data.background = "noise"


def grid(config: ConfigDict) -> None:
    """Lines of 0.4 every 5 pixels: a background of as many pixels as the image."""
    config.data.background = "grid"
    config.model.background = "image"
    config.model.background_size = config.data.canvas
    config.model.background_code = 16
    # What looks like a piece of a grid must be ruled out at a higher price (docs/method.md).
    config.constraints.largest = 400.0
    config.constraints.tolerances.possible = base.TOLERANCES["possible"]
