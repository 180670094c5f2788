"""What the experiments' commands share: check everything, train every seed, report."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

from absl import flags, logging
from ml_collections import ConfigDict, config_flags

from asr_jax import processes
from asr_jax.checkpoint import CheckpointError
from experiments import build, jax_settings, loop, report
from experiments.paper import paper_row
from experiments.prepare import Run, prepare
from experiments.workdir import hold, open_workdir

CONFIG = config_flags.DEFINE_config_file(
    "config", None, "A file, a method and presets: configs/mnist3.py:asr,quick.", lock_config=True
)
WORKDIR = flags.DEFINE_string(
    "workdir", None, "Where the run goes; runs/<name>-seed<seed> if empty."
)
RESUME = flags.DEFINE_bool("resume", False, "Go on with the run that the workdir holds.")
flags.mark_flag_as_required("config")


def run() -> None:
    """Runs what the flags say. Whatever can be refused is refused before training begins.

    Where several processes share the run, all of them compute and process 0 alone prints and
    writes.
    """
    logging.set_verbosity(logging.FATAL)  # what orbax logs, tracebacks and all, it raises as well
    quiet_failed_saves()
    config = CONFIG.value
    jax_settings.keep_programs()
    try:
        processes.initialize()
        prepared = processes.together(prepare, config)
        workdir, folders = _folders(config, prepared.seeds)
        found = processes.on_primary(_open, config, prepared, workdir, folders)
    except (ValueError, OSError) as error:
        _end(f"error: {error}")  # the message says all; a traceback would bury it
    with contextlib.ExitStack() as stack:
        if not processes.is_primary():
            nowhere = stack.enter_context(open(os.devnull, "w"))
            stack.enter_context(contextlib.redirect_stdout(nowhere))
        if found["finished"]:
            print(f"{workdir} is finished: its results are in final.json")
            return
        data = prepared.data
        print(f"{config.name}: {data.train_size} training scenes from {data.source}")
        try:
            if found["failure"]:
                raise FloatingPointError(found["failure"])
            _train(config, prepared, workdir, folders, found["todo"])
        except (CheckpointError, processes.ElsewhereError, FloatingPointError) as error:
            _end(f"error: {error}")
        except OSError as error:
            _end(
                f"error: {error}: what {workdir} holds is as it was: make room or make it "
                "writable, and go on with --resume"
            )
        except loop.Stopped as stopped:
            _end(f"{stopped}: go on with --resume")
        print(f"Results are in {workdir}")


def _end(message: str) -> None:
    sys.exit(message if processes.is_primary() else 1)


def _folders(config: ConfigDict, seeds: range) -> tuple[Path, dict[int, Path]]:
    """The workdir, and seed -> its folder."""
    workdir = Path(WORKDIR.value or f"runs/{config.name}-{build.seeds_name(config)}")
    folders = {config.seed: workdir}
    if len(seeds) > 1:  # each seed's folder is that of a run of its own
        folders = {seed: workdir / f"seed{seed}" for seed in seeds}
    return workdir, folders


def _open(config: ConfigDict, prepared: Run, workdir: Path, folders: Mapping[int, Path]) -> dict:
    """Makes the folders, or finds what is in them: what is done, and what is to do."""
    for warning in build.warnings(config, prepared.data.train):
        print(f"warning: {warning}", file=sys.stderr)
    facts = prepared.data.facts
    open_workdir(workdir, config, facts, RESUME.value)
    for seed, folder in folders.items():
        if folder != workdir:
            open_workdir(folder, of_seed(config, seed), facts, folder.exists())
    finished = (workdir / "final.json").exists()
    if not finished:
        hold(workdir)
    return {
        "finished": finished,
        "failure": report.failure(workdir) if (workdir / "failed.json").exists() else None,
        "todo": [seed for seed, folder in folders.items() if not report.ended(folder)],
    }


def _train(
    config: ConfigDict,
    prepared: Run,
    workdir: Path,
    folders: Mapping[int, Path],
    todo: Sequence[int],
) -> None:
    """Trains and reports every seed that is still to do, then all of them."""
    seeds, constraints, penalised, data, model, optimizer, steps = prepared
    row = paper_row(config)
    for group in loop.groups(config, todo):
        trained = loop.train(
            config,
            model,
            penalised,
            optimizer,
            steps,
            data.train.image[..., 0],
            {seed: folders[seed] for seed in group},
        )
        for seed, result in trained.items():
            if not isinstance(result, FloatingPointError):
                one = of_seed(config, seed)
                report.finish(one, model, constraints, data, result, folders[seed], row)
            elif len(seeds) == 1:
                raise result
            else:  # the others go on; a failure is a result, and is counted
                print(f"error: seed {seed}: {result}", file=sys.stderr)
    if len(seeds) > 1:
        processes.on_primary(report.finish_seeds, config, folders, workdir, row)


def quiet_failed_saves() -> None:
    """Drops what tensorstore's threads and coroutines say once orbax has raised a save's error.

    By then the event loop is closed that they report each array to, or would have run on.
    """
    warnings.filterwarnings("ignore", ".* was never awaited", RuntimeWarning)
    hook = sys.unraisablehook

    def show(unraisable):
        if str(unraisable.exc_value) != "Event loop is closed":
            hook(unraisable)

    sys.unraisablehook = show


def of_seed(config: ConfigDict, seed: int) -> ConfigDict:
    """The configuration of one of the seeds, as if it was run alone."""
    one = config.copy_and_resolve_references()
    with one.unlocked():
        one.seed, one.seeds = seed, 1
    return one
