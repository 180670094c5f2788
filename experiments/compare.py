"""Finished runs side by side: their rows as a table, their reconstructions and dreams as figures.

python -m experiments.compare runs/mnist3-air-seed0 runs/mnist3-asr-seed0 --out=compare.png
"""

import sys
from pathlib import Path

from absl import app, flags, logging

from experiments import jax_settings, pictures, report, runs

OUT = flags.DEFINE_string(
    "out", "compare.png", "The figure of reconstructions; that of samples is called *-samples."
)
SCENES = flags.DEFINE_integer("scenes", 10, "How many scenes a row of the figures shows.")


def main(arguments) -> None:
    logging.set_verbosity(logging.WARNING)  # orbax says a lot at INFO
    jax_settings.keep_programs()
    try:
        loaded = {label: runs.load(one) for label, one in runs.folders(arguments[1:]).items()}
        explained, dreamt = pictures.side_by_side(loaded, SCENES.value)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    print(report.columns({label: report.cells(run.final) for label, run in loaded.items()}))
    out = Path(OUT.value)
    beside = out.with_stem(f"{out.stem}-samples")
    explained.savefig(out, dpi=160)
    dreamt.savefig(beside, dpi=160)
    print(f"Wrote {out} and {beside}")


if __name__ == "__main__":
    app.run(main)
