"""Everything that a run is made of, checked before any of it begins."""

from __future__ import annotations

from typing import NamedTuple

from ml_collections import ConfigDict

import asr_jax
from experiments import build, jax_settings, loop


class Run(NamedTuple):
    seeds: range
    constraints: tuple[asr_jax.Constraint, ...]  # all that are reported
    penalised: tuple[asr_jax.Constraint, ...]  # those that the method trains with
    data: build.Data
    model: asr_jax.Model
    optimizer: asr_jax.OptimizerConfig
    steps: int


def prepare(config: ConfigDict) -> Run:
    """Whatever can be refused is refused here, what is cheap to check before scenes are built.

    Raises:
      ValueError: a setting or a file that breaks its rule; the message names both.
      OSError: a file or folder that cannot be read or written.
    """
    build.check_numbers(config)
    build.check_method(config)
    jax_settings.matmul_precision(config)
    seeds = build.seeds(config)
    constraints = build.constraints(config)
    penalised = build.penalised(config, constraints)
    build.check_evaluate(config)
    build.check_presence_prior(config)
    data = build.data(config)
    build.check_counts(config, data.train)
    model = build.model(config, data.canvas)
    optimizer = build.optimizer(config)
    steps = loop.total_steps(config, data.train_size)
    return Run(seeds, constraints, penalised, data, model, optimizer, steps)
