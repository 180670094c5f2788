"""Multi-MNIST-13: 1 or 3 digits (Table 1).

    python -m experiments.number --config=configs/mnist13.py

One CPU core: 19 minutes a seed. Three side by side on one H200: 5 minutes.
Those reach, AIR-ASR, test scenes: ACC 1.000, 0.9995, 0.9995, mean IoU 0.885, nELBO 240.2, SE 17.4.
"""

from configs import base


def get_config(argument: str = "asr"):
    """argument: METHOD[,known|fixed|patches|paper|small|quick], METHOD one of asr, air, pprior."""
    return base.number("mnist13", "mnist", (1, 3), argument)
