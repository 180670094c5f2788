"""Measures finished runs again, and updates what their final.json says.

python -m experiments.evaluate runs/mnist3-asr-seed0 runs/mnist3-air-seed0
python -m experiments.evaluate --pretrained=mnist3         # what comes with the package
"""

import json
import sys
from pathlib import Path

from absl import app, flags, logging
from ml_collections import ConfigDict

from asr_jax import pretrained
from experiments import jax_settings, report, runs
from experiments.workdir import write_json

PRETRAINED = flags.DEFINE_list(
    "pretrained", [], "Parameters that come with the package, beside what is on record of them."
)
FOLDER = flags.DEFINE_string("folder", str(pretrained.FOLDER), "Where those parameters lie.")


def main(arguments) -> None:
    logging.set_verbosity(logging.WARNING)  # orbax says a lot at INFO
    jax_settings.keep_programs()
    try:
        for name in PRETRAINED.value:
            run = runs.pretrained(name, Path(FOLDER.value))
            lines = {"measured": runs.measured(run), "on record": run.final}
            print(f"\n{name}: {run.config.name}, seed {run.config.seed}")
            print(report.columns({k: report.cells(v) for k, v in lines.items()}), flush=True)
        if PRETRAINED.value and not arguments[1:]:
            return
        for workdir in runs.folders(arguments[1:]).values():
            final = runs.measured(runs.load(workdir))
            write_json(workdir / "final.json", final)
            print(report.table(final, {}), flush=True)
        for workdir in map(Path, arguments[1:]):
            update_seeds(workdir)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")


def update_seeds(workdir: Path) -> None:
    """Writes the means over the seeds of a run anew; a run of one seed has none."""
    file = workdir / "final.json"  # not there if not all seeds have ended
    final = json.loads(file.read_text()) if file.exists() else {}
    if "seeds" in final:
        config = ConfigDict(json.loads((workdir / "config.json").read_text()))
        folders = {seed: workdir / f"seed{seed}" for seed in final["seeds"]}
        report.finish_seeds(config, folders, workdir, {})


if __name__ == "__main__":
    app.run(main)
