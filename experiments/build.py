"""From a ConfigDict to the objects of a run. The only place that knows both sides."""

from __future__ import annotations

import dataclasses
import hashlib
from numbers import Real
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

import asr_jax
from asr_jax import parallel
from asr_jax.constraints.base import check_names
from configs.base import METHODS
from data_gen import multi_dsprites, multi_mnist, user_scenes
from data_gen.scenes import Scenes

OBJECTS = {"mnist": multi_mnist, "dsprites": multi_dsprites}  # config.data.objects
MAX_SEEDS = 1_000  # each gets a folder before the first is trained


class Data(NamedTuple):
    train: Scenes
    test: Scenes  # or the validation scenes
    source: str
    train_size: int  # of the whole run; `train` may be this process's share
    sharded: bool

    @property
    def canvas(self) -> tuple[int, int]:
        """(H, W) in pixels."""
        return self.train.image.shape[1:3]

    @property
    def facts(self) -> dict:
        """What a run that goes on must find again; JSON.

        A hash of all images: the same settings give other scenes where other digits lie. Of
        training scenes that no process has all of, it knows nothing; who sees which depends on
        the number of devices then.
        """
        digest = hashlib.sha256()
        for scenes in (self.test,) if self.sharded else (self.train, self.test):
            digest.update(np.ascontiguousarray(scenes.image))
        facts = {"scenes": digest.hexdigest()[:16], "canvas": list(self.canvas)}
        return facts | ({"devices": jax.device_count()} if self.sharded else {})


def data(config: ConfigDict) -> Data:
    """Loads the scenes, building them on first use.

    Raises:
      ValueError: for bad settings or bad files; nothing has been trained yet.
    """
    settings = config.data
    if settings.split not in ("test", "validation"):
        raise ValueError(f"data.split must be test or validation, got {settings.split!r}")
    if settings.objects not in OBJECTS:
        raise ValueError(
            f"data.objects must be one of {', '.join(OBJECTS)}, got {settings.objects!r}: "
            "set config.data.objects, or config.data.path for scenes of your own"
        )
    sharded = settings.placement == "sharded"
    rows = parallel.own_rows if sharded else None
    if settings.path:
        scenes = user_scenes.load_npz(settings.path)
        train, test = user_scenes.split(scenes, settings.test_size, settings.seed)
        source = settings.path
    else:
        # Scenes to hold out are drawn from all of them.
        early = rows if settings.split == "test" else None
        train, test, source = OBJECTS[settings.objects].from_config(settings, early)
    if settings.split == "validation":
        train, test = user_scenes.split(train, len(test.image), settings.seed)
    size = len(train.image)
    if rows and (settings.path or settings.split == "validation"):
        train = Scenes(*(None if field is None else field[rows(size)] for field in train))
    elif rows:
        size = settings.train_size
    if len(test.image) < 2:
        raise ValueError(
            f"a standard error needs at least 2 {settings.split} scenes, got {len(test.image)}: "
            "set config.data.test_size=2 or more"
        )
    if config.train.batch_size > size:
        raise ValueError(
            f"train.batch_size={config.train.batch_size} is larger than the {size} "
            "training scenes: set config.train.batch_size to that or less"
        )
    return Data(train, test, source, size, sharded)


def check_numbers(config: ConfigDict, section: str = "config") -> None:
    """Raises ValueError for a number, in whichever field, that no int32 or float32 is."""
    for field, value in config.items():
        name = f"{section}.{field}"
        if isinstance(value, ConfigDict):
            check_numbers(value, name)
            continue
        for number in value if isinstance(value, tuple | list) else [value]:
            if isinstance(number, float) and not abs(number) < 1e38:
                raise ValueError(f"{name} must be finite, and below 1e38, got {value}")
            if isinstance(number, int) and abs(number) >= 2**31:
                raise ValueError(f"{name} must be below 2**31, got {value}")


