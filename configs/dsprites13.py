"""Multi-dSprites-13: scenes of 1 or 3 shapes of 17 to 26 pixels on a 64 x 64 canvas.

python -m experiments.number --config=configs/dsprites13.py

Not yet run.
"""

from ml_collections import ConfigDict

from configs import number


def get_config(argument: str = "asr") -> ConfigDict:
    """argument: METHOD[,known|quick|paper], METHOD one of asr, air, pprior; known goes with air."""
    return number.config("dsprites13", (1, 3), argument, number.dsprites)
