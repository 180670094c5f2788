"""Multi-MNIST: scenes of several digits.

python -m data_gen.multi_mnist --config=configs/mnist3.py --out=contact_sheet.png
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from data_gen import builder, scene_config, scenes, sources
from data_gen.builder import SPLITS, Dataset, Rows


@dataclasses.dataclass(frozen=True)
class SceneConfig(scene_config.SceneConfig):
    """Scenes of digits; at scale 1.0 their ink is 20 pixels.

    Raises ValueError for a value out of its range.
    """

    def __post_init__(self):
        super().__post_init__()
        side = max(1, round(20 * self.scale))  # MNIST's ink fits 20 x 20 pixels
        if self.canvas < side:
            scene_config.refuse("canvas", f"be at least a digit's side, {side}", self.canvas)


class MultiMnist(builder.SceneBuilder, skip_registration=True):
    VERSION = tfds.core.Version("1.1.0")
    TITLE = "Multi-MNIST"


def sprites(digits: sources.Digits, scale: float) -> scenes.Sprites:
    """Returns digits, cropped to their ink and scaled when they are asked for."""
    return scenes.Sprites(
        draw=lambda row: scenes.scale_sprite(scenes.crop_to_ink(digits.images[row]), scale),
        labels=digits.labels.astype(np.int32),
        index=digits.index,
        facts={},
        source=digits.source,
        sha256=digits.sha256,
    )


def load(
    config: SceneConfig, digits_dir: str = "", data_dir: str = "", rows: Rows = None
) -> Dataset:
    """Returns the scenes that `config` describes, from disk if they were built before.

    Scenes for training show MNIST's own training digits, scenes for testing its test digits.

    Args:
      config: what the scenes are.
      digits_dir: where the digits are, see `sources.load_digits`.
      data_dir: where the scenes are kept, see `builder.load`.
      rows: which of the training scenes to read, see `builder.load`.

    Raises:
      ValueError: for digits that are not MNIST, a layout that does not fit, or a damaged cache.
      FileNotFoundError: for a `digits_dir` without MNIST's files.
    """
    digits = {split: sources.load_digits(split, digits_dir) for split in SPLITS}
    scaled = {split: sprites(digits[split], config.scale) for split in SPLITS}
    return builder.load(MultiMnist, config, scaled, data_dir, rows)


def from_config(data: Mapping[str, Any], rows: Rows = None) -> Dataset:
    """Returns the scenes that `config.data` describes; raises what `load` raises."""
    config = scene_config.read(SceneConfig, data)
    return load(config, data["digits_dir"], data["data_dir"], rows)


if __name__ == "__main__":
    # TFDS looks a builder's package up, and __main__ has none.
    from data_gen import contact_sheet, multi_mnist

    contact_sheet.command(multi_mnist.from_config)
