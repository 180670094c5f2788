"""What the experiments' commands share: check everything, train every seed, report."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from absl import flags, logging
from ml_collections import ConfigDict, config_flags

from asr_jax.checkpoint import CheckpointError
from experiments import build, loop, report
from experiments.workdir import open_workdir

CONFIG = config_flags.DEFINE_config_file(
    "config", None, "A file, a method and presets: configs/mnist3.py:asr,quick.", lock_config=True
)
WORKDIR = flags.DEFINE_string(
    "workdir", None, "Where the run goes; runs/<name>-seed<seed> if empty."
)
RESUME = flags.DEFINE_bool("resume", False, "Go on with the run that the workdir holds.")
flags.mark_flag_as_required("config")

# (data, method) -> the paper's values, name -> text.
Paper = Mapping[tuple[str, str], Mapping[str, str]]


def run(paper: Paper) -> None:
    """Runs what the flags say. Whatever can be refused is refused before training begins."""
    logging.set_verbosity(logging.FATAL)  # what orbax logs, tracebacks and all, it raises as well
    sys.unraisablehook = quiet(sys.unraisablehook)
    config = CONFIG.value
    try:
        seeds = build.seeds(config)
        workdir = Path(WORKDIR.value or f"runs/{config.name}-{build.seeds_name(config)}")
        constraints = build.constraints(config)
        penalised = build.penalised(config, constraints)
        build.check_evaluate(config)
        data = build.data(config)
        build.check_counts(config, data.train)
        model = build.model(config, data.canvas)
        optimizer = build.optimizer(config)
        steps = loop.total_steps(config, len(data.train.image))
        for warning in build.warnings(config, data.train):
            print(f"warning: {warning}", file=sys.stderr)
        open_workdir(workdir, config, data.facts, RESUME.value)
        folders = {config.seed: workdir}
        if len(seeds) > 1:  # each seed's folder is that of a run of its own
            folders = {seed: workdir / f"seed{seed}" for seed in seeds}
            for seed, folder in folders.items():
                open_workdir(folder, of_seed(config, seed), data.facts, folder.exists())
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")  # the message says all; a traceback would bury it

    if (workdir / "final.json").exists():
        print(f"{workdir} is finished: its results are in final.json")
        return
    print(f"{config.name}: {len(data.train.image)} training scenes from {data.source}")
    if len(seeds) == 1 and report.ended(workdir):
        sys.exit(f"error: {report.failure(workdir)}")
    row = "" if config.data.path else config.name.split("-")[0]  # the paper knows its own data
    row = paper.get((row, config.method), {})
    todo = {seed: folder for seed, folder in folders.items() if not report.ended(folder)}
    try:
        for group in loop.groups(config, list(todo)):
            trained = loop.train(
                config,
                model,
                penalised,
                optimizer,
                steps,
                data.train.image[..., 0],
                {seed: todo[seed] for seed in group},
            )
            for seed, result in trained.items():
                if not isinstance(result, FloatingPointError):
                    one = of_seed(config, seed)
                    report.finish(one, model, constraints, data, result, folders[seed], row)
                elif len(seeds) == 1:
                    sys.exit(f"error: {result}")
                else:  # the others go on; a failure is a result, and is counted
                    print(f"error: seed {seed}: {result}", file=sys.stderr)
        if len(seeds) > 1:
            report.finish_seeds(config, folders, workdir, row)
    except CheckpointError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        sys.exit(
            f"error: {error}: what {workdir} holds is as it was: make room or make it writable, "
            "and go on with --resume"
        )
    except loop.Stopped as stopped:
        print(f"{stopped}: go on with --resume", file=sys.stderr)
        sys.exit(1)
    print(f"Results are in {workdir}")


def quiet(hook: Callable) -> Callable:
    """An unraisablehook without what tensorstore's threads say once a save has failed.

    They report each array to the event loop that orbax, which raises the error, has closed by then.
    """

    def show(unraisable):
        if str(unraisable.exc_value) != "Event loop is closed":
            hook(unraisable)

    return show


def of_seed(config: ConfigDict, seed: int) -> ConfigDict:
    """The configuration of one of the seeds, as if it was run alone."""
    one = config.copy_and_resolve_references()
    with one.unlocked():
        one.seed, one.seeds = seed, 1
    return one
