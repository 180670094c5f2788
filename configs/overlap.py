"""What the experiments on overlap share (section 6.2 of the paper, Table 2).

Scenes of three objects whose boxes are disjoint.
"""

from ml_collections import ConfigDict

from configs import base


def config(name: str) -> ConfigDict:
    """Three objects, and the weights of F1..F7; `base.apply` makes a run of it."""
    config = base.base()
    config.name = name
    config.constraints.weights = ConfigDict(
        dict(F1=1.0, F2=1.0, F3=1.0, F4=1.0, F5=1.0, F6=20.0, F7=10.0)
    )
    return config


def quick(config: ConfigDict) -> None:
    """A minute or so, to see that everything works; the result is not a result."""
    base.quick(config)
    config.data.train_size = 5_000
    config.train.epochs = 12
