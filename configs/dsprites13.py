"""Multi-dSprites-13: 1 or 3 shapes.

    python -m experiments.number --config=configs/dsprites13.py

Not yet run.
"""

from configs import base


def get_config(argument: str = "asr"):
    """argument: METHOD[,known|fixed|patches|paper|small|quick], METHOD one of asr, air, pprior."""
    return base.number("dsprites13", "dsprites", (1, 3), argument)
