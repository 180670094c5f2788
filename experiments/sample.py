"""Scenes that a finished run dreams of: a grid with boxes, or arrays.

python -m experiments.sample --workdir=runs/mnist3-asr-seed0 --out=samples.png
"""

import sys
from pathlib import Path

import numpy as np
from absl import app, flags, logging

from asr_jax import plots
from experiments import jax_settings, report, runs

WORKDIR = flags.DEFINE_string("workdir", None, "A finished run, or one of its seeds' folders.")
NUM = flags.DEFINE_integer("num", 32, "How many scenes.", lower_bound=1)
SEED = flags.DEFINE_integer("seed", 0, "Of the samples.", lower_bound=0)
OUT = flags.DEFINE_string(
    "out", "samples.png", "A figure (.png, .pdf, .svg), or your own scenes' format (.npz)."
)
flags.mark_flag_as_required("workdir")
FIGURES = (".png", ".pdf", ".svg")


def main(_) -> None:
    logging.set_verbosity(logging.WARNING)  # orbax says a lot at INFO
    jax_settings.keep_programs()
    out = Path(OUT.value)
    try:
        if out.suffix not in (*FIGURES, ".npz"):
            raise ValueError(f"--out must end in one of {', '.join(FIGURES)}, .npz, got {out}")
        workdir = next(iter(runs.folders([WORKDIR.value]).values()))
        run = runs.load(workdir)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    scenes = report.samples(run.model, run.params, SEED.value, NUM.value)
    if out.suffix == ".npz":
        image = np.round(scenes.canvas * 255).astype(np.uint8)
        np.savez_compressed(out, image=image, count=scenes.count, box=scenes.boxes)
    else:
        title = f"{run.config.name}, seed {run.config.seed}: samples of the prior"
        plots.samples(scenes, title).savefig(out, dpi=160)
    print(f"Wrote {out}")


if __name__ == "__main__":
    app.run(main)
