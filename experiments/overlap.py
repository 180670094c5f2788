"""Objects that do not overlap (section 6.2 of the paper, Table 2).

    python -m experiments.overlap --config=configs/mnist3.py
    python -m experiments.overlap --config=configs/mnist3.py:air,quick --workdir=runs/try

From here the data flows: config -> scenes -> posterior -> prior and rendering -> objective ->
training steps -> loop -> metrics -> figures.
"""

import sys
from pathlib import Path

from absl import app, flags, logging
from ml_collections import config_flags

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

# Table 2: mean and standard deviation over 3 runs of 300 epochs.
PAPER = {
    ("mnist3", "air"): {"nelbo": "328.5 ± 17.1", "se": "37.5 ± 3.8", "miou": "0.25 ± 0.03"},
    ("mnist3", "pprior"): {"nelbo": "306.6 ± 58.8", "se": "41.5 ± 15.4", "miou": "0.35 ± 0.10"},
    ("mnist3", "asr"): {"nelbo": "337.3 ± 55.1", "se": "36.5 ± 3.9", "miou": "0.67 ± 0.05"},
}


def main(_) -> None:
    logging.set_verbosity(logging.WARNING)  # orbax says a lot at INFO
    config = CONFIG.value
    workdir = Path(WORKDIR.value or f"runs/{config.name}-seed{config.seed}")

    try:  # everything that can be refused is refused before training begins
        constraints = build.constraints(config)
        penalised = build.penalised(config, constraints)
        data = build.data(config)
        model = build.model(config, data.train)
        optimizer = build.optimizer(config)
        steps = loop.total_steps(config, len(data.train.image))
        open_workdir(workdir, config, data.fingerprint, RESUME.value)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")  # the message says all; a traceback would bury it

    if (workdir / "final.json").exists():
        print(f"{workdir} is finished: its results are in final.json and figures/")
        return
    print(f"{config.name}: {len(data.train.image)} training scenes from {data.source}")
    try:
        trained = loop.train(
            config, model, penalised, optimizer, steps, data.train.image[..., 0], workdir
        )
    except (FloatingPointError, CheckpointError) as error:
        sys.exit(f"error: {error}")
    row = "" if config.data.path else config.name.split("-")[0]  # the paper knows its own data
    paper = PAPER.get((row, config.method), {})
    report.finish(config, model, constraints, data, trained, workdir, paper)
    print(f"Results are in {workdir}")


if __name__ == "__main__":
    flags.mark_flag_as_required("config")
    app.run(main)
