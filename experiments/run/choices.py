"""What follows from a user's images, and from what is said of their objects (`configs/own.py`)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from asr_jax.config import whole
from asr_jax.images import DARK
from configs.base import TOLERANCES, balance_tolerance
from data_gen import user_scenes

SAMPLE = 200  # images that are looked at for their background
EVEN = 10  # of 255: standard deviation over the frame of an image whose background has one colour
SIGMA = 0.2  # of a pixel around its colour, from 0 to 1
LEAST = 4  # images: two to learn from, two to measure
BATCH = 64
STEPS = {True: 6_000, False: 7_500}  # of training, by whether the count is known
WINDOWS = (12, 64)  # pixels: fewer show no shape, more take long
FRACTIONS = (0.01, 0.95)  # of a side: beyond these its logit says nothing
VARIANCES = (0.01, 0.05)  # of the prior over the logit of a side; with more, boxes grow


class Images(NamedTuple):
    """What is seen of images before they are all read."""

    number: int
    canvas: tuple[int, int]  # (H, W) in pixels
    colour: bool
    background: str  # "black", "colour": one in each image, or "image"
    counted: int  # images whose count is known


class Choice(NamedTuple):
    field: str  # section.name of the config
    value: Any
    reason: str


def completed(config: ConfigDict) -> tuple[ConfigDict, list[Choice]]:
    """The config with what it leaves open, and each choice; as it is where it has no `objects`.

    What is set already stays.

    Raises:
      ValueError: objects that cannot be, or images that are not read; the message names the field.
      OSError: images that are not there.
    """
    if "objects" not in config:
        return config, []
    config, chosen = config.copy_and_resolve_references(), []
    found = look(config.data)
    with config.unlocked():
        for choice in choices(found, config.objects):
            section, field = choice.field.split(".")
            fields = config[section]
            if field in ("tolerances", "prior_tolerances"):
                fields[field] = {n: v for n, v in fields[field].items() if n in choice.value}
                choice = choice._replace(value=" ".join(fields[field]) or "none")
            elif fields[field] is None:
                fields[field] = choice.value
            else:
                choice = choice._replace(value=fields[field], reason="as it was set")
            chosen.append(choice)
        tolerances = config.constraints.tolerances
        if tolerances.get("balance") == TOLERANCES["balance"]:  # as it was not set otherwise
            batch = config.train.batch_size
            tolerances.balance = balance_tolerance(config.constraints.counts, batch)
    return config, chosen


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
    counted = 0 if found.count is None else int((np.asarray(found.count) >= 0).sum())
    sample = next(found.chunks(min(SAMPLE, number)))
    return Images(number, found.canvas, found.colour(), background(sample), counted)


def background(images: np.ndarray) -> str:
    """What lies behind objects, by the frames of most images [b, H, W] or [b, H, W, 3], uint8.

    "black"; "colour", where a frame has one colour, or grey; else "image". Objects at the edge are
    not looked at: of a frame's pixels, the half that lies nearest to its median is.
    """
    flat = images.reshape(*images.shape[:3], -1).astype(np.float32)
    edges = flat[:, 0], flat[:, -1], flat[:, :, 0], flat[:, :, -1]
    frame = np.concatenate(edges, axis=1)  # [b, pixels, channels]
    middle = np.median(frame, axis=1, keepdims=True)
    off = np.sort(np.abs(frame - middle).max(-1), axis=1)[:, : frame.shape[1] // 2]
    if np.median(middle.max(-1)) < DARK:
        return "black"
    return "colour" if np.median(np.sqrt((off**2).mean(1))) < EVEN else "image"


def choices(images: Images, objects: Mapping[str, Any]) -> list[Choice]:
    """What follows, in the order of a table.

    Args:
      images: what is seen of them.
      objects: `config.objects`: size, count, counts, at_most, overlap.

    Raises:
      ValueError: objects that cannot be.
    """
    low, high = _size(objects.size, images.canvas)
    most, counts, said = _number(objects)
    known = objects.count is not None
    coloured = images.colour or images.background != "black"
    test = min(1_000, max(2, images.number // 10))
    train = images.number - test
    batch = min(BATCH, 2 ** int(math.log2(train)))
    middle = (low + high) / 2
    window = int(np.clip(4 * math.ceil(high / 4), *WINDOWS))
    prior = scale_prior(low, high, min(images.canvas))
    size = "pixels, of objects.size"
    behind = {"black": "black", "colour": "of one colour", "image": "of many colours"}
    names = [f"F{i}" for i in range(2, 8)] + ["side"]
    together = "their boxes may overlap (objects.overlap=True)"
    if not objects.overlap:
        names, together = ["F1", *names], "boxes do not overlap, unless objects.overlap=True"
    if counts:
        names = ["possible", "number", "balance", *names]
    if images.counted and not known:
        names = ["counted", *names]
        together += f"; {images.counted} images are counted"
    hidden = objects.overlap and not known and images.background != "black"
    if hidden:
        names.append("visible")
    of_prior = [f"F{i}" for i in range(1, 6) if f"F{i}" in names] if known else []
    inferred = "count is known" if known else "count is inferred"
    return [
        Choice("model.max_objects", most + bool(counts), said + ", and one more" * bool(counts)),
        Choice("model.count", objects.count if known else -1, inferred),
        Choice("model.scale_prior", prior, f"logit of a side around {middle:g} pixels"),
        Choice("model.window", window, "pixels, for the largest of objects.size"),
        Choice("model.count_gap_weight", 0.0 if known else 1.0, inferred),
        Choice("model.channels", 3 if images.colour else 1, "colour" if images.colour else "grey"),
        Choice(
            "model.background",
            images.background,
            f"most frames are {behind[images.background]}",
        ),
        Choice(
            "model.compositing",
            "sum" if images.background == "black" else "over",
            "objects add up on black" if images.background == "black" else "objects cover it",
        ),
        Choice(
            "model.overlap",
            objects.overlap and not coloured,
            "for grey on black, with objects.overlap=True",
        ),
        Choice(
            "model.likelihood",
            "gaussian" if coloured else "bernoulli",
            "colours or a background" if coloured else "grey on black",
        ),
        Choice("model.sigma", SIGMA, "of a Gaussian likelihood" if coloured else "not looked at"),
        Choice("constraints.tolerances", names, together),
        Choice("constraints.prior_tolerances", of_prior, inferred),
        Choice("constraints.counts", counts, said if counts else "none are named"),
        Choice("constraints.c_min", float(low), size),
        Choice("constraints.c_max", float(high), size),
        Choice("constraints.epsilon", float(high - low), "pixels, as objects.size differ"),
        Choice("constraints.side", float(middle), "pixels, middle of objects.size"),
        Choice(
            "constraints.visible",
            low * low / 10 if hidden else 0.0,
            "pixels, a tenth of the smallest box" if hidden else "nothing hides an object too many",
        ),
        Choice("data.test_size", test, f"of {images.number} images"),
        Choice("train.batch_size", batch, f"of {train} images to learn from"),
        Choice("train.epochs", math.ceil(STEPS[known] * batch / train), f"{STEPS[known]} steps"),
        Choice("train.count_mix_until", 0.0 if known else 0.2, inferred),
    ]


def scale_prior(low: float, high: float, edge: int) -> tuple[float, float]:
    """Mean and variance of the logit of a side, a fraction of `edge` pixels.

    The mean is the logit of the middle of [low, high], the variance that of a logit which is
    uniform between those of its ends, within VARIANCES.
    """
    ends = np.clip(np.array([low, (low + high) / 2, high]) / edge, *FRACTIONS)
    first, mean, last = np.log(ends / (1 - ends))
    variance = np.clip((last - first) ** 2 / 12, *VARIANCES)
    return round(float(mean), 4), round(float(variance), 4)


def table(path: str, chosen: Sequence[Choice]) -> str:
    """What was chosen and why, a line each."""
    rows = [(choice.field, str(choice.value), choice.reason) for choice in chosen]
    widths = [min(max(len(row[i]) for row in rows), widest) for i, widest in ((0, 40), (1, 24))]
    lines = [f"  {a:{widths[0]}}  {b:{widths[1]}}  {c}" for a, b, c in rows]
    return "\n".join([f"{path}: from its images and config.objects follows", *lines])


def _size(size: Sequence[float], canvas: tuple[int, int]) -> tuple[float, float]:
    pair = len(size) == 2 and all(isinstance(v, Real) for v in size)
    if not pair or not 1 <= size[0] <= size[1] <= min(canvas):
        raise ValueError(
            "config.objects.size must be (smallest, largest), sides of objects in pixels, of at "
            f"least 1 and at most {min(canvas)}, the shorter edge of the images, got "
            f'{tuple(size) or "nothing"}: set it as in --config.objects.size="(20,30)"'
        )
    return tuple(size)


def _number(objects: Mapping[str, Any]) -> tuple[int, tuple[int, ...], str]:
    """(The largest number of objects, possible ones if they are named, who says so.)"""
    count, counts = objects.count, tuple(objects.counts)
    if count is not None and counts:
        raise ValueError(
            "config.objects.count is the number in every image and config.objects.counts names "
            f"possible ones, got both, {count} and {counts}: leave one out"
        )
    if count is not None:
        if count < 1:
            raise ValueError(f"config.objects.count must be at least 1, got {count}")
        return count, (), f"objects.count={count}"
    if counts:
        if (
            not whole(counts)
            or min(counts) < 0
            or max(counts) < 1
            or len(set(counts)) < len(counts)
        ):
            raise ValueError(
                "config.objects.counts must be different whole numbers, one of them above 0, got "
                f"{counts}: name the possible numbers of objects"
            )
        return max(counts), counts, f"objects.counts={counts}"
    if objects.at_most < 1:
        raise ValueError(f"config.objects.at_most must be at least 1, got {objects.at_most}")
    return objects.at_most, (), f"objects.at_most={objects.at_most}"
