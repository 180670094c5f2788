"""What follows from a user's images, and from what is said of their objects (`configs/own.py`)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from configs.base import PRIOR_TOLERANCES, TOLERANCES, balance_tolerance, sharp_tolerance
from configs.own import OPEN
from experiments.run.objects import check_counts, check_room, number_of, size_of
from experiments.run.seen import Images, look

SIGMA = 0.2  # of a pixel around its colour, from 0 to 1
CODE = 32  # numbers of a background: with too few, objects come to stand in for the rest of it
BATCH = 64
STEPS = {True: 6_000, False: 7_500}  # of training, by whether the count is known
WINDOWS = (12, 64)  # pixels: fewer show no shape, more take long
FRACTIONS = (0.01, 0.95)  # of a side: beyond these its logit says nothing
VARIANCES = (0.01, 0.05)  # of the prior over the logit of a side; with more, boxes grow


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
        validation = config.data.split == "validation"
        for choice in choices(found, config.objects, already, validation):
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
        most, counts, _ = number_of(config.objects)
        number = config.objects.count or np.mean(counts or range(most + 1))
        for name in ("snug", "centred"):
            if tolerances.get(name) == TOLERANCES[name]:
                tolerances[name] = float(sharp_tolerance(number))
    return config, chosen


def choices(
    images: Images,
    objects: Mapping[str, Any],
    already: Mapping[str, Any] | None = None,
    validation: bool = False,
) -> list[Choice]:
    """What follows, in the order of a table.

    Args:
      images: what is seen of them.
      objects: `config.objects`: size, count, counts, at_most, overlap, sharp.
      already: section.name of the config -> what is set there; the rest follows from that, too.
      validation: whether as many images as are tested on are held out once more.

    Raises:
      ValueError: objects that cannot be.
    """
    already = already or {}
    low, high = size_of(objects.size, images.canvas)
    most, counts, said = number_of(objects)
    check_counts(images, objects, most)
    check_room(images, objects, most)
    known = objects.count is not None
    behind = already.get("model.background", images.background)
    coloured = images.colour or behind != "black"
    test = already.get("data.test_size", min(1_000, max(2, images.number // 10)))
    train = max(1, images.number - test * (1 + validation))
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
    if objects.sharp:
        names += ["snug", "centred"]
        together += "; boxes end at sharp outlines (objects.sharp=True)"
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
        Choice("model.background_code", CODE, "numbers that a background of many colours has"),
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
