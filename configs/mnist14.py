"""Multi-MNIST-14: 1 or 4 digits (Table 1).

    python -m experiments.number --config=configs/mnist14.py

One CPU core: 21 minutes a seed. Below: one H200, three seeds side by side in 5 minutes.
AIR-ASR, test scenes, three seeds: ACC 0.9995, 1.000, 0.9995, mean IoU 0.877, nELBO 306.5, SE 22.9.
"""

from configs import base


def get_config(argument: str = "asr"):
    """argument: METHOD[,known|fixed|patches|paper|small|quick], METHOD one of asr, air, pprior."""
    return base.number("mnist14", "mnist", (1, 4), argument)
