"""Multi-MNIST-24: 2 or 4 digits (Table 1).

    python -m experiments.number --config=configs/mnist24.py

One CPU core, 13 to 15 minutes a seed beside other work. AIR-ASR, test scenes, three seeds: ACC
0.999, 0.9995, 1.000, mean IoU 0.885, nELBO 321.5, SE 17.0.
"""

from configs import base


def get_config(argument: str = "asr"):
    """argument: METHOD[,known|fixed|patches|paper|small|quick], METHOD one of asr, air, pprior."""
    return base.number("mnist24", "mnist", (2, 4), argument)
