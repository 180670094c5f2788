"""The door: from a ConfigDict to a `Run`. Nobody behind it sees a config, but the run's folder."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

import asr_jax
from asr_jax.config import ESTIMATORS, OptimizerConfig, from_fields
from asr_jax.constraints.base import default_weights
from asr_jax.constraints.multipliers import Rule
from configs.presets import METHODS
from experiments.run import constraints
from experiments.run.data import DataConfig

MAX_SEEDS = 1_000  # each gets a folder before the first is trained


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """How a run trains; `configs/fields.py` says what each field means."""

    batch_size: int
    epochs: int
    presence_prior_start: float
    presence_prior_until: float
    log_every: int
    checkpoint_every: int
    side_by_side: str
    parallel: str
    matmul_precision: str
    count_mix_until: float

    def __post_init__(self):
        for name in ("batch_size", "epochs", "log_every", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.side_by_side not in ("auto", "yes", "no"):
            raise ValueError(
                f"side_by_side must be one of auto, yes, no, got {self.side_by_side!r}"
            )
        start = self.presence_prior_start
        if not -1e6 <= start <= 1e6:
            raise ValueError(f"presence_prior_start must lie in [-1e6, 1e6], got {start}")
        for name in ("presence_prior_until", "count_mix_until"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be 0 or above, got {getattr(self, name)}")

    def steps(self, images: int) -> int:
        """Steps of a run: its epochs, rounded up to whole dispatches, which share one program.

        Raises:
          ValueError: more than an int32 counts.
        """
        steps = math.ceil(self.epochs * images / self.batch_size)
        per_dispatch = min(self.log_every, steps)
        steps = math.ceil(steps / per_dispatch) * per_dispatch
        if steps >= 2**31:
            raise ValueError(
                f"config.train.epochs={self.epochs} of {images} scenes, in dispatches of "
                f"config.train.log_every={self.log_every}, are {steps} steps, and must be below "
                "2**31: lower config.train.epochs"
            )
        return steps


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
    """What is measured while a run trains, and after it."""

    iwae_samples: int
    generated: int
    every: int
    scenes: int

    def __post_init__(self):
        for field in dataclasses.fields(self):
            if getattr(self, field.name) < 0:
                raise ValueError(
                    f"{field.name} must be at least 0, got {getattr(self, field.name)}"
                )


@dataclasses.dataclass(frozen=True)
class Run:
    """Everything that a run is made of but its images."""

    name: str
    method: str
    seeds: tuple[int, ...]
    data: DataConfig
    model: asr_jax.Model
    constraints: tuple[asr_jax.Constraint, ...]  # trained with, each with its weight and ramp
    reported: tuple[asr_jax.Constraint, ...]  # all that are measured, these among them
    prior_weights: Mapping[str, float]  # of some of the constraints, on the prior's places
    prior_tolerances: Mapping[str, float]  # the same, where multipliers set themselves
    largest: float  # the multiplier that they may reach
    rule: Rule | None  # how they do; None: they are the weights
    optimizer: OptimizerConfig
    train: TrainConfig
    evaluate: EvaluateConfig

    @property
    def weights(self) -> dict[str, float]:
        """name -> the constraint's weight, in full."""
        return default_weights(self.constraints)

    @property
    def label(self) -> str:
        """What its folder is called: its name and seeds."""
        first, last = self.seeds[0], self.seeds[-1]
        return f"{self.name}-seed{first}" if first == last else f"{self.name}-seeds{first}-{last}"


def from_config(config: ConfigDict, canvas: tuple[int, int] | None = None) -> Run:
    """The run that a configuration describes. Whatever can be refused without images is.

    Args:
      config: with the fields of `configs/fields.py`.
      canvas: the images' (H, W) in pixels; None: what the settings or the named file say.

    Raises:
      ValueError: a setting that breaks its rule; the message names both.
      OSError: a file that cannot be read.
    """
    _check_numbers(config)
    if config.method not in METHODS:
        raise ValueError(
            f"config.method must be one of {', '.join(METHODS)}, got {config.method!r}: name it as "
            "in --config=configs/mnist3.py:air"
        )
    if not 1 <= config.seeds <= MAX_SEEDS or config.seed < 0:
        raise ValueError(
            f"a run needs config.seeds of at least 1 and at most {MAX_SEEDS}, and config.seed of "
            f"at least 0, got {config.seeds} and {config.seed}"
        )
    if config.estimator not in ESTIMATORS:
        raise ValueError(
            f"config.estimator must be one of {', '.join(ESTIMATORS)}, got {config.estimator!r}"
        )
    train = _section(TrainConfig, "train", config.train)
    evaluate = _section(EvaluateConfig, "evaluate", config.evaluate)
    optimizer = _section(OptimizerConfig, "optimizer", config.optimizer)
    data = DataConfig.from_settings(config.data, canvas)
    model = asr_jax.Model(_model(config, data.canvas))
    return Run(
        name=config.name,
        method=config.method,
        seeds=tuple(range(config.seed, config.seed + config.seeds)),
        data=data,
        model=model,
        **constraints.from_settings(config.constraints, model.config),
        optimizer=optimizer,
        train=train,
        evaluate=evaluate,
    )


def _check_numbers(config: ConfigDict, section: str = "config") -> None:
    """Raises ValueError for a number, in whichever field, that no int32 or float32 is."""
    for field, value in config.items():
        name = f"{section}.{field}"
        if isinstance(value, ConfigDict):
            _check_numbers(value, name)
            continue
        for number in value if isinstance(value, tuple | list) else [value]:
            if isinstance(number, float) and not abs(number) < 1e38:
                raise ValueError(f"{name} must be finite, and below 1e38, got {value}")
            if isinstance(number, int) and abs(number) >= 2**31:
                raise ValueError(f"{name} must be below 2**31, got {value}")


def _section(kind: type, section: str, fields: Mapping[str, Any]) -> Any:
    """A section of the config as a dataclass; its messages begin with the field."""
    try:
        return from_fields(kind, dict(fields))
    except ValueError as error:
        raise ValueError(f"config.{section}.{error}") from error


def _model(config: ConfigDict, canvas: tuple[int, int]) -> asr_jax.ModelConfig:
    fields = dict(config.model) | {"estimator": config.estimator, "canvas": canvas}
    fields["count"] = None if fields["count"] < 0 else fields["count"]
    return _section(asr_jax.ModelConfig, "model", fields)
