"""Multi-MNIST-24: 2 or 4 digits (Table 1).

    python -m experiments.number --config=configs/mnist24.py

One CPU core: 25 minutes a seed. Three side by side on one H200, fifteen runs beside: 9 minutes.
Those reach, AIR-ASR, test scenes: ACC 0.9995, 0.9975, 0.9995, mean IoU 0.883, nELBO 348.7, SE 22.8.
"""

from configs import base


def get_config(argument: str = "asr"):
    """argument: METHOD[,known|fixed|patches|paper|small|quick], METHOD one of asr, air, pprior."""
    return base.number("mnist24", "mnist", (2, 4), argument)
