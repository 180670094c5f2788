"""Multi-MNIST-24: 2 or 4 digits (Table 1).

    python -m experiments.number --config=configs/mnist24.py

One CPU core: 25 minutes a seed. Three side by side on one H200, eleven runs beside: 7 minutes.
Those reach, AIR-ASR, test scenes: ACC 0.998, 0.9985, 0.998, mean IoU 0.879, nELBO 350.4, SE 23.1.
"""

from configs import base


def get_config(argument: str = "asr"):
    """argument: METHOD[,known|fixed|patches|paper|small|quick], METHOD one of asr, air, pprior."""
    return base.number("mnist24", "mnist", (2, 4), argument)
