"""Multi-dSprites-14: scenes of 1 or 4 shapes of 17 to 26 pixels on a 64 x 64 canvas.

python -m experiments.number --config=configs/dsprites14.py

Not yet run.
"""

from ml_collections import ConfigDict

from configs import number


def get_config(argument: str = "asr") -> ConfigDict:
    """argument: METHOD[,known|quick|paper], METHOD one of asr, air, pprior; known goes with air."""
    return number.config("dsprites14", (1, 4), argument, number.dsprites)