def check_method(config: ConfigDict) -> None:
    """Raises ValueError for a method that there is not."""
    if config.method not in METHODS:
        raise ValueError(
            f"method must be one of {', '.join(METHODS)}, got {config.method!r}: name it as in "
            "--config=configs/mnist3.py:air"
        )


def seeds(config: ConfigDict) -> range:
    """The seeds of the run.

    Raises:
      ValueError: fewer than one seed, too many, or one below 0.
    """
    if not 1 <= config.seeds <= MAX_SEEDS or config.seed < 0:
        raise ValueError(
            f"a run needs config.seeds of at least 1 and at most {MAX_SEEDS}, and config.seed of "
            f"at least 0, got {config.seeds} and {config.seed}"
        )
    return range(config.seed, config.seed + config.seeds)


def seeds_name(config: ConfigDict) -> str:
    """The end of the workdir's name: seed0, or seeds0-2."""
    all_seeds = seeds(config)
    return f"seed{config.seed}" if config.seeds == 1 else f"seeds{config.seed}-{all_seeds[-1]}"


def warnings(config: ConfigDict, scenes: Scenes) -> list[str]:
    """What is allowed and probably not meant."""
    used = any(name in config.constraints.weights for name in ("number", "balance"))
    possible = set(config.constraints.counts if used else config.model.possible_counts)
    if not possible or scenes.count is None:
        return []
    field = "config.constraints.counts" if used else "config.model.possible_counts"
    values, images = np.unique(scenes.count, return_counts=True)
    strange = {int(n): int(k) for n, k in zip(values, images, strict=True) if n not in possible}
    found = ", ".join(f"{k} with {n}" for n, k in strange.items())
    missing = sorted(possible - set(values.tolist()))
    messages = []
    if strange:
        messages.append(
            f"{field}={sorted(possible)} leaves out counts of the training "
            f"scenes ({found}): they will be pulled to another count"
        )
    if missing:
        messages.append(
            f"{field}={sorted(possible)} names {missing}, which no training "
            "scene has: images will be forced there"
        )
    return messages


def model(config: ConfigDict, canvas: tuple[int, int]) -> asr_jax.Model:
    """The model for images of that (H, W); raises ValueError for an unknown field or bad value."""
    fields = dict(config.model) | {"estimator": config.estimator}
    fields["count"] = None if fields["count"] < 0 else fields["count"]
    return asr_jax.Model(frozen(asr_jax.ModelConfig, "model", canvas=canvas, **fields))


def check_counts(config: ConfigDict, scenes: Scenes) -> None:
    """Raises ValueError for fewer steps than objects, or another count than the known one."""
    if scenes.count is None:
        return
    known, largest = config.model.count, int(scenes.count.max())
    if config.model.max_steps < largest:
        raise ValueError(
            f"K must be at least max(counts)={largest}, got {config.model.max_steps}: "
            f"set config.model.max_steps={largest} or more"
        )
    if known >= 0 and (scenes.count != known).any():
        raise ValueError(
            f"config.model.count={known} says that every scene has {known} objects, got counts "
            f"{np.unique(scenes.count).tolist()}: set config.model.count=-1 to infer them"
        )


def check_evaluate(config: ConfigDict) -> None:
    """Raises ValueError for a number of samples below 0."""
    for name, value in config.evaluate.items():
        if value < 0:
            raise ValueError(f"evaluate.{name} must be at least 0, got {value}: 0 leaves it out")


def constraints(config: ConfigDict) -> tuple[asr_jax.Constraint, ...]:
    """R_num where the possible counts are named, and F1..F7; all are reported, weighted or not.

    Raises:
      ValueError: counts outside 0..K, sides out of order.
    """
    c = config.constraints
    number = ()
    if c.counts:
        number = asr_jax.number_constraints(tuple(c.counts))
        if max(c.counts) > config.model.max_steps:
            raise ValueError(
                f"constraints.counts must lie in 0..K={config.model.max_steps}, got "
                f"{tuple(c.counts)}: set config.model.max_steps={max(c.counts)} or more"
            )
    return number + asr_jax.overlap_constraints(c.c_min, c.c_max, c.epsilon, c.tight or None)


