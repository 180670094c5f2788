"""What is known of scenes, counts, boxes and masks: what cannot be is refused, what is odd said."""

from __future__ import annotations

from typing import Any

import numpy as np

from asr_jax.config import ModelConfig
from asr_jax.images import frames, warn


def check(
    images: Any,
    count: Any = None,
    box: Any = None,
    config: ModelConfig | None = None,
    mask: Any = None,
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Counts [N] and boxes [N, M, 4] as arrays, once they fit the images [N, H, W] or [N, H, W, 3].

    Masks [N, H, W] have to fit, too: 0 is the background, t the t-th object where it shows. Warns
    of counts that the model cannot infer, of boxes that are not (x0, y0, x1, y1) in pixels of these
    images, by all appearances, and of masks that do not show every object: all would be measured as
    failures of the model.

    Raises:
      ValueError: another number of counts or boxes than images; counts that are no whole numbers
        of at least 0; boxes without counts, fewer in a row than objects, or not finite; masks
        without counts, of another size than the images, or that show more objects than there are.
    """
    if count is None:
        if box is not None:
            raise ValueError("boxes need counts, to tell objects from padding: give count, too")
        if mask is not None:
            raise ValueError("masks need counts, to tell hidden objects from none: give count, too")
        return None, None
    count, total = np.asarray(count), len(images)
    if count.shape != (total,):
        raise ValueError(f"count must have shape ({total},), one an image, got {count.shape}")
    if count.dtype.kind not in "iu" or (total and count.min() < 0):
        lowest = f" from {count.min()}" if count.dtype.kind in "iuf" else ""
        raise ValueError(f"count must be whole numbers of at least 0, got {count.dtype}{lowest}")
    if config is not None:
        _warn_of_counts(count, config)
    if mask is not None:
        _check_mask(images, count, np.asarray(mask))
    if box is None:
        return count, None
    box = np.asarray(box)
    if box.ndim != 3 or box.shape[0] != total or box.shape[2] != 4:
        raise ValueError(
            f"box must have shape ({total}, M, 4), (x0, y0, x1, y1) of each object, got {box.shape}"
        )
    if count.max() > box.shape[1]:
        raise ValueError(
            f"box must have a row for every object, got {box.shape[1]} rows and counts up to "
            f"{count.max()}"
        )
    objects = box[np.arange(box.shape[1]) < count[:, None]]
    if box.dtype.kind not in "iuf" or not np.isfinite(objects).all():
        raise ValueError(
            f"box must be finite numbers for every object, got {box.dtype} with others: repair or "
            "drop those scenes"
        )
    _warn_of_boxes(images, count, box)
    return count, box


def _check_mask(images: Any, count: np.ndarray, mask: np.ndarray) -> None:
    shape = tuple(images.shape[:3])
    if mask.shape != shape:
        raise ValueError(f"mask must have shape {shape}, a number a pixel, got {mask.shape}")
    if mask.dtype.kind not in "iu" or (mask.size and mask.min() < 0):
        lowest = f" from {mask.min()}" if mask.dtype.kind in "iuf" else ""
        raise ValueError(
            f"mask must be whole numbers, 0 the background and t the t-th object, got {mask.dtype}"
            f"{lowest}"
        )
    highest = mask.max(axis=(1, 2), initial=0)  # [N]
    wrong = np.flatnonzero(highest > count)
    if len(wrong):
        first = wrong[0]
        raise ValueError(
            f"mask must be at most the count of its image, got {highest[first]} in image {first}, "
            f"which has {count[first]} objects: number objects 1, 2, ... and repair count or mask"
        )
    visible = np.zeros(len(mask), int)
    for number in range(1, highest.max(initial=0) + 1):
        visible += (mask == number).any(axis=(1, 2))
    hidden = (visible < count).sum()
    if hidden:
        warn(
            f"mask must show every object that count counts, got {hidden} of {len(mask)} images "
            "that show fewer: objects that cannot be seen are counted as missed"
        )


def _warn_of_counts(count: np.ndarray, config: ModelConfig) -> None:
    strange = np.unique(count[~np.isin(count, config.counts)]).tolist()
    if strange:
        possible = f"{', '.join(map(str, config.counts))} alone"
        if config.count is None and not config.possible_counts:
            possible = f"0..K={config.max_objects}"
        warn(
            f"{np.isin(count, strange).sum()} of {len(count)} scenes have counts, {strange}, that "
            f"the model cannot infer: it knows {possible}"
        )


def _warn_of_boxes(images: Any, count: np.ndarray, box: np.ndarray) -> None:
    height, width = images.shape[1:3]
    present = box[np.arange(box.shape[1]) < count[:, None]]  # [objects, 4]
    if not len(present):
        return
    x0, y0, x1, y1 = present.T
    outside = (x0 < 0) | (y0 < 0) | (x1 > width) | (y1 > height)
    problem = None
    if present.max() <= 1.5 and min(height, width) > 2:
        problem = "they look like fractions: multiply them by the image's size"
    elif ((x0 >= x1) | (y0 >= y1)).any():
        problem = "x0 < x1 and y0 < y1 do not hold: give corners, not sizes"
    elif outside.any():
        problem = f"{outside.sum()} of {len(present)} do not lie inside the image"
    else:
        given, turned = _ink(images, count, box), _ink(images, count, box[..., [1, 0, 3, 2]])
        if given < turned / 2:
            problem = (
                f"{given:.0%} of what stands out lies in them, and {turned:.0%} where x and y are "
                "exchanged"
            )
    if problem:
        warn(
            f"box must be (x0, y0, x1, y1) in pixels of {height} x {width} images, got "
            f"{present.min():g} to {present.max():g}: {problem}"
        )


def _ink(images: Any, count: np.ndarray, box: np.ndarray, most: int = 100) -> float:
    """The share of what stands out from the first images' frames that lies in their boxes."""
    inside = total = 0.0
    for image, number, of_image in zip(images[:most], count, box, strict=False):
        image = np.asarray(image, np.float64)
        middle = np.median(frames(image[None])[0], axis=0)  # [C]
        image = np.abs(image.reshape(*image.shape[:2], -1) - middle)
        mask = np.zeros(image.shape[:2], bool)
        for x0, y0, x1, y1 in np.clip(np.rint(of_image[:number]), 0, None).astype(int):
            mask[y0:y1, x0:x1] = True
        inside, total = inside + image[mask].sum(), total + image.sum()
    return inside / total if total else 1.0
