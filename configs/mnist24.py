"""Multi-MNIST-24: 2 or 4 digits (Table 1).

    python -m experiments.number --config=configs/mnist24.py

With attention not yet run. Without it (`asr,patches`, 12 epochs, 2 CPU cores, 9 to 19 minutes):
ACC 0.994, mean IoU 0.81; RESULTS.md has every row.
"""

from configs import base


def get_config(argument: str = "asr"):
    """argument: METHOD[,known|quick|paper|small], METHOD one of asr, air, pprior."""
    return base.number("mnist24", "mnist", (2, 4), argument)
