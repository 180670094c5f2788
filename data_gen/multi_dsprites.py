"""Multi-dSprites: scenes of several shapes.

python -m data_gen.multi_dsprites --config=configs/dsprites3.py --out=contact_sheet.png
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import tensorflow_datasets as tfds

from data_gen import builder, dsprites, scene_config
from data_gen.builder import SPLITS, Dataset, Rows


@dataclasses.dataclass(frozen=True)
class SceneConfig(scene_config.SceneConfig):
    """Scenes of shapes; at scale 1.0 a square's side is 19.2 pixels.

    Raises ValueError for a value out of its range.
    """

    canvas: int = 64
    shapes: tuple[str, ...] = dsprites.SHAPES  # in any order; a label is a position in SHAPES
    scales: tuple[float, ...] = (1.0,)  # times `scale`; each object has one of them

    def __post_init__(self):
        super().__post_init__()
        names = self.shapes if isinstance(self.shapes, tuple) else ()
        known = all(name in dsprites.SHAPES for name in names)
        if not names or not known or len(set(names)) < len(names):
            rule = f"be a tuple that names some of {', '.join(dsprites.SHAPES)}, each once"
            scene_config.refuse("shapes", rule, self.shapes)
        factors = self.scales if isinstance(self.scales, tuple) else ()
        numbers = all(isinstance(f, (int, float)) and 0 < f <= 1e6 for f in factors)
        if not factors or not numbers or len(set(factors)) < len(factors):
            rule = "be a tuple of numbers above 0, each once, such as (0.5, 1.0)"
            scene_config.refuse("scales", rule, self.scales)
        side = max(1, round(17 * self.scale * max(self.scales)))  # of the largest hearts, the least
        if self.canvas < side:
            scene_config.refuse("canvas", f"be at least a sprite's side, {side}", self.canvas)


class MultiDsprites(builder.SceneBuilder, skip_registration=True):
    VERSION = tfds.core.Version("1.1.0")
    TITLE = "Multi-dSprites"


def load(config: SceneConfig, data_dir: str = "", rows: Rows = None) -> Dataset:
    """Returns the scenes that `config` describes, from disk if they were built before.

    Scenes for training and for testing show the same sprites, of which there are only 40 for each
    shape and scale; they differ in which sprites meet, and where.

    Args:
      config: what the scenes are.
      data_dir: where the scenes are kept, see `builder.load`.
      rows: which of the training scenes to read, see `builder.load`.

    Raises:
      ValueError: for sprites that do not fit the canvas, a layout that does not fit, a scale so
        small that nothing is left of a shape, or a damaged cache.
    """
    sprites = dsprites.load_sprites(config.shapes, config.scale, config.scales)
    side = max(len(sprites.draw(row)) for row in range(len(sprites.labels)))
    if config.canvas < side:
        scene_config.refuse(
            "canvas", f"be at least the largest sprite's side, {side}", config.canvas
        )
    return builder.load(MultiDsprites, config, dict.fromkeys(SPLITS, sprites), data_dir, rows)


def from_config(data: Mapping[str, Any], rows: Rows = None) -> Dataset:
    """Returns the scenes that `config.data` describes; raises what `load` raises."""
    return load(scene_config.read(SceneConfig, data), data["data_dir"], rows)


if __name__ == "__main__":
    # TFDS looks a builder's package up, and __main__ has none.
    from data_gen import contact_sheet, multi_dsprites

    contact_sheet.command(multi_dsprites.from_config)
