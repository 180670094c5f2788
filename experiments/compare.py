"""Finished runs side by side: their rows as a table, and their reconstructions as a figure.

python -m experiments.compare runs/mnist3-air-seed0 runs/mnist3-asr-seed0 --out=compare.png
"""

import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags, logging
from ml_collections import ConfigDict

import asr_jax
from asr_jax import plots
from experiments import build, report

OUT = flags.DEFINE_string("out", "compare.png", "The figure to write.")
SCENES = flags.DEFINE_integer("scenes", 10, "How many held-out scenes the figure shows.")


def main(arguments) -> None:
    logging.set_verbosity(logging.WARNING)  # orbax says a lot at INFO
    given = [Path(argument) for argument in arguments[1:]]
    # A run of several seeds holds a run for each, of which some may have failed.
    runs = {
        f"{workdir.name}/{one.name}" if one != workdir else workdir.name: one
        for workdir in given
        for one in sorted(file.parent for file in workdir.glob("seed*/final.json")) or [workdir]
    }
    unfinished = [
        str(workdir) for workdir in runs.values() if not (workdir / "final.json").exists()
    ]
    if unfinished or not runs:
        sys.exit(f"error: not a finished run: {', '.join(unfinished) or '(none given)'}")
    finals, scenes, known = {}, {}, None
    for label, workdir in runs.items():
        finals[label] = json.loads((workdir / "final.json").read_text())
        config = ConfigDict(json.loads((workdir / "config.json").read_text()))
        try:
            data = build.data(config)
        except (ValueError, OSError) as error:
            sys.exit(f"error: {error}")
        if data.fingerprint != config.scenes or config.scenes != (known or config.scenes):
            sys.exit(
                f"error: {workdir} was trained on scenes {config.scenes}, the others on {known}, "
                f"and this machine has {data.fingerprint}: set ASR_MNIST_DIR to the same digits"
            )
        known = config.scenes
        images = data.test.image[: SCENES.value, ..., 0].astype(np.float32) / 255
        model = build.model(config, data.train)
        params = trained_params(workdir / "checkpoints", model, config)
        scene = jax.jit(model.reconstruct)(params, jnp.asarray(images))
        scenes[label] = jax.device_get(scene)
    print(report.columns({name: report.cells(final) for name, final in finals.items()}))
    plots.reconstructions(images, scenes).savefig(OUT.value, dpi=160)
    print(f"Wrote {OUT.value}")


def trained_params(directory: Path, model: asr_jax.Model, config: ConfigDict):
    """The parameters at the end of training."""
    checkpoints = asr_jax.Checkpoints(directory)
    step = checkpoints.latest_step()
    tx = asr_jax.optimizer(build.optimizer(config), step)
    state = checkpoints.restore(step, asr_jax.init_state(model, tx, config.seed))
    checkpoints.close()
    return state.params


if __name__ == "__main__":
    app.run(main)
