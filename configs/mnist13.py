"""Multi-MNIST-13: 1 or 3 digits (Table 1).

    python -m experiments.number --config=configs/mnist13.py

With attention so far 3 epochs, validation scenes: ACC 1.000, mean IoU 0.79. Without it
(`asr,patches`, 12 epochs, 2 CPU cores, 8 to 12 minutes): ACC 1.000, mean IoU 0.82; RESULTS.md has
every row.
"""

from configs import base


def get_config(argument: str = "asr"):
    """argument: METHOD[,known|quick|paper|small], METHOD one of asr, air, pprior."""
    return base.number("mnist13", "mnist", (1, 3), argument)
