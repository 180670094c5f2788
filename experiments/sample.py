"""Scenes that a finished run dreams of: a grid with boxes, or arrays.

python -m experiments.sample --workdir=runs/mnist3-asr-seed0 --out=samples.png
"""

import sys
from pathlib import Path

import jax
import numpy as np
from absl import app, flags, logging

import asr_jax
from asr_jax import plots
from experiments import runs

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
    out = Path(OUT.value)
    try:
        if out.suffix not in (*FIGURES, ".npz"):
            raise ValueError(f"--out must end in one of {', '.join(FIGURES)}, .npz, got {out}")
        workdir = next(iter(runs.folders([WORKDIR.value]).values()))
        run = runs.load(workdir)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    key = jax.random.key(SEED.value)
    scenes = asr_jax.generate(run.params, key, NUM.value, model=run.model)
    if out.suffix == ".npz":
        image = np.round(scenes["canvas"] * 255).astype(np.uint8)
        np.savez_compressed(out, image=image, count=scenes["count"], box=scenes["boxes"])
    else:
        dreamt = asr_jax.Scene(scenes["canvas"], scenes["count"], scenes["boxes"])
        title = f"{run.config.name}, seed {run.config.seed}: samples of the prior"
        plots.samples(dreamt, title).savefig(out, dpi=160)
    print(f"Wrote {out}")


if __name__ == "__main__":
    app.run(main)
