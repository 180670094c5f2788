"""Multi-MNIST-14: 1 or 4 digits (Table 1).

    python -m experiments.number --config=configs/mnist14.py

One CPU core: 21 minutes a seed. Three side by side on one H200: 6 minutes.
Those reach, AIR-ASR, test scenes: ACC 0.9995, 1.000, 0.9995, mean IoU 0.877, nELBO 306.5, SE 22.9.
"""

from configs import base


def get_config(argument: str = "asr"):
    """argument: METHOD[,known|fixed|patches|paper|small|quick], METHOD one of asr, air, pprior."""
    return base.number("mnist14", "mnist", (1, 4), argument)
