"""Multi-MNIST-24"""

from ml_collections import ConfigDict

from configs import base


def get_config(argument: str = "asr") -> ConfigDict:
    """argument: METHOD[,PRESET...], METHOD one of asr, air, pprior."""
    return base.apply(base.number("mnist24", (2, 4)), argument, {})
