"""Multi-MNIST-24: scenes of 2 or 4 digits of 20 pixels on a 50 x 50 canvas (Table 1).

python -m experiments.number --config=configs/mnist24.py

Measured on 2 CPU cores (shared with other work: 13 to 15 minutes) with all of MNIST, seed 0, on
the 2,000 test scenes:

    argument   epochs   nELBO    ACC     SE    mean IoU
    asr          12     371.7   0.972   35.5    0.799

    air; air,known; pprior; paper; --config.estimator=concrete; other seeds: not yet run
"""

from ml_collections import ConfigDict

from configs import number


def get_config(argument: str = "asr") -> ConfigDict:
    """argument: METHOD[,known|quick|paper], METHOD one of asr, air, pprior; known goes with air."""
    return number.config("mnist24", (2, 4), argument, number.mnist)
