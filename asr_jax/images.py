"""The one door for images: what a caller hands in, the dtype says what it means.

uint8 is 0..255, bool is 0 and 1, floats lie in [0, 1]. Everything else is refused. What can only be
seen from the values (a range, a shape that was squeezed) is checked where values are known: inside
a jitted function they are not.
"""

from __future__ import annotations

import math
import os
import sys
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

DARK = 32  # of 255: an image whose largest pixel is below it shows nothing
BRIGHT = 128  # of 255: a median above it is a bright background
SAMPLE = 10_000  # pixels that a median is taken of
STRETCH = "rescale them, such as np.interp(images, (images.min(), images.max()), (0, 1))"


def check(
    images: Any,
    canvas: tuple[int, int] | None = None,
    name: str = "images",
    may_be_black: bool = False,
    channels: int | None = 1,
) -> Any:
    """Images that may come in, as they are but in this machine's byte order.

    Args:
      images: [B, H, W], or [B, H, W, 3] with colours: uint8, bool, or floats in [0, 1].
      canvas: the (H, W) that they must have; None: any.
      name: what messages call them.
      channels: 1 for grey images, 3 for colours on a last axis; None: either.
      may_be_black: as generated ones may, or a part of a data set; otherwise there is a warning,
        and of uint8 with no value but 0 and 1 an error.

    Raises:
      ValueError: another shape, another dtype, no images, values out of range.
    """
    if isinstance(images, (str, os.PathLike)):
        raise ValueError(f"{name} must be an array, got {images!r}: load it first")
    images = _native(images)
    if channels is None:
        channels = 3 if images.ndim == 4 and images.shape[3] == 3 else 1
    colours = () if channels == 1 else (channels,)
    fits = images.ndim == 3 + len(colours) and images.shape[3:] == colours
    if not fits or (canvas and images.shape[1:3] != tuple(canvas)):
        height, width = canvas or ("H", "W")
        axes = ", ".join(map(str, ("B", height, width, *colours)))
        raise ValueError(
            f"{name} must have shape [{axes}], B images of {height} x {width} pixels"
            f"{' with colours' if colours else ''}, got {images.shape}: "
            f"{_remedy(images.shape, canvas, channels)}"
        )
    if not images.size:
        raise ValueError(f"{name} must not be empty, got shape {images.shape}: give one at least")
    if images.dtype != np.uint8 and images.dtype != bool and not _floating(images):
        raise ValueError(
            f"{name} must be uint8 (0 to 255), bool, or floats in [0, 1], got {images.dtype}: "
            f"{_cast(images)}"
        )
    if _known(images):
        _check_values(np.asarray(images), name, may_be_black)
    return images


def to_float(images: jax.Array) -> jax.Array:
    """Images of any dtype that `check` lets in -> float32 in [0, 1]."""
    if images.dtype == jnp.uint8:
        return images.astype(jnp.float32) / 255
    return images.astype(jnp.float32)


def frames(images: np.ndarray) -> np.ndarray:
    """The pixels along the edges of images [b, H, W] or [b, H, W, C]: [b, P, C], C = 1 if grey."""
    flat = images.reshape(*images.shape[:3], -1)
    return np.concatenate([flat[:, 0], flat[:, -1], flat[:, :, 0], flat[:, :, -1]], axis=1)


def warn_of_background(images: np.ndarray, name: str = "images") -> None:
    """Warns of images that a model with a black background cannot explain; once for a data set."""
    images = np.asarray(images)
    pixels = images.reshape(-1)
    if pixels.size > SAMPLE:
        pixels = pixels[np.random.default_rng(0).integers(pixels.size, size=SAMPLE)]
    scale = 1 if images.dtype == np.uint8 else 255
    median = float(np.median(pixels)) * scale
    if median > BRIGHT:
        warn(
            f"{name} have a bright background (median {median:.0f} of 255), and the model's is "
            f"black: invert them ({'255' if scale == 1 else '1.0'} - image), or subtract the "
            "background"
        )


def warn(message: str) -> None:
    """A warning that shows the line outside these packages which led to it."""
    frame, level = sys._getframe(), 1
    while frame.f_back and frame.f_globals["__name__"].startswith(("asr_jax.", "data_gen.")):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, stacklevel=level)


def _check_values(images: np.ndarray, name: str, may_be_black: bool) -> None:
    low, high = images.min(), images.max()
    if _floating(images):
        low, high = float(low), float(high)
        if not math.isfinite(low) or not math.isfinite(high):
            raise ValueError(
                f"{name} must be finite, got {low:g} to {high:g}: repair or drop the images with "
                "NaN or infinity"
            )
        if low < 0 or high > 1:
            raise ValueError(
                f"{name} are floats, which must lie in [0, 1], got {low:g} to {high:g}: "
                f"{_rescale(low, high)}"
            )
    elif images.dtype == np.uint8 and high == 1 and not may_be_black:
        raise ValueError(
            f"{name} are uint8 with no value but 0 and 1, which is nearly black: multiply by 255, "
            "or cast to bool"
        )
    largest = float(high) * (1 if images.dtype == np.uint8 else 255)
    if largest < DARK and not may_be_black:
        warn(f"{name} are nearly black: the largest pixel is {largest:.0f} of 255: rescale them")


def _native(images: Any) -> Any:
    """An array in this machine's byte order: JAX reads others as noise."""
    if isinstance(images, jax.Array):  # a tracer, too
        return images
    images = np.asarray(images)
    return images.astype(images.dtype.newbyteorder("="), copy=False)


def _known(images: Any) -> bool:
    """Whether this process can look at the values."""
    if isinstance(images, jax.core.Tracer):
        return False
    return not isinstance(images, jax.Array) or images.is_fully_addressable


def _floating(images: Any) -> bool:
    return jnp.issubdtype(images.dtype, jnp.floating)


def _remedy(shape: tuple[int, ...], canvas: tuple[int, int] | None, channels: int) -> str:
    if len(shape) == 2 or (channels == 3 and len(shape) == 3 and shape[2] == 3):
        return "one image is images[None]"
    if len(shape) == 4 and channels == 3 and shape[3] == 4:
        return "drop transparency with images[..., :3]"
    if len(shape) == 3 and channels == 3:
        return "grey images become colours with np.repeat(images[..., None], 3, -1)"
    if len(shape) == 4 and shape[3] == 1:
        return "drop the last axis with images[..., 0]"
    if len(shape) == 4 and channels == 1:
        return "make colours grey, such as images.mean(-1), or make a model with channels=3"
    return "crop or resize them, or make a model of that canvas" if canvas else "stack them"


def _cast(images: Any) -> str:
    """How to make integers of another kind what they mean."""
    if not jnp.issubdtype(images.dtype, jnp.integer):
        return "save plain numbers"
    low, high = (images.min(), images.max()) if _known(images) and images.size else (0, 255)
    if low >= 0 and high <= 1:
        return "0 and 1 become bool with images.astype(bool)"
    if low >= 0 and high <= 255:
        return "0 to 255 become uint8 with images.astype(np.uint8)"
    if low >= 0:
        return "rescale them to floats, such as (images / images.max()).astype(np.float32)"
    return STRETCH


def _rescale(low: float, high: float) -> str:
    """How to bring floats into [0, 1]."""
    if -0.1 <= low and high <= 1.1:
        return "clip what is beyond, np.clip(images, 0, 1)"
    if 0 <= low and high <= 255:
        return "rescale them, such as images / 255"
    return STRETCH
