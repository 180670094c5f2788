"""Scenes to train on: `multi_mnist` and `multi_dsprites` generate them, `user_scenes` loads yours.

The builders stand in their modules, so that importing this package does not import TFDS.
"""

from data_gen.scenes import LAYOUTS, Scenes
from data_gen.sources import Digits, load_digits
from data_gen.user_scenes import load, split

__all__ = ["LAYOUTS", "Digits", "Scenes", "load", "load_digits", "split"]
