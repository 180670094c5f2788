"""Makes a finished run's parameters part of the package, for `asr_jax.load_pretrained`.

    python -m experiments.export --workdir=runs/mnist3-asr-seed0 --name=mnist3

They are rounded to half precision, and measured again as they will be loaded.
"""

import json
import sys
from pathlib import Path

from absl import app, flags, logging

from asr_jax import pretrained
from experiments import jax_settings, report, runs

WORKDIR = flags.DEFINE_string("workdir", None, "A finished run, or one of its seeds' folders.")
NAME = flags.DEFINE_string("name", None, "What load_pretrained calls it.")
FOLDER = flags.DEFINE_string("folder", str(pretrained.FOLDER), "Where it goes.")
flags.mark_flags_as_required(["workdir", "name"])


def main(_) -> None:
    logging.set_verbosity(logging.WARNING)  # orbax says a lot at INFO
    jax_settings.keep_programs()
    try:
        (workdir, *others) = runs.folders([WORKDIR.value]).values()
        if others:
            raise ValueError(f"{WORKDIR.value} holds several runs: name one of its seeds' folders")
        run = runs.load(workdir)
        params = pretrained.half_precision(run.params)
        final = runs.measured(run._replace(params=params))
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    config = report.portable_config(json.loads((workdir / "config.json").read_text()))
    kept = pretrained.Pretrained(run.model, params, config, report.portable(final))
    pretrained.save_pretrained(NAME.value, kept, Path(FOLDER.value))
    rows = {"single precision": report.cells(run.final), "as kept": report.cells(kept.final)}
    print(report.columns(rows))
    size = (Path(FOLDER.value) / f"{NAME.value}.npz").stat().st_size / 2**20
    print(f"Wrote {NAME.value}.npz ({size:.1f} MiB) and {NAME.value}.json to {FOLDER.value}")


if __name__ == "__main__":
    app.run(main)
