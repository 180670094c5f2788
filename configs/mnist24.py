"""Multi-MNIST-24: 2 or 4 digits (Table 1).

    python -m experiments.number --config=configs/mnist24.py

One CPU core: 18 minutes a seed. Three side by side on one H200: 6 minutes.
Those reach, AIR-ASR, test scenes: ACC 0.994, 0.995, 0.998, mean IoU 0.862, nELBO 364.5, SE 26.6.
"""

from configs import base


def get_config(argument: str = "asr"):
    """argument: METHOD[,known|fixed|patches|paper|small|quick], METHOD one of asr, air, pprior."""
    return base.number("mnist24", "mnist", (2, 4), argument)
