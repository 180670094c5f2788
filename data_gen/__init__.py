"""Scenes to train on: generated ones (`multi_mnist`) and a user's own (`user_scenes`).

The builders stand in their modules, so that importing this package does not import TFDS.
"""

from data_gen.scenes import LAYOUTS, Scenes
from data_gen.sources import Digits, load_digits
from data_gen.user_scenes import load_npz, split

__all__ = ["LAYOUTS", "Digits", "Scenes", "load_digits", "load_npz", "split"]
