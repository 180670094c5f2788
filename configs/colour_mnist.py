"""1 or 3 digits of any colour, in front of one colour, of noise, or of a grid.

    python -m experiments.number --config=configs/colour_mnist.py
    python -m experiments.number --config=configs/colour_mnist.py:noise
    python -m experiments.number --config=configs/colour_mnist.py:grid

In front of one colour, 6 of the 12 epochs, one CPU core, 24 minutes, 2,000 validation scenes, seed
0, before the last changes: ACC 0.991, box mIoU 0.842, SE 14.5. Noise and grid: not yet run.
"""

from ml_collections import ConfigDict

from configs import base, presets


def get_config(argument: str = "asr") -> ConfigDict:
    """argument: METHOD[,noise|grid|known|fixed|quick], METHOD one of asr, air, pprior."""
    config = base.inferred("colour-mnist", "mnist", (1, 3))
    base.colour(config, "colour")
    config.train.epochs = 6
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
