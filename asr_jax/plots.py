"""Scenes in, matplotlib figures out. Nothing here reads or writes a file."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from asr_jax.types import Scene

# One colour a step: told apart on black, in print and by colour-blind readers (Okabe-Ito).
COLOURS = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#d55e00", "#cc79a7", "#0072b2", "#ffffff")


def plain(text: object) -> str:
    """Text as it is: a dollar sign would begin a formula, and half a formula is an error."""
    return str(text).replace("$", r"\$")


def draw_scene(
    axes: Axes, image: np.ndarray, box: np.ndarray | None = None, count: int = 0
) -> None:
    """An image [H, W(, 3)] in [0, 1] with its first `count` boxes [K, 4], in pixels."""
    height, width = image.shape[:2]
    # Half-open boxes on pixel edges: pixel j covers [j, j + 1).
    axes.imshow(image, cmap="gray", vmin=0, vmax=1, extent=(0, width, height, 0))
    for step in range(count):
        x0, y0, x1, y1 = box[step]
        colour = COLOURS[step % len(COLOURS)]
        axes.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, lw=1.3, ec=colour))
    axes.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_visible(False)


def reconstructions(images: np.ndarray, scenes: Mapping[str, Scene], title: str = "") -> Figure:
    """Originals above their reconstructions with the inferred boxes, as in Fig. 4 of the paper.

    Args:
      images: [B, H, W(, 3)] in [0, 1].
      scenes: label of a row -> how the images were explained.
      title: above the figure.
    """
    originals = Scene(images, np.zeros(len(images), np.int32), np.zeros((len(images), 0, 4)))
    return rows({"image": originals} | dict(scenes), title)


def rows(scenes: Mapping[str, Scene], title: str = "") -> Figure:
    """One row of scenes with their boxes for each label, all of the same number."""
    canvases = next(iter(scenes.values())).canvas
    columns = len(canvases)
    figure = Figure(figsize=_size(canvases, columns, len(scenes), 0.4), layout="constrained")
    axes = figure.subplots(len(scenes), columns, squeeze=False)
    for row, (label, scene) in zip(axes, scenes.items(), strict=True):
        row[0].set_ylabel(plain(textwrap.fill(label, 14)))  # as much as a row is high
        for cell, canvas, box, count in zip(
            row, scene.canvas, scene.boxes, scene.count, strict=True
        ):
            draw_scene(cell, canvas, box, int(count))
    figure.suptitle(plain(title), fontsize=11)
    return figure


def taken_apart(
    images: np.ndarray, scene: Scene, background: np.ndarray, objects: np.ndarray, title: str = ""
) -> Figure:
    """Images and what they are made of: reconstruction, masks, background, each object alone.

    Args:
      images: [B, H, W(, 3)] in [0, 1], a column each.
      scene: how they are explained, with masks.
      background: [B, H, W(, 3)].
      objects: [B, K, H, W(, 3)], each on black.
      title: above the figure.
    """
    nobody, present = np.zeros(len(images), int), np.asarray(scene.count, int)
    everyone = np.ones(len(images), bool)
    rows = {  # label -> pictures, boxes that are drawn, where there is one
        "image": (images, nobody, everyone),
        "inferred": (scene.canvas, present, everyone),
        "masks": (masks(scene.mask), nobody, everyone),
        "background": (background, nobody, everyone),
    }
    for t in range(max(1, present.max())):
        rows[f"object {t + 1}"] = (objects[:, t], nobody, present > t)
    figure = Figure(figsize=_size(images, len(images), len(rows), 0.4), layout="constrained")
    grid = figure.subplots(len(rows), len(images), squeeze=False)
    for row, (label, (pictures, counts, there)) in zip(grid, rows.items(), strict=True):
        row[0].set_ylabel(label)
        for i, cell in enumerate(row):
            picture = np.asarray(pictures[i]) if there[i] else np.ones_like(images[i])
            draw_scene(cell, picture, scene.boxes[i], int(counts[i]))
    figure.suptitle(plain(title), fontsize=11)
    return figure


def masks(mask: np.ndarray) -> np.ndarray:
    """Masks [B, H, W] in the colours of their objects' boxes, on black: [B, H, W, 3]."""
    palette = np.array([to_rgb(colour) for colour in ("#000000", *COLOURS)])
    mask = np.asarray(mask, int)
    return palette[np.where(mask > 0, (mask - 1) % len(COLOURS) + 1, 0)]


def samples(scene: Scene, title: str = "") -> Figure:
    """A grid of generated scenes with their boxes, as in Fig. 5 of the paper."""
    columns = int(np.ceil(np.sqrt(2 * len(scene.canvas))))
    rows = int(np.ceil(len(scene.canvas) / columns))
    figure = Figure(figsize=_size(scene.canvas, columns, rows, 0.35), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, *drawn in zip(grid, scene.canvas, scene.boxes, scene.count, strict=False):
        draw_scene(axes, *drawn)
    for axes in grid[len(scene.canvas) :]:
        axes.axis("off")
    figure.suptitle(plain(title), fontsize=11)
    return figure


def _size(canvases: np.ndarray, columns: int, rows: int, title: float) -> tuple[float, float]:
    """Inches of a figure of canvases [B, H, W], with a line of text above them."""
    height, width = canvases.shape[1:3]
    return 1.25 * columns, 1.25 * height / width * rows + title
