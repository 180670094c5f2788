"""Multi-MNIST-13: 1 or 3 digits (Table 1).

    python -m experiments.number --config=configs/mnist13.py

One CPU core: 23 minutes a seed, by the rate of shorter runs. Three side by side on one H200,
twelve programs beside: 10 minutes. Those reach, AIR-ASR, test scenes: ACC 0.9985, 0.9975, 0.9975,
mean IoU 0.889, nELBO 216.1, SE 11.7.
"""

from configs import base


def get_config(argument: str = "asr"):
    """argument: METHOD[,known|fixed|patches|paper|small|quick], METHOD one of asr, air, pprior."""
    return base.number("mnist13", "mnist", (1, 3), argument)
