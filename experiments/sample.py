"""Scenes that a finished run's prior generates: a grid with boxes, or arrays.

python -m experiments.sample --workdir=runs/mnist3-asr-seed0 --out=samples.png
"""

import numpy as np
from absl import flags

from asr_jax import plots
from data_gen.paths import FIGURES, output
from experiments.run import finished
from experiments.run.evaluation import samples
from experiments.run.main import main

WORKDIR = flags.DEFINE_string("workdir", None, "A finished run; of several seeds, one's folder.")
NUM = flags.DEFINE_integer("num", 32, "How many scenes.", lower_bound=1)
SEED = flags.DEFINE_integer("seed", 0, "Of the samples.", lower_bound=0)
OUT = flags.DEFINE_string(
    "out", "samples.png", "A figure (.png, .pdf, .svg), or your own scenes' format (.npz)."
)
flags.mark_flag_as_required("workdir")


def sample(_) -> None:
    out = output(OUT.value, "--out", (*FIGURES, ".npz"))
    one = finished.load(finished.one(WORKDIR.value))
    scenes = samples(one.run.model, one.params, SEED.value, NUM.value)
    if out.suffix == ".npz":
        image = np.round(scenes.canvas * 255).astype(np.uint8)
        np.savez_compressed(out, image=image, count=scenes.count, box=scenes.boxes)
    else:
        title = f"{one.run.name}, seed {one.seed}: samples of the prior"
        plots.samples(scenes, title).savefig(out, dpi=160)
    print(f"Wrote {out}")


if __name__ == "__main__":
    main(sample)
