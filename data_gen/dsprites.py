"""The sprites of dSprites: squares, ellipses and hearts in 40 orientations, white on black.

They come from TFDS, or are drawn here to match: geometry with the sizes that the real ones show.
"""

import hashlib
import importlib.util
import io
from collections.abc import Sequence

import numpy as np
from absl import logging
from matplotlib.path import Path
from PIL import Image

from data_gen.scenes import Sprites, crop_to_ink

SHAPES = ("square", "ellipse", "heart")  # a sprite's label is its shape's position here
# Radians, anticlockwise. As in dSprites both ends are included, so that one picture comes twice.
ORIENTATIONS = np.linspace(0, 2 * np.pi, 40)
SCALES = tuple(s / 10 for s in range(5, 11))  # those that dSprites has

# In pixels at scale 1, as measured on the real ones.
SIDE = 19.2  # of the square: 0.3 of dSprites' canvas
ELLIPSE = (12.76, 7.22)  # semi-axes
HEART = (19.2, 19.2)  # width and height
HEART_TIP = 9.845  # how far it lies below the point that the heart turns about
POINTS = 720  # of the polygon that stands for a curve


def draw_sprite(shape: str, orientation: float, scale: float) -> np.ndarray:
    """Draws one sprite as dSprites does: a pixel is white if its centre lies in the shape.

    Args:
      shape: one of SHAPES.
      orientation: radians, anticlockwise as seen; any.
      scale: above 0; 1.0 is dSprites' largest, a square with a side of 19.2 pixels.

    Returns:
      uint8 [s, s], 0 or 255: the smallest square around the ink, ink centred.

    Raises:
      ValueError: for an unknown shape, a value out of its range, or a scale at which not one
        pixel is left.
    """
    _label(shape)
    if not 0 < scale < float("inf"):
        raise ValueError(f"scale must be above 0, got {scale}: 1.0 is dSprites' largest")
    if not np.isfinite(orientation):
        raise ValueError(f"orientation must be finite, in radians, got {orientation}")
    cos, sin = np.cos(orientation), np.sin(orientation)
    corners = scale * _outline(shape) @ np.array([[cos, -sin], [sin, cos]])  # [P, 2], y down
    reach = int(np.ceil(np.abs(corners).max()))
    centres = np.arange(-reach, reach) + 0.5  # the point that a sprite turns about is a corner
    grid = np.stack(np.meshgrid(centres, centres), axis=-1).reshape(-1, 2)  # (x, y)
    inside = Path(corners).contains_points(grid).reshape(2 * reach, 2 * reach)
    if not inside.any():
        raise ValueError(
            f"scale={scale} leaves no pixel of a {shape}: raise config.data.scale or scales"
        )
    return crop_to_ink(inside * np.uint8(255))


def _label(shape: str) -> int:
    if shape not in SHAPES:
        raise ValueError(f"shape must be one of {', '.join(SHAPES)}, got {shape!r}")
    return SHAPES.index(shape)


def _outline(shape: str) -> np.ndarray:
    """Returns the shape at scale 1 as a polygon around the point that it turns about: [P, 2]."""
    if shape == "square":
        return SIDE / 2 * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
    t = np.linspace(0, 2 * np.pi, POINTS, endpoint=False)
    if shape == "ellipse":
        return np.stack([np.cos(t), np.sin(t)], axis=1) * ELLIPSE
    # The classic heart curve, its tip down, stretched to a box.
    x = np.sin(t) ** 3
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    width, height = HEART
    return np.stack([width / 2 * x, HEART_TIP - height * (y - y.min()) / np.ptp(y)], axis=1)


def load_sprites(
    shapes: Sequence[str] = SHAPES, scale: float = 1.0, scales: Sequence[float] = (1.0,)
) -> Sprites:
    """Returns the named shapes in all 40 orientations at all scales, in dSprites' order.

    Scales are those of `scales`, times `scale`, from small to large. Sprites are TFDS's `dsprites`
    where it has all of them, TensorFlow is installed and TFDS can prepare it; else they are drawn.
    `index` is 40 * label + orientation, both as positions in the lists above, whichever shapes are
    named, and at every scale.

    Raises:
      ValueError: for an unknown shape, or what `draw_sprite` raises.
    """
    labels = sorted({_label(shape) for shape in shapes})
    sizes = [scale * factor for factor in sorted(scales)]
    every, source = _all_sprites(sizes)
    images = [sprite for of_size in every for label in labels for sprite in of_size[label]]
    pixels = b"".join(len(sprite).to_bytes(4) + sprite.tobytes() for sprite in images)
    index = np.add.outer(40 * np.array(labels, np.int32), np.arange(40, dtype=np.int32)).ravel()
    size = np.repeat(np.array(sizes, np.float32), len(index))
    index = np.tile(index, len(sizes))
    return Sprites(
        draw=images.__getitem__,
        labels=index // 40,
        index=index,
        facts={"orientation": ORIENTATIONS[index % 40].astype(np.float32), "scale": size},
        source=source,
        sha256=hashlib.sha256(index.tobytes() + pixels).hexdigest(),
    )


def _all_sprites(sizes: Sequence[float]) -> tuple[list[list[list[np.ndarray]]], str]:
    """The sprites of every size [sizes][3][40], and where they come from."""
    if set(sizes) <= set(SCALES) and importlib.util.find_spec("tensorflow"):
        try:
            return [tfds_sprites(size) for size in sizes], "TFDS dsprites"
        except Exception as error:  # TFDS raises many kinds when it cannot download
            logging.warning(
                "TFDS could not prepare dsprites (%s: %s); the sprites are drawn instead.",
                type(error).__name__,
                error,
            )
    return [
        [[draw_sprite(shape, angle, size) for angle in ORIENTATIONS] for shape in SHAPES]
        for size in sizes
    ], "dSprites, drawn"


def tfds_sprites(scale: float) -> list[list[np.ndarray]]:
    """The sprites of TFDS, which downloads them once: [3][40], uint8 [s, s]; needs TensorFlow."""
    import tensorflow_datasets as tfds  # slow, and not needed to draw

    # Of 737,280 pictures these 120 are in the first position, where a sprite turns about a corner
    # of the pixel grid, as it does when it is drawn here. Only they are decoded.
    fixed = {"label_scale": SCALES.index(scale), "label_x_position": 0, "label_y_position": 0}
    read = dict.fromkeys(("image", "label_shape", "label_orientation", *fixed), True)
    decoders = tfds.decode.PartialDecoding(read, {"image": tfds.decode.SkipDecoding()})
    batches = tfds.load("dsprites", split="train", batch_size=4096, decoders=decoders)
    sprites = {}
    for batch in tfds.as_numpy(batches):
        match = np.logical_and.reduce([batch[name] == value for name, value in fixed.items()])
        for i in np.flatnonzero(match):
            ink = np.asarray(Image.open(io.BytesIO(batch["image"][i]))) > 0  # they are 0 or 1
            key = batch["label_shape"][i], batch["label_orientation"][i]
            sprites[key] = crop_to_ink(ink * np.uint8(255))
    return [[sprites[label, step] for step in range(40)] for label in range(len(SHAPES))]
