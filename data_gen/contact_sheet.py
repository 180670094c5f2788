"""A picture of a few scenes, to look at before training on them."""

from pathlib import Path

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from data_gen.scenes import Scenes

ROWS, COLUMNS = 4, 8
LABEL_ROOM = 5  # pixels that a label needs beside its box
COLOURS = matplotlib.colormaps["Set2"].colors


def save_contact_sheet(scenes: Scenes, path: str | Path) -> None:
    """Writes the first 32 scenes, with their boxes and labels, as a picture."""
    figure = Figure(figsize=(1.5 * COLUMNS, 1.5 * ROWS), facecolor="white")
    FigureCanvasAgg(figure)  # draws without a display
    axes = figure.subplots(ROWS, COLUMNS).flat
    figure.subplots_adjust(0.01, 0.01, 0.99, 0.99, wspace=0.05, hspace=0.05)
    for i, ax in enumerate(axes):
        ax.axis("off")
        if i >= len(scenes.image):
            continue
        height, width = scenes.image.shape[1:3]
        # Pixel edges at whole numbers, so that half-open boxes are drawn where they are.
        ax.imshow(scenes.image[i, ..., 0], "gray", vmin=0, vmax=255, extent=(0, width, height, 0))
        for j in range(scenes.count[i]):
            x0, y0, x1, y1 = scenes.box[i, j]
            colour = COLOURS[j % len(COLOURS)]
            outline = {"fill": False, "edgecolor": colour, "linewidth": 1.5}
            ax.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, **outline))
            text = {"color": colour, "fontsize": 9, "va": "top", "weight": "bold"}
            if x1 + LABEL_ROOM <= width:
                ax.text(x1 + 1, y0, scenes.label[i, j], **text)
            else:
                ax.text(x0 - 1, y0, scenes.label[i, j], ha="right", **text)
    figure.savefig(path, dpi=120)
