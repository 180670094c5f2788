"""Multi-MNIST-14: 1 or 4 digits (Table 1).

    python -m experiments.number --config=configs/mnist14.py

One CPU core: 21 minutes for 12 of the 20 epochs. Three side by side on one H200, fifteen runs
beside: 9 minutes. Those reach, AIR-ASR, test scenes: ACC 1.000, 0.9985, 0.999, mean IoU 0.886,
nELBO 298.0, SE 20.4.
"""

from configs import base


def get_config(argument: str = "asr"):
    """argument: METHOD[,known|fixed|patches|paper|small|quick], METHOD one of asr, air, pprior."""
    return base.number("mnist14", "mnist", (1, 4), argument)
