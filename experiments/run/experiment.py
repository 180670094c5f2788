"""What `overlap` and `number` do: check everything, train every seed, report."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import jax
from absl import flags
from ml_collections import ConfigDict, config_flags

from asr_jax import processes
from data_gen.paths import user_path
from experiments.results.paper import paper_row
from experiments.run import choices, data, jax_settings, named, report, workdir
from experiments.run.from_config import Run, from_config
from experiments.run.seeds import train_seeds

CONFIG = config_flags.DEFINE_config_file(
    "config", None, "A file or a name, a method and presets: mnist3:asr,quick.", lock_config=True
)
flags.FLAGS["config"].parser = named.Parser("config")
WORKDIR = flags.DEFINE_string(
    "workdir", None, "Where the run goes; runs/<name>-seed<seed> if empty."
)
RESUME = flags.DEFINE_bool("resume", False, "Go on with the run that the workdir holds.")
flags.mark_flag_as_required("config")


def experiment(_) -> None:
    """Runs what the flags say. Whatever can be refused is refused before training begins.

    Where several processes share the run, all of them compute and process 0 alone prints and
    writes.
    """
    processes.initialize()
    jax.devices()  # a platform that is not here is an error before any work
    config, run, scenes, steps = processes.together(_prepare, CONFIG.value)
    folder = user_path(WORKDIR.value or f"runs/{run.label}", "--workdir")
    folders = {run.seeds[0]: folder}
    if len(run.seeds) > 1:  # each seed's folder is that of a run of its own
        folders = {seed: folder / f"seed{seed}" for seed in run.seeds}
    todo = processes.on_primary(_open, config, run, scenes, folder, folders)
    with _told(folder):
        if todo is None:
            print(f"{folder} is finished: its results are in final.json")
            return
        print(f"{run.name}: {scenes.train_size} training scenes from {scenes.source}")
        row = paper_row(run)
        for seed, trained in train_seeds(run, scenes, steps, {s: folders[s] for s in todo}):
            if not isinstance(trained, FloatingPointError):
                report.finish(run, scenes, trained, seed, folders[seed], row)
            elif len(folders) == 1:
                raise trained
            else:  # the others go on; a failure is a result, and is counted
                print(f"error: seed {seed}: {trained}", file=sys.stderr)
        if len(folders) > 1:
            processes.on_primary(report.finish_seeds, run.name, folders, folder, row)
        print(f"Results are in {folder}")


def _prepare(config: ConfigDict) -> tuple[ConfigDict, Run, data.Data, int]:
    """Everything that a run is made of, and its steps."""
    config, chosen = choices.completed(config)
    if chosen and processes.is_primary():
        print(choices.table(config.data.path, chosen))
    run = from_config(config)
    jax_settings.set_precision(run.train.matmul_precision)
    scenes = data.load(run.data)
    return config, run, scenes, data.check(run, scenes)


def _open(
    config: ConfigDict, run: Run, scenes: data.Data, folder: Path, folders: Mapping[int, Path]
) -> list[int] | None:
    """Makes the folders, or finds what is in them: the seeds to do; None where all is done."""
    facts = scenes.facts(run.data.placement == "sharded")
    workdir.open_workdir(folder, config, facts, RESUME.value)
    for seed, one in folders.items():
        if one != folder:
            workdir.open_workdir(one, workdir.of_seed(config, seed), facts, one.exists())
    if (folder / "final.json").exists():
        return None
    if (folder / "failed.json").exists():  # to go on would end the same way
        raise ValueError(workdir.failure(folder))
    todo = [seed for seed, one in folders.items() if not workdir.ended(one)]
    for one in {folder, *(folders[seed] for seed in todo)}:  # a seed's folder is a run's, too
        workdir.hold(one)
    return todo


@contextlib.contextmanager
def _told(folder: Path) -> Iterator[None]:
    """What process 0 alone prints, and what an error of the disk means for the run's folder."""
    with contextlib.ExitStack() as stack:
        if not processes.is_primary():
            nowhere = stack.enter_context(open(os.devnull, "w"))
            stack.enter_context(contextlib.redirect_stdout(nowhere))
        try:
            yield
        except OSError as error:
            raise OSError(
                f"{error}: what {folder} holds is as it was: make room or make it writable, and go "
                "on with --resume"
            ) from error
