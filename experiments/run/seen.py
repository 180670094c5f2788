"""What is seen of a user's images before they are all read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from asr_jax.images import DARK, frames
from data_gen import user_scenes

SAMPLE = 200  # images that are looked at for their background
EVEN = 10  # of 255: standard deviation over the frame of an image whose background has one colour
LEAST = 4  # images: two to learn from, two to measure


class Images(NamedTuple):
    """What is seen of images before they are all read."""

    number: int
    canvas: tuple[int, int]  # (H, W) in pixels
    colour: bool
    background: str  # "black", "colour": one in each image, or "image"
    share: float  # of the frames that were looked at, how many are so
    counted: int  # images whose count is known
    counts: tuple[int, ...]  # those counts, each once


def look(settings: Mapping[str, Any]) -> Images:
    """Looks at the images that `config.data` names.

    Raises:
      ValueError, OSError: as `user_scenes.find`; fewer than four images.
    """
    if not settings.path:
        raise ValueError(
            "config.data.path must name your images: a folder of PNG or JPEG, an .npz or an .npy "
            "file, got nothing"
        )
    found = user_scenes.find(settings.path, settings.size, settings.colour)
    number = len(found.names)
    if number < LEAST:
        raise ValueError(
            f"{found.path} must hold {LEAST} images or more, to learn from some and measure on "
            f"others, got {number}: some hundred are few"
        )
    known = np.array([]) if found.count is None else np.asarray(found.count)
    known = known[known >= 0]
    behind, share = background(found.sample(SAMPLE))
    counts = tuple(np.unique(known).astype(int).tolist())
    return Images(number, found.canvas, found.colour(), behind, share, len(known), counts)


def background(images: np.ndarray) -> tuple[str, float]:
    """What lies behind objects, by the frames of images [b, H, W] or [b, H, W, 3], uint8.

    "black", if at least half of the frames are; else "colour", where a frame has one colour, or
    grey, if at least half of the others do; else "image"; and the share of the frames that are so.
    Objects at the edge are not looked at: of a frame's pixels, the half that lies nearest to its
    median is.
    """
    frame = frames(images).astype(np.float32)  # [b, pixels, channels]
    middle = np.median(frame, axis=1, keepdims=True)
    off = np.sort(np.abs(frame - middle).max(-1), axis=1)[:, : frame.shape[1] // 2]
    black = middle.max((1, 2)) < DARK
    even = ~black & (np.sqrt((off**2).mean(1)) < EVEN)
    if black.mean() >= 0.5:
        return "black", float(black.mean())
    if even.sum() >= (~black).sum() / 2:
        return "colour", float(even.mean())
    return "image", float((~black & ~even).mean())
