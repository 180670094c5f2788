"""Multi-MNIST-24: 2 or 4 digits (Table 1).

    python -m experiments.number --config=configs/mnist24.py

One CPU core: 18 minutes a seed. Below: one H200, three seeds side by side in 5 minutes.
AIR-ASR, test scenes, three seeds: ACC 0.994, 0.995, 0.998, mean IoU 0.862, nELBO 364.5, SE 26.6.
"""

from configs import base


def get_config(argument: str = "asr"):
    """argument: METHOD[,known|fixed|patches|paper|small|quick], METHOD one of asr, air, pprior."""
    return base.number("mnist24", "mnist", (2, 4), argument)
