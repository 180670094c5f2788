"""Multi-MNIST-14: 1 or 4 digits (Table 1).

    python -m experiments.number --config=configs/mnist14.py

One CPU core, 13 to 16 minutes a seed beside other work. AIR-ASR, test scenes, three seeds: ACC
1.000, 1.000, 0.999, mean IoU 0.886, nELBO 271.7, SE 14.8.
"""

from configs import base


def get_config(argument: str = "asr"):
    """argument: METHOD[,known|fixed|patches|paper|small|quick], METHOD one of asr, air, pprior."""
    return base.number("mnist14", "mnist", (1, 4), argument)
