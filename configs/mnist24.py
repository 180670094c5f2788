"""Multi-MNIST-24: 2 or 4 digits (Table 1).

    python -m experiments.number --config=configs/mnist24.py

One CPU core: 26 minutes a seed, by the rate of mnist14. Three side by side on one H200, twelve
programs beside: 11 minutes. Those reach, AIR-ASR, test scenes: ACC 0.998, 0.999, 0.9965, mean IoU
0.883, nELBO 322.8, SE 17.0.
"""

from configs import base


def get_config(argument: str = "asr"):
    """argument: METHOD[,known|fixed|patches|paper|small|quick], METHOD one of asr, air, pprior."""
    return base.number("mnist24", "mnist", (2, 4), argument)
