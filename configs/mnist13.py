"""Multi-MNIST-13: 1 or 3 digits (Table 1).

    python -m experiments.number --config=configs/mnist13.py

One CPU core, 17 to 22 minutes: ACC 0.9995, mean IoU 0.877, nELBO 252, SE 24.2 (validation scenes,
seed 2). RESULTS.md has the rows of `asr,patches`.
"""

from configs import base


def get_config(argument: str = "asr"):
    """argument: METHOD[,known|fixed|patches|paper|small|quick], METHOD one of asr, air, pprior."""
    return base.number("mnist13", "mnist", (1, 3), argument)
