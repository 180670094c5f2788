"""Multi-MNIST-14: 1 or 4 digits (Table 1).

    python -m experiments.number --config=configs/mnist14.py

One CPU core, 21 minutes: ACC 1.000, mean IoU 0.879, nELBO 301.8, SE 21.9 (test scenes, seed 0).
"""

from configs import base


def get_config(argument: str = "asr"):
    """argument: METHOD[,known|fixed|patches|paper|small|quick], METHOD one of asr, air, pprior."""
    return base.number("mnist14", "mnist", (1, 4), argument)
