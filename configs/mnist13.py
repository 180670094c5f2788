"""Multi-MNIST-13: 1 or 3 digits (Table 1).

    python -m experiments.number --config=configs/mnist13.py

One CPU core, 13 to 17 minutes a seed beside other work. AIR-ASR, test scenes, three seeds: ACC
1.000, 1.000, 0.9995, mean IoU 0.888, nELBO 216.2, SE 11.7.
"""

from configs import base


def get_config(argument: str = "asr"):
    """argument: METHOD[,known|fixed|patches|paper|small|quick], METHOD one of asr, air, pprior."""
    return base.number("mnist13", "mnist", (1, 3), argument)
