"""Multi-MNIST-13: scenes of 1 or 3 digits of 20 pixels on a 50 x 50 canvas (Table 1).

python -m experiments.number --config=configs/mnist13.py
"""

from ml_collections import ConfigDict

from configs import number


def get_config(argument: str = "asr") -> ConfigDict:
    """argument: METHOD[,known|quick|paper], METHOD one of asr, air, pprior; known goes with air."""
    return number.config("mnist13", (1, 3), argument)
