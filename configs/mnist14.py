"""Multi-MNIST-14: 1 or 4 digits (Table 1).

    python -m experiments.number --config=configs/mnist14.py

One CPU core, 22 to 44 minutes beside other work: ACC 0.9995, mean IoU 0.870, nELBO 323, SE 32.1
(validation scenes, seed 0, with an earlier prior over places). RESULTS.md has the rows of
`asr,patches`.
"""

from configs import base


def get_config(argument: str = "asr"):
    """argument: METHOD[,known|fixed|patches|paper|small|quick], METHOD one of asr, air, pprior."""
    return base.number("mnist14", "mnist", (1, 4), argument)
