"""What a user says of objects, `config.objects`: how many an image shows, and how large."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

from asr_jax.config import MAX_OBJECTS, whole
from experiments.run.seen import Images

AT_MOST = 5  # objects, where nothing is said of their number


def size_of(size: Sequence[float], canvas: tuple[int, int]) -> tuple[float, float]:
    pair = len(size) == 2 and all(isinstance(v, Real) for v in size)
    if not pair or not 1 <= size[0] <= size[1] <= min(canvas):
        raise ValueError(
            "config.objects.size must be (smallest, largest), sides of objects in pixels, of at "
            f"least 1 and at most {min(canvas)}, the shorter edge of the images, got "
            f'{tuple(size) or "nothing"}: set it as in --config.objects.size="(20,30)"'
        )
    return tuple(size)


def number_of(objects: Mapping[str, Any]) -> tuple[int, tuple[int, ...], str]:
    """(The largest number of objects, possible ones if they are named, who says so.)"""
    count, counts, at_most = objects.count, tuple(objects.counts), objects.at_most
    said = {"count": count, "counts": counts or None, "at_most": at_most}
    said = [f"config.objects.{name}={value}" for name, value in said.items() if value is not None]
    if len(said) > 1:
        raise ValueError(
            "of config.objects, count is the number in every image, counts names possible ones, "
            f"at_most is the largest, got {' and '.join(said)}: leave one of them"
        )
    for field, value in (("count", count), ("at_most", at_most)):
        if value is not None and not 1 <= value <= MAX_OBJECTS:
            raise ValueError(f"config.objects.{field} must be from 1 to {MAX_OBJECTS}, got {value}")
    if count is not None:
        return count, (), f"objects.count={count}"
    if counts:
        if (
            not whole(counts)
            or min(counts) < 0
            or not 1 <= max(counts) < MAX_OBJECTS
            or len(set(counts)) < len(counts)
        ):
            raise ValueError(
                "config.objects.counts must be different whole numbers, one of them above 0 and "
                f"all below {MAX_OBJECTS}, got {counts}: name the possible numbers of objects"
            )
        if len(counts) == 1:
            raise ValueError(
                f"config.objects.counts={counts} names one number of objects: set "
                f"config.objects.count={counts[0]}, or name the others"
            )
        return max(counts), counts, f"objects.counts={counts}"
    most = AT_MOST if at_most is None else at_most
    return most, (), f"objects.at_most={most}"


def check_counts(images: Images, objects: Mapping[str, Any], most: int) -> None:
    """Counts that come with images, against what is said of all of them."""
    wrong = [n for n in images.counts if n > most or objects.count is not None and n != most]
    if not wrong:
        return
    if objects.count is None and not objects.counts:
        raise ValueError(
            f"there are images of {max(wrong)} objects by their counts, and config.objects.at_most "
            f"is {most}: set it {max(wrong)} or more"
        )
    field = "count" if objects.count is not None else "counts"
    raise ValueError(
        f"there are images of {', '.join(map(str, wrong))} objects by their counts, and "
        f"config.objects.{field} is {objects[field]}: name all possible numbers, such as "
        f"config.objects.counts={tuple(sorted({*images.counts, *objects.counts}))}, and no count"
    )


def check_room(images: Images, objects: Mapping[str, Any], most: int) -> None:
    """Objects that lie beside each other need as many pixels as they have."""
    (low, _), (height, width) = objects.size, images.canvas
    if not objects.overlap and most * low * low > height * width:
        raise ValueError(
            f"{most} objects of {low:g} pixels do not fit beside each other in images of "
            f"{height} x {width}: set config.objects.overlap=True, or mend config.objects.size"
        )
