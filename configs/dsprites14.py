"""Multi-dSprites-14: 1 or 4 shapes.

    python -m experiments.number --config=configs/dsprites14.py

Not yet run.
"""

from configs import base


def get_config(argument: str = "asr"):
    """argument: METHOD[,known|fixed|patches|paper|small|quick], METHOD one of asr, air, pprior."""
    return base.number("dsprites14", "dsprites", (1, 4), argument)
