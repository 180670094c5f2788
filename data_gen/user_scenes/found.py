"""Images that were found and are not read yet, whatever they lie in."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from asr_jax import images


@dataclasses.dataclass(frozen=True)
class Found:
    """N images of one size; a file's header, or a picture's, has told all but `colour`."""

    path: Path
    label: str  # what messages call them
    names: Sequence[str]  # [N] of the pictures; numbers, where images have no names
    canvas: tuple[int, int]  # (H, W) in pixels, as they are read
    sizes: Sequence[tuple[int, int]]  # [N] the same, as they lie there: pictures may be resized
    count: np.ndarray | None  # [N] whole numbers, -1 where it is not known
    colour: Callable[[], bool]  # may read all pictures to know it
    read: Callable[[Sequence[int], int, bool], Iterator[np.ndarray]]  # which, how many at a time

    def chunks(self, size: int) -> Iterator[np.ndarray]:
        """The images in order, `size` at a time: uint8 [b, H, W], or [b, H, W, 3] in colour.

        Raises:
          ValueError: images that are damaged, or not what `asr_jax.images` lets in.
        """
        return self.read(range(len(self.names)), size, self.colour())

    def sample(self, most: int) -> np.ndarray:
        """At most so many of the images, from first to last; as `chunks`."""
        rows = np.unique(np.linspace(0, len(self.names) - 1, most).astype(int)).tolist()
        return np.concatenate(list(self.read(rows, most, self.colour())))

    def check(self, size: int) -> None:
        """Reads all images once, `size` at a time, so that what is wrong is known before any work.

        Raises:
          ValueError: as `chunks`, and what `asr_jax.images` refuses of all of them together.
        """
        largest = max(int(chunk.max()) for chunk in self.chunks(size))
        images.check(np.full((1, 1, 1), largest, np.uint8), name=self.label)


def to_uint8(image: np.ndarray, label: str, part: bool = False) -> np.ndarray:
    """Images [b, H, W] or [b, H, W, 3] as uint8: floats to the nearest of 255 steps, bool 0 or 255.

    Of a part of a data set, values are not looked at that only all of it tells something of.

    Raises:
      ValueError: what `asr_jax.images.check` refuses, colours apart.
    """
    shape = image.shape
    if image.ndim == 4 and shape[3] == 3:  # what values must be is the same for colours
        image = image.reshape(*shape[:2], -1)
    image = images.check(image, name=label, may_be_black=part)
    if image.dtype != np.uint8:
        image = np.rint(image * 255.0).astype(np.uint8)
    return image.reshape(shape)


def in_colour(image: np.ndarray, colour: bool) -> np.ndarray:
    """Images uint8 [b, H, W] or [b, H, W, 3] with as many channels as are wanted.

    Grey is luma, 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601).
    """
    if image.ndim == 3:
        return np.repeat(image[..., None], 3, axis=-1) if colour else image
    return image if colour else np.rint(image @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)
