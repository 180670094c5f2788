"""What follows from a user's images, and from what is said of their objects (`configs/own.py`)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from asr_jax.config import MAX_OBJECTS, whole
from asr_jax.images import DARK
from configs.base import PRIOR_TOLERANCES, TOLERANCES, balance_tolerance
from configs.own import OPEN
from data_gen import user_scenes

SAMPLE = 200  # images that are looked at for their background
EVEN = 10  # of 255: standard deviation over the frame of an image whose background has one colour
SIGMA = 0.2  # of a pixel around its colour, from 0 to 1
LEAST = 4  # images: two to learn from, two to measure
BATCH = 64
STEPS = {True: 6_000, False: 7_500}  # of training, by whether the count is known
AT_MOST = 5  # objects, where nothing is said of their number
WINDOWS = (12, 64)  # pixels: fewer show no shape, more take long
FRACTIONS = (0.01, 0.95)  # of a side: beyond these its logit says nothing
VARIANCES = (0.01, 0.05)  # of the prior over the logit of a side; with more, boxes grow


class Images(NamedTuple):
    """What is seen of images before they are all read."""

    number: int
    canvas: tuple[int, int]  # (H, W) in pixels
    colour: bool
    background: str  # "black", "colour": one in each image, or "image"
    share: float  # of the frames that were looked at, how many are so
    counted: int  # images whose count is known
    counts: tuple[int, ...]  # those counts, each once


class Choice(NamedTuple):
    field: str  # section.name of the config
    value: Any
    reason: str


# Fields of which what applies is kept -> what they say where nobody has set them.
DEFAULTS = {"tolerances": TOLERANCES, "prior_tolerances": PRIOR_TOLERANCES}
OF_OBJECTS = ("model.count", "constraints.counts")  # say again what `config.objects` says


def completed(config: ConfigDict) -> tuple[ConfigDict, list[Choice]]:
    """The config with what it leaves open, and each choice; as it is where it has no `objects`.

    What is set already stays, and the rest follows from it, too.

    Raises:
      ValueError: objects that cannot be, settings that contradict them, or images that are not
        read; the message names the field.
      OSError: images that are not there.
    """
    if "objects" not in config:
        return config, []
    config, chosen = config.copy_and_resolve_references(), []
    found, already = look(config.data), _set(config)
    with config.unlocked():
        for choice in choices(found, config.objects, already):
            section, field = choice.field.split(".")
            fields = config[section]
            if field in DEFAULTS:
                _refuse_dropped(choice, fields[field], DEFAULTS[field])
                fields[field] = {n: v for n, v in fields[field].items() if n in choice.value}
                choice = choice._replace(value=" ".join(fields[field]) or "none")
            elif choice.field in already:
                _refuse_contradiction(choice, fields[field])
                choice = choice._replace(value=fields[field], reason="as it was set")
            else:
                fields[field] = choice.value
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
    flat = images.reshape(*images.shape[:3], -1).astype(np.float32)
    edges = flat[:, 0], flat[:, -1], flat[:, :, 0], flat[:, :, -1]
    frame = np.concatenate(edges, axis=1)  # [b, pixels, channels]
    middle = np.median(frame, axis=1, keepdims=True)
    off = np.sort(np.abs(frame - middle).max(-1), axis=1)[:, : frame.shape[1] // 2]
    black = middle.max((1, 2)) < DARK
    even = ~black & (np.sqrt((off**2).mean(1)) < EVEN)
    if black.mean() >= 0.5:
        return "black", float(black.mean())
    if even.sum() >= (~black).sum() / 2:
        return "colour", float(even.mean())
    return "image", float((~black & ~even).mean())


def choices(
    images: Images, objects: Mapping[str, Any], already: Mapping[str, Any] | None = None
) -> list[Choice]:
    """What follows, in the order of a table.

    Args:
      images: what is seen of them.
      objects: `config.objects`: size, count, counts, at_most, overlap.
      already: section.name of the config -> what is set there; the rest follows from that, too.

    Raises:
      ValueError: objects that cannot be.
    """
    already = already or {}
    low, high = _size(objects.size, images.canvas)
    most, counts, said = _number(objects)
    _check_counts(images, objects, most)
    if not objects.overlap and most * low * low > math.prod(images.canvas):
        raise ValueError(
            f"{most} objects of {low:g} pixels do not fit beside each other in images of "
            f"{images.canvas[0]} x {images.canvas[1]}: set config.objects.overlap=True, or mend "
            "config.objects.size"
        )
    known = objects.count is not None
    behind = already.get("model.background", images.background)
    coloured = images.colour or behind != "black"
    test = already.get("data.test_size", min(1_000, max(2, images.number // 10)))
    train = max(1, images.number - test)
    batch = already.get("train.batch_size", min(BATCH, 2 ** int(math.log2(train))))
    middle = (low + high) / 2
    window = int(np.clip(4 * math.ceil(high / 4), *WINDOWS))
    prior = scale_prior(low, high, min(images.canvas))
    size = "pixels, of objects.size"
    kinds = {"black": "black", "colour": "of one colour", "image": "of many colours"}
    names = [f"F{i}" for i in range(2, 8)] + ["side"]
    together = "their boxes may overlap (objects.overlap=True)"
    if not objects.overlap:
        names, together = ["F1", *names], "boxes do not overlap, unless objects.overlap=True"
    if counts:
        names = ["possible", "number", "balance", *names]
    else:
        together += "; the count is known" if known else "; possible counts are not named"
    if images.counted and not known:
        names = ["counted", *names]
        together += f"; {images.counted} images are counted"
    hidden = objects.overlap and not known and behind != "black"
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
            f"{images.share:.0%} of the frames are {kinds[images.background]}",
        ),
        Choice(
            "model.compositing",
            "sum" if behind == "black" else "over",
            "objects add up on black" if behind == "black" else "objects cover it",
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


def _check_counts(images: Images, objects: Mapping[str, Any], most: int) -> None:
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


def _set(config: ConfigDict) -> dict[str, Any]:
    """section.name -> value of the fields that configs/own.py leaves open, and that are set."""
    return {
        f"{section}.{field}": config[section][field]
        for section, fields in OPEN.items()
        for field in fields
        if config[section][field] is not None
    }


def _refuse_contradiction(choice: Choice, value: Any) -> None:
    if choice.field in OF_OBJECTS and value != choice.value:
        raise ValueError(
            f"config.{choice.field}={value} contradicts config.objects, of which {choice.value} "
            "follows: leave it out, and say it there, as count or counts"
        )


def _refuse_dropped(choice: Choice, fields: Mapping[str, float], defaults: Mapping) -> None:
    """A tolerance that was set is not left out in silence."""
    for name, value in fields.items():
        if name not in choice.value and value != defaults.get(name):
            raise ValueError(
                f"config.{choice.field}.{name}={value} was set, and {name} does not apply "
                f"({choice.reason}): leave it out"
            )
