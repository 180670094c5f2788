"""Measures finished runs again, and updates what their final.json says.

python -m experiments.evaluate runs/mnist3-asr-seed0 runs/mnist3-air-seed0
"""

import sys

from absl import app, logging

from experiments import build, report, runs
from experiments.workdir import write_json


def main(arguments) -> None:
    logging.set_verbosity(logging.WARNING)  # orbax says a lot at INFO
    try:
        for workdir in runs.folders(arguments[1:]).values():
            run = runs.load(workdir)
            constraints = build.constraints(run.config)
            final = run.final | report.measure(
                run.config, run.model, constraints, runs.scenes(run), run.params
            )
            write_json(workdir / "final.json", final)
            print(report.table(final, {}), flush=True)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    app.run(main)
