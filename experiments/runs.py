"""Finished runs: what the commands that look back at them share."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from ml_collections import ConfigDict

import asr_jax
from experiments import build, jax_settings
from experiments.measure import measure


class Run(NamedTuple):
    config: ConfigDict
    model: asr_jax.Model
    params: asr_jax.model.Params  # at the end of training
    final: dict  # final.json


def folders(given: Iterable[str | Path]) -> dict[str, Path]:
    """label -> folder of one finished run; a run of several seeds holds one for each.

    Raises:
      ValueError: a folder that holds no finished run, or no folder at all.
    """
    found = {}
    for workdir in map(Path, given):
        ones = sorted(file.parent for file in workdir.glob("seed*/final.json")) or [workdir]
        if not (ones[0] / "final.json").exists():
            raise ValueError(f"not a finished run: {workdir}: name a folder with a final.json")
        for one in ones:  # of several seeds, some may have failed
            found[f"{workdir.name}/{one.name}" if one != workdir else workdir.name] = one
    if not found:
        raise ValueError("not a finished run: (none given): name the workdirs of some")
    return found


def load(workdir: Path) -> Run:
    """The run of one folder of `folders`.

    Raises:
      ValueError: its checkpoint is damaged, or belongs to another configuration than its
        config.json.
    """
    config = ConfigDict(json.loads((workdir / "config.json").read_text()))
    jax_settings.matmul_precision(config)
    model = build.model(config, tuple(config.canvas))
    checkpoints = asr_jax.Checkpoints(workdir / "checkpoints")
    step = checkpoints.latest_step()
    if step is None:
        raise ValueError(f"{workdir / 'checkpoints'} holds no checkpoint: run it again")
    damage = checkpoints.damage(step)
    if damage:
        raise ValueError(
            f"the checkpoint of step {step} in {checkpoints.directory} is damaged ({damage}): "
            "remove final.json beside it, and train on from the one before it with --resume"
        )
    tx = asr_jax.optimizer(build.optimizer(config), step)
    state = checkpoints.restore(step, asr_jax.init_state(model, tx, config.seed))
    final = json.loads((workdir / "final.json").read_text())
    return Run(config, model, state.params, final)


def pretrained(name: str, folder: Path = asr_jax.pretrained.FOLDER) -> Run:
    """A run whose parameters were exported to a folder, such as those that come with the package.

    Raises:
      ValueError: there is none of that name, or it is damaged.
    """
    loaded = asr_jax.load_pretrained(name, folder)
    config = ConfigDict(loaded.config)
    jax_settings.matmul_precision(config)
    return Run(config, loaded.model, loaded.params, loaded.final)


def scenes(run: Run) -> build.Data:
    """The scenes of a run.

    Raises:
      ValueError: this machine has other scenes than those of the run.
    """
    data = build.data(run.config)
    if data.facts["scenes"] != run.config.scenes:
        raise ValueError(
            f"{run.config.name} was trained on scenes {run.config.scenes}, and this machine has "
            f"{data.facts['scenes']}: set ASR_MNIST_DIR to the same digits"
        )
    return data


def measured(run: Run) -> dict:
    """final.json of a run, with what is measured of its parameters on this machine."""
    constraints = build.constraints(run.config)
    return run.final | measure(run.config, run.model, constraints, scenes(run), run.params)
