"""Multi-MNIST-14: 1 or 4 digits (Table 1).

    python -m experiments.number --config=configs/mnist14.py

One CPU core: 21 minutes for 12 of the 20 epochs. Three side by side on one H200, eleven runs
beside: 7 minutes. Those reach, AIR-ASR, test scenes: ACC 1.000, 0.999, 0.9995, mean IoU 0.887,
nELBO 294.9, SE 20.0.
"""

from configs import base


def get_config(argument: str = "asr"):
    """argument: METHOD[,known|fixed|patches|paper|small|quick], METHOD one of asr, air, pprior."""
    return base.number("mnist14", "mnist", (1, 4), argument)
