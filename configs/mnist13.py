"""Multi-MNIST-13: 1 or 3 digits (Table 1).

    python -m experiments.number --config=configs/mnist13.py

One CPU core, 19 minutes: ACC 1.000, mean IoU 0.889, nELBO 240.7, SE 17.4 (test scenes, seed 0).
"""

from configs import base


def get_config(argument: str = "asr"):
    """argument: METHOD[,known|fixed|patches|paper|small|quick], METHOD one of asr, air, pprior."""
    return base.number("mnist13", "mnist", (1, 3), argument)
