"""Measures finished runs again, and updates what their final.json says.

python -m experiments.evaluate runs/mnist3-asr-seed0 runs/mnist3-air-seed0
python -m experiments.evaluate --pretrained=mnist3         # what comes with the package
python -m experiments.evaluate --refine=50 runs/A          # and with boxes refined by 50 steps
"""

import json
from pathlib import Path

from absl import flags

from asr_jax import pretrained
from data_gen.paths import user_path
from experiments.run import finished, printed, report
from experiments.run.main import main
from experiments.run.workdir import write_json

PRETRAINED = flags.DEFINE_list(
    "pretrained", [], "Parameters that come with the package, beside what is on record of them."
)
FOLDER = flags.DEFINE_string("folder", str(pretrained.FOLDER), "Where those parameters lie.")
REFINE = flags.DEFINE_integer(
    "refine",
    0,
    "Steps of refinement, whose metrics come beside the others; 0: none.",
    lower_bound=0,
)


def measure_again(arguments: list[str]) -> None:
    for name in PRETRAINED.value:
        one = finished.pretrained(name, user_path(FOLDER.value, "--folder"))
        lines = {"measured": finished.measured(one, REFINE.value), "on record": one.final}
        print(f"\n{name}: {one.run.name}, seed {one.seed}")
        print(printed.columns({k: printed.cells(v) for k, v in lines.items()}), flush=True)
    if PRETRAINED.value and not arguments[1:]:
        return
    for folder in finished.folders(arguments[1:]).values():
        final = finished.measured(finished.load(folder), REFINE.value)
        write_json(folder / "final.json", final)
        print(printed.table(final, {}), flush=True)
    for name in arguments[1:]:
        update_seeds(user_path(name, "a run's folder"))


def update_seeds(folder: Path) -> None:
    """Writes the means over the seeds of a run anew; a run of one seed has none."""
    file = folder / "final.json"  # not there if not all seeds have ended
    final = json.loads(file.read_text()) if file.exists() else {}
    if "seeds" in final:
        folders = {seed: folder / f"seed{seed}" for seed in final["seeds"]}
        report.finish_seeds(final["name"], folders, folder, {})


if __name__ == "__main__":
    main(measure_again, words=True)
