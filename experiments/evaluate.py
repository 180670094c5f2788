"""Measures finished runs again, and updates what their final.json says.

python -m experiments.evaluate runs/mnist3-asr-seed0 runs/mnist3-air-seed0
"""

import json
import sys
from pathlib import Path

from absl import app, logging
from ml_collections import ConfigDict

from experiments import build, measure, report, runs
from experiments.workdir import write_json


def main(arguments) -> None:
    logging.set_verbosity(logging.WARNING)  # orbax says a lot at INFO
    try:
        for workdir in runs.folders(arguments[1:]).values():
            run = runs.load(workdir)
            constraints = build.constraints(run.config)
            final = run.final | measure.measure(
                run.config, run.model, constraints, runs.scenes(run), run.params
            )
            write_json(workdir / "final.json", final)
            print(report.table(final, {}), flush=True)
        for workdir in map(Path, arguments[1:]):
            update_seeds(workdir)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")


def update_seeds(workdir: Path) -> None:
    """Writes the means over the seeds of a run anew; a run of one seed has none."""
    final = json.loads((workdir / "final.json").read_text())
    if "seeds" in final:
        config = ConfigDict(json.loads((workdir / "config.json").read_text()))
        folders = {seed: workdir / f"seed{seed}" for seed in final["seeds"]}
        report.finish_seeds(config, folders, workdir, {})


if __name__ == "__main__":
    app.run(main)
