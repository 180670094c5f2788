"""Training as the experiments do it, on noise instead of scenes, which takes the same time."""

from __future__ import annotations

import dataclasses
import functools
import importlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

import asr_jax
from asr_jax import parallel
from experiments.run.from_config import Run, from_config
from experiments.run.steps import schedule


@dataclasses.dataclass(frozen=True)
class Case:
    """A configuration, and what of it is changed."""

    config: str  # a module of `configs`
    argument: str = "asr"
    batch: int = 64
    model: tuple[tuple[str, Any], ...] = ()  # other fields of config.model

    def load(self) -> ConfigDict:
        """The whole configuration."""
        config = importlib.import_module(f"configs.{self.config}").get_config(self.argument)
        config.train.batch_size = self.batch
        config.model.update(dict(self.model))
        return config


@dataclasses.dataclass
class Training:
    """Everything a step needs, and the calls that are timed."""

    run: Run
    tx: Any
    state: asr_jax.TrainState
    images: jax.Array  # [N, canvas, canvas] uint8, on the device

    @property
    def static(self) -> dict[str, Any]:
        run = self.run
        return dict(model=run.model, constraints=run.constraints, tx=self.tx, rule=run.rule)

    def inputs(self, steps: int, seeds: int = 0) -> tuple[np.ndarray, asr_jax.Schedule]:
        """Indices [steps, B], of several seeds [steps, B, S], and the schedule of `steps` steps."""
        shape = (steps, self.run.train.batch_size) + ((seeds,) if seeds else ())
        indices = np.random.default_rng(0).integers(len(self.images), size=shape, dtype=np.int32)
        of_one = schedule(self.run, 0, steps, 10_000)
        if not seeds:
            return indices, of_one
        return indices, jax.tree.map(lambda x: np.stack([x] * seeds), of_one)

    def steps(self) -> Callable:
        """What the training loop calls: (state, images, indices, schedule) -> state, metrics."""
        return parallel.data_parallel(functools.partial(asr_jax.train_steps, **self.static))


def training(case: Case, scenes: int = 2_000) -> Training:
    """Sets a case up, on `scenes` images of noise, a seventh of whose pixels are not black."""
    run = from_config(case.load())
    tx = asr_jax.optimizer(run.optimizer, 10_000)
    rng = np.random.default_rng(0)
    noise = rng.integers(1, 256, (scenes, *run.data.canvas), np.uint8)
    noise *= rng.random(noise.shape, np.float32) < 1 / 7
    state = parallel.replicate(asr_jax.init_state(run.model, tx, 0, run.rule))
    return Training(run, tx, state, parallel.replicate(noise))
