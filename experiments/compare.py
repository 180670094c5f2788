"""Finished runs side by side: their rows as a table, their reconstructions and dreams as figures.

python -m experiments.compare runs/mnist3-air-seed0 runs/mnist3-asr-seed0 --out=compare.png
"""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags, logging

import asr_jax
from asr_jax import plots
from experiments import report, runs

OUT = flags.DEFINE_string(
    "out", "compare.png", "The figure of reconstructions; that of samples is called *-samples."
)
SCENES = flags.DEFINE_integer("scenes", 10, "How many scenes a row of the figures shows.")


def main(arguments) -> None:
    logging.set_verbosity(logging.WARNING)  # orbax says a lot at INFO
    try:
        loaded = {label: runs.load(one) for label, one in runs.folders(arguments[1:]).items()}
        first = next(iter(loaded.values()))
        data = runs.scenes(first)
        for label, run in loaded.items():
            if run.config.scenes != first.config.scenes:
                raise ValueError(
                    f"{label} was trained on scenes {run.config.scenes}, {next(iter(loaded))} on "
                    f"{first.config.scenes}: compare runs on the same scenes"
                )
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    images = data.test.image[: SCENES.value, ..., 0].astype(np.float32) / 255
    explained, dreamt = {}, {}
    for label, run in loaded.items():
        scene = run.model.reconstruct(run.params, jnp.asarray(images))
        explained[label] = jax.device_get(scene)
        dreamt[label] = report.samples(run.model, run.params, run.config.seed, len(images))
    print(report.columns({label: report.cells(run.final) for label, run in loaded.items()}))
    out = Path(OUT.value)
    plots.reconstructions(images, explained).savefig(out, dpi=160)
    beside = out.with_stem(f"{out.stem}-samples")
    if data.test.box is not None:
        true = data.test.count[: len(images)], data.test.box[: len(images)]
        dreamt = {"data": asr_jax.Scene(images, *true)} | dreamt
    plots.rows(dreamt).savefig(beside, dpi=160)
    print(f"Wrote {out} and {beside}")


if __name__ == "__main__":
    app.run(main)
