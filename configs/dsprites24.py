"""Multi-dSprites-24: 2 or 4 shapes.

    python -m experiments.number --config=configs/dsprites24.py

Not yet run.
"""

from configs import base


def get_config(argument: str = "asr"):
    """argument: METHOD[,known|fixed|patches|paper|small|quick], METHOD one of asr, air, pprior."""
    return base.number("dsprites24", "dsprites", (2, 4), argument)
