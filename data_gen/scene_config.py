"""What generated scenes are: the settings that all data sets share, and their checks."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from data_gen import colours, scenes

MAX_COUNT = 100  # objects in a scene: what there are of pairs is checked one by one
MAX_BYTES = 2**40  # of all scenes; what a host reads of them, it holds in memory


@dataclasses.dataclass(frozen=True)
class SceneConfig:
    """What the scenes are; equal configs and equal sprites give equal bytes.

    Raises ValueError for a value out of its range.
    """

    canvas: int = 50  # side of the image, pixels
    counts: tuple[int, ...] = (3,)  # numbers of objects, each in an equal share of the scenes
    layout: str = "disjoint"  # a key of scenes.LAYOUTS
    min_visible: int = 25  # pixels that are seen of each object, where they are "occluded"
    scale: float = 0.6  # 1.0 keeps the sprites' own size
    colours: str = "white"  # of objects, one of colours.COLOURS
    background: str = "black"  # one of colours.BACKGROUNDS
    contrast: float = 0.35  # least distance in RGB, [0, 1]^3, of an object from the background
    train_size: int = 20_000  # scenes
    test_size: int = 1_000
    seed: int = 0

    def __post_init__(self):
        if not isinstance(self.counts, tuple) or not all(isinstance(n, int) for n in self.counts):
            refuse("counts", "be a tuple of whole numbers, such as (1, 3)", self.counts)
        if not self.counts or min(self.counts) < 0 or max(self.counts) < 1:
            refuse("counts", "name counts of 0 or more, one of them at least 1", self.counts)
        if max(self.counts) > MAX_COUNT:
            refuse("counts", f"name counts of at most {MAX_COUNT}", self.counts)
        if len(set(self.counts)) < len(self.counts):
            refuse("counts", "name each count once", self.counts)
        if self.layout not in scenes.LAYOUTS:
            refuse("layout", f"be one of {', '.join(scenes.LAYOUTS)}", self.layout)
        for name, words in (("colours", colours.COLOURS), ("background", colours.BACKGROUNDS)):
            if getattr(self, name) not in words:
                refuse(name, f"be one of {', '.join(words)}", getattr(self, name))
        most = colours.MOST_CONTRAST
        if not 0 <= self.contrast <= most:
            rule = f"be from 0 to {most}, or no colour is that far from some backgrounds"
            refuse("contrast", rule, self.contrast)
        if not self.scale > 0:
            refuse("scale", "be above 0", self.scale)
        if self.scale > 1e6:
            refuse("scale", "be at most 1e6", self.scale)
        for name in ("canvas", "train_size", "test_size"):
            if getattr(self, name) < 1:
                refuse(name, "be at least 1", getattr(self, name))
        if self.min_visible < 0:
            refuse("min_visible", "be at least 0", self.min_visible)
        room = self.canvas**2 // max(self.counts)
        if self.layout == "occluded" and self.min_visible > room:
            rule = f"leave room for {max(self.counts)} objects, at most {room} pixels each"
            refuse("min_visible", rule, self.min_visible)
        size = (self.train_size + self.test_size) * self.canvas**2 * (self.channels + self.masked)
        if size > MAX_BYTES:
            rule = f"leave all scenes, with test_size and canvas, {MAX_BYTES} bytes, not {size}"
            refuse("train_size", rule, self.train_size)
        if self.seed < 0:
            refuse("seed", "be at least 0", self.seed)

    @property
    def channels(self) -> int:
        """3 for images in colour, 1 for grey ones."""
        return colours.channels(self.colours, self.background)

    @property
    def masked(self) -> bool:
        """Whether scenes have a mask; white objects apart on black are known without one."""
        plain = (self.colours, self.background) == ("white", "black")
        return self.layout == "occluded" or not plain


def refuse(name: str, rule: str, value: object) -> None:
    """Raises ValueError for a setting of `config.data`."""
    raise ValueError(f"{name} must {rule}, got {value}: set config.data.{name}")


def read(kind: type[SceneConfig], data: Mapping[str, Any]) -> SceneConfig:
    """Returns the part of `config.data` that describes scenes, as a `kind`."""
    settings = {field.name: data[field.name] for field in dataclasses.fields(kind)}
    lists = {name: tuple(value) for name, value in settings.items() if isinstance(value, list)}
    return kind(**settings | lists)
