"""Finished runs: what the commands that look back at them share."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

import asr_jax
from data_gen.paths import user_path
from experiments.run import data, jax_settings, multipliers, steps, workdir
from experiments.run.evaluation import measure
from experiments.run.from_config import Run, from_config


class Finished(NamedTuple):
    run: Run
    seed: int
    scenes: str  # the fingerprint of its scenes
    params: Any  # at the end of training
    final: dict  # final.json


def folders(given: Iterable[str | Path]) -> dict[str, Path]:
    """label -> folder of one finished run; a run of several seeds holds one for each.

    Raises:
      ValueError: a folder that holds no finished run, or no folder at all.
    """
    found = {}
    for folder in (user_path(str(name), "a run's folder") for name in given):
        ones = sorted(file.parent for file in folder.glob("seed*/final.json")) or [folder]
        if not (ones[0] / "final.json").exists():
            remedy = "name a folder with a final.json"
            if (folder / "config.json").exists():
                remedy = "go on with it first, by its own command and --resume"
            raise ValueError(f"not a finished run: {folder}: {remedy}")
        for one in ones:  # of several seeds, some may have failed
            label = f"{folder.name}/{one.name}" if one != folder else folder.name
            if found.get(label, one) != one:  # another run's, of the same name elsewhere
                label = str(one)
            found[label] = one
    if not found:
        raise ValueError("not a finished run: (none given): name the workdirs of some")
    return found


def one(given: str) -> Path:
    """The folder of the one run that a folder holds.

    Raises:
      ValueError: as `folders`; a run of several seeds.
    """
    found = list(folders([given]).values())
    if len(found) > 1:
        raise ValueError(f"{given} holds several runs: name one of its seeds' folders")
    return found[0]


def load(folder: Path) -> Finished:
    """The run of one folder of `folders`.

    Raises:
      ValueError: its checkpoint is damaged, is not that of the end of training, or belongs to
        another configuration than its config.json.
    """
    checkpoints = asr_jax.Checkpoints(folder / "checkpoints")
    step = checkpoints.latest_step()
    if step is None:
        raise ValueError(f"{checkpoints.directory} holds no checkpoint: run it again")
    damage = checkpoints.damage(step)
    if damage:
        raise ValueError(
            f"the checkpoint of step {step} in {checkpoints.directory} is damaged ({damage}): "
            "remove final.json beside it, and train on from the one before it with --resume"
        )
    final = json.loads((folder / "final.json").read_text())
    if step != final["steps"]:
        raise ValueError(
            f"the last checkpoint in {checkpoints.directory} is of step {step}, and final.json of "
            f"{final['steps']}: remove final.json, and train on with --resume"
        )
    finished = _from_settings(workdir.read_config(folder), None, final)
    like = jax.eval_shape(finished.run.model.init, steps.key(0))
    return finished._replace(params=checkpoints.restore_params(step, like))


def pretrained(name: str, folder: Path = asr_jax.pretrained.FOLDER) -> Finished:
    """A run whose parameters were exported to a folder, such as those that come with the package.

    Raises:
      ValueError: there is none of that name, or it is damaged.
    """
    loaded = asr_jax.load_pretrained(name, folder)
    return _from_settings(workdir.completed(loaded.config), loaded.params, loaded.final)


def _from_settings(settings: Mapping, params: Any, final: dict) -> Finished:
    run = from_config(ConfigDict(settings), tuple(settings["canvas"]))
    run = multipliers.with_found(run, final.get("multipliers"))
    jax_settings.set_precision(run.train.matmul_precision)
    return Finished(run, run.seeds[0], settings["scenes"], params, final)


def scenes(finished: Finished) -> data.Data:
    """The scenes of a run.

    Raises:
      ValueError: this machine has other scenes than those of the run.
    """
    loaded = data.load(finished.run.data)
    here = loaded.facts(finished.run.data.placement == "sharded")["scenes"]
    if here != finished.scenes:
        remedy = "set ASR_MNIST_DIR to the same digits"
        if finished.run.data.path:
            remedy = f"{finished.run.data.path} must hold the images that it was trained on"
        raise ValueError(
            f"{finished.run.name} was trained on scenes {finished.scenes}, and this machine has "
            f"{here}: {remedy}"
        )
    return loaded


def measured(finished: Finished, refine: int = 0) -> dict:
    """final.json of a run, with what is measured of its parameters on this machine.

    With `refine` steps, of the refined posterior as well.
    """
    found = measure(finished.run, scenes(finished), finished.params, finished.seed, refine)
    return finished.final | found
