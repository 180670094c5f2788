"""Multi-dSprites-24: scenes of 2 or 4 shapes of 17 to 26 pixels on a 64 x 64 canvas.

python -m experiments.number --config=configs/dsprites24.py

Measured on one CPU core (12 to 13 minutes for 12 epochs) with drawn sprites, on the 2,000 test
scenes, with --config.evaluate.iwae_samples=20:

    argument   seed   nELBO    ACC     SE    mean IoU
    asr           0    244.4   1.000   32.9    0.583

    the baselines, other seeds: not yet run
"""

from ml_collections import ConfigDict

from configs import number


def get_config(argument: str = "asr") -> ConfigDict:
    """argument: METHOD[,known|quick|paper], METHOD one of asr, air, pprior; known goes with air."""
    return number.config("dsprites24", (2, 4), argument, number.dsprites)