def penalised(
    config: ConfigDict, constraints: tuple[asr_jax.Constraint, ...]
) -> tuple[asr_jax.Constraint, ...]:
    """Those that the method trains with: those that have a weight.

    Raises:
      ValueError: a weight without a constraint, or below 0; a ramp that belongs to no weight, or
        does not rise.
    """
    weights, ramps = config.constraints.weights, config.constraints.ramps
    for name, ramp in ramps.items():
        pair = len(ramp) == 2 and all(isinstance(value, Real) for value in ramp)
        if name not in weights or not pair or not 0 <= ramp[0] < ramp[1]:
            raise ValueError(
                f"config.constraints.ramps.{name} must be (start, end) with 0 <= start < end, for "
                f"one of the weights {', '.join(weights) or '(none)'}; got {ramp}"
            )
    for field in ("weights", "prior_weights"):
        for name, weight in config.constraints[field].items():
            if not weight >= 0:
                raise ValueError(
                    f"config.constraints.{field}.{name} must be at least 0, got {weight}: "
                    "a negative one rewards what the constraint forbids"
                )
    weighted = tuple(constraint for constraint in constraints if constraint.name in weights)
    check_names([constraint.name for constraint in weighted], weights)
    for name in config.constraints.prior_weights:
        if name not in weights:
            raise ValueError(
                f"config.constraints.prior_weights.{name} must name one of the weights "
                f"{', '.join(weights) or '(none)'}: give it a weight, 0 if need be"
            )
    return weighted


def check_presence_prior(config: ConfigDict) -> None:
    """Raises ValueError for a schedule of the geometric prior out of its range."""
    start, until = config.train.presence_prior_start, config.train.presence_prior_until
    if not -1e6 <= start <= 1e6:
        raise ValueError(f"train.presence_prior_start must lie in [-1e6, 1e6], got {start}")
    if not 0 <= until < float("inf"):
        raise ValueError(f"train.presence_prior_until must be 0 or above, got {until}")


def optimizer(config: ConfigDict) -> asr_jax.OptimizerConfig:
    """Raises ValueError for an unknown field or a bad value."""
    return frozen(asr_jax.OptimizerConfig, "optimizer", **config.optimizer)


def schedule(config: ConfigDict, first: int, last: int, total: int) -> asr_jax.Schedule:
    """What changes over the steps first..last-1 of total, [n] each.

    A ramp (start, end), in fractions of the run, raises a weight linearly from 0. The geometric
    prior's log-odds of one more object go linearly to their value in the model.
    """
    progress = np.arange(first, last) / total
    weights = {}
    for name, weight in config.constraints.weights.items():
        start, end = config.constraints.ramps.get(name, (-1.0, 0.0))
        ramp = np.clip((progress - start) / (end - start), 0, 1)
        weights[name] = (weight * ramp).astype(np.float32)
    log_odds, until = config.model.presence_prior, config.train.presence_prior_until
    if until:
        left = np.clip(1 - progress / until, 0, 1)
        log_odds = log_odds + left * (config.train.presence_prior_start - log_odds)
    log_odds = np.broadcast_to(np.float32(log_odds), progress.shape)
    prior_weights = {
        name: np.full(progress.shape, weight, np.float32)
        for name, weight in config.constraints.prior_weights.items()
    }
    return asr_jax.Schedule(weights, log_odds, prior_weights or None)


def frozen(kind: type, section: str, **fields: Any):
    """Builds a dataclass from a section of the config; a typo in a field fails here, by name."""
    known = [field.name for field in dataclasses.fields(kind)]
    unknown = sorted(set(fields) - set(known))
    if unknown:
        raise ValueError(
            f"unknown field config.{section}.{unknown[0]}: the fields are {', '.join(known)}"
        )
    return kind(**fields)
