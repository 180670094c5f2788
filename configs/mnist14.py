"""Multi-MNIST-14: 1 or 4 digits (Table 1).

    python -m experiments.number --config=configs/mnist14.py

With attention not yet run. Without it (`asr,patches`, 12 epochs, 2 CPU cores, 11 to 22 minutes):
ACC 1.000, mean IoU 0.83; RESULTS.md has every row.
"""

from configs import base


def get_config(argument: str = "asr"):
    """argument: METHOD[,known|fixed|patches|paper|small|quick], METHOD one of asr, air, pprior."""
    return base.number("mnist14", "mnist", (1, 4), argument)
