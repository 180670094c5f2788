"""Multi-dSprites-13: scenes of 1 or 3 shapes of 17 to 26 pixels on a 64 x 64 canvas.

python -m experiments.number --config=configs/dsprites13.py

Measured on one CPU core (12 to 13 minutes for 12 epochs) with drawn sprites, on the 2,000 test
scenes, with --config.evaluate.iwae_samples=20:

    argument   seed   nELBO    ACC     SE    mean IoU
    asr           0    142.7   1.000   18.3    0.642

    the baselines, other seeds: not yet run
"""

from ml_collections import ConfigDict

from configs import number


def get_config(argument: str = "asr") -> ConfigDict:
    """argument: METHOD[,known|quick|paper], METHOD one of asr, air, pprior; known goes with air."""
    return number.config("dsprites13", (1, 3), argument, number.dsprites)
