"""A picture of a few scenes, to look at before training on them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from absl import flags, logging
from matplotlib.figure import Figure
from ml_collections import config_flags

from asr_jax.plots import COLOURS, draw_scene
from data_gen import command_line
from data_gen.builder import Dataset
from data_gen.paths import FIGURES, output
from data_gen.scenes import Scenes

ROWS, COLUMNS = 4, 8
LABEL_ROOM = 5  # pixels that a label needs beside its box


def save_contact_sheet(scenes: Scenes, path: str | Path) -> None:
    """Writes the first 32 scenes, with their boxes and labels, as a picture."""
    figure = Figure(figsize=(1.5 * COLUMNS, 1.5 * ROWS), facecolor="white")
    axes = figure.subplots(ROWS, COLUMNS).flat
    figure.subplots_adjust(0.01, 0.01, 0.99, 0.99, wspace=0.05, hspace=0.05)
    for i, ax in enumerate(axes):
        if i >= len(scenes.image):
            ax.axis("off")
            continue
        draw_scene(ax, scenes.image[i] / 255, scenes.box[i], scenes.count[i])
        for j in range(scenes.count[i]):
            x0, y0, x1, _ = scenes.box[i, j]
            fits = x1 + LABEL_ROOM <= scenes.image.shape[2]
            ax.text(
                x1 + 1 if fits else x0 - 1,
                y0,
                scenes.label[i, j],
                color=COLOURS[j % len(COLOURS)],
                ha="left" if fits else "right",
                va="top",
                fontsize=9,
                weight="bold",
            )
    figure.savefig(path, dpi=120)


def command(from_config: Callable[[Mapping[str, Any]], Dataset]) -> None:
    """The command line of a data set: builds its scenes from `config.data`, and draws some."""
    config = config_flags.DEFINE_config_file("config", None, "Configuration with a `data` section.")
    data_dir = flags.DEFINE_string("data_dir", "", "Overrides config.data.data_dir.")
    out = flags.DEFINE_string("out", "contact_sheet.png", "The picture to write.")
    flags.mark_flag_as_required("config")

    def main(_) -> None:
        logging.set_verbosity(logging.INFO)
        picture = output(out.value, "--out", FIGURES)
        data = config.value.data
        data.data_dir = data_dir.value or data.data_dir
        save_contact_sheet(from_config(data).train, picture)
        logging.info("Wrote %s", picture)

    command_line.run(main)
