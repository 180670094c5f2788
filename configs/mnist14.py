"""Multi-MNIST-14: 1 or 4 digits (Table 1).

    python -m experiments.number --config=configs/mnist14.py

One CPU core, 26 minutes a seed. Three side by side on one H200, twelve programs beside: 11 minutes.
Those reach, AIR-ASR, test scenes: ACC 0.9985, 0.9995, 0.9995, mean IoU 0.886, nELBO 270.8, SE 14.6.
"""

from configs import base


def get_config(argument: str = "asr"):
    """argument: METHOD[,known|fixed|patches|paper|small|quick], METHOD one of asr, air, pprior."""
    return base.number("mnist14", "mnist", (1, 4), argument)
