"""Multi-MNIST-24: 2 or 4 digits (Table 1).

    python -m experiments.number --config=configs/mnist24.py

One CPU core, 18 minutes: ACC 0.996, mean IoU 0.867, nELBO 366.0, SE 26.9 (test scenes, seed 0).
"""

from configs import base


def get_config(argument: str = "asr"):
    """argument: METHOD[,known|fixed|patches|paper|small|quick], METHOD one of asr, air, pprior."""
    return base.number("mnist24", "mnist", (2, 4), argument)
