"""Multi-dSprites-24: scenes of 2 or 4 shapes of 17 to 26 pixels on a 64 x 64 canvas.

python -m experiments.number --config=configs/dsprites24.py

Not yet run.
"""

from ml_collections import ConfigDict

from configs import number


def get_config(argument: str = "asr") -> ConfigDict:
    """argument: METHOD[,known|quick|paper], METHOD one of asr, air, pprior; known goes with air."""
    return number.config("dsprites24", (2, 4), argument, number.dsprites)
