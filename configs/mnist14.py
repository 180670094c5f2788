"""Multi-MNIST-14: scenes of 1 or 4 digits of 20 pixels on a 50 x 50 canvas (Table 1).

python -m experiments.number --config=configs/mnist14.py

Not yet run.
"""

from ml_collections import ConfigDict

from configs import number


def get_config(argument: str = "asr") -> ConfigDict:
    """argument: METHOD[,known|quick|paper], METHOD one of asr, air, pprior; known goes with air."""
    return number.config("mnist14", (1, 4), argument, number.mnist)
