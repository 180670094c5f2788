"""Numbers in, matplotlib figures out: learning curves, and how many objects are found."""

from __future__ import annotations

import os.path
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator, ScalarFormatter

from asr_jax.plots import COLOURS, plain

LINES = ("#56b4e9", "#0072b2", "#e69f00", "#d55e00", "#009e73", "#cc79a7")  # told apart on white


def learning_curves(
    history: Sequence[Mapping[str, float]],
    panels: Mapping[str, Sequence[str]],
    title: str = "",
    shares: Sequence[str] = (),
    limits: Mapping[str, float] | None = None,
) -> Figure:
    """Panels of quantities over training steps, at most six in a row, or four in several rows.

    Args:
      history: rows with "step" and values, each under its name, in all rows or in some.
      panels: panel title -> the names that it shows.
      title: above the figure.
      shares: the panels of values from 0 to 1; the others are logarithmic where that can be.
      limits: name -> what its curve should stay below, a dotted line of its colour. Values below a
        hundredth of the lowest one are not seen.
    """
    limits, columns = limits or {}, len(panels) if len(panels) <= 6 else 4
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(3.6 * columns, 2.9 * rows), layout="constrained")
    places = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in places[len(panels) :]:
        axes.set_axis_off()
    for axes, (name, curves) in zip(places, panels.items(), strict=False):
        head, mark, _ = os.path.commonprefix(curves).rpartition("_")
        shared = head + mark if len(curves) > 1 else ""  # the title says it
        values, lines = [], [limits[curve] for curve in curves if curve in limits]
        for curve in curves:
            rows = [row for row in history if curve in row]  # some are not in every row
            points = [row["step"] for row in rows], [row[curve] for row in rows]
            marker = "o" if len(rows) < max(2, len(history)) else ""  # one point has no line
            (line,) = axes.plot(
                *points,
                lw=1.2,
                marker=marker,
                markersize=3,
                label=plain(curve.removeprefix(shared)),
            )
            if curve in limits:
                axes.axhline(limits[curve], lw=1, ls=":", color=line.get_color())
            values += points[1]
        axes.set(title=plain(name), xlabel="step", xlim=(0, 1.02 * history[-1]["step"]))
        if name in shares:
            axes.set_ylim(0, 1.02)
        elif lines and max(values, default=0) > 0:
            axes.set_yscale("log", nonpositive="mask")
            smallest = min(value for value in values if value > 0)
            axes.set_ylim(bottom=min(lines) / (100 if smallest < min(lines) else 2))
        elif min(values, default=0) > 0:
            axes.set_yscale("log")
        axes.spines[["top", "right"]].set_visible(False)
        if len(curves) > 4:  # room above the curves
            low, high = axes.get_ylim()
            log = axes.get_yscale() == "log"
            axes.set_ylim(low, high * (high / low) ** 0.4 if log else high + 0.4 * (high - low))
            axes.legend(frameon=False, fontsize=7, ncols=3, loc="upper right")
        elif len(curves) > 1:
            axes.legend(frameon=False, fontsize=8)
    figure.suptitle(plain(title), fontsize=11)
    return figure


def curves(runs: Mapping[str, Sequence[Mapping[str, Sequence[float]]]], title: str = "") -> Figure:
    """The negative ELBO of several methods over training steps, a line a seed.

    Its axis is logarithmic. Where values are negative, of a Gaussian likelihood, it is linear and
    shows what comes after the first tenth of the points.

    Args:
      runs: label of a method -> for each seed "step" and "nelbo".
      title: above the figure.
    """
    figure = Figure(figsize=(5.2, 3.2), layout="constrained")
    axes = figure.subplots()
    for i, (label, seeds) in enumerate(runs.items()):
        for number, run in enumerate(seeds):
            named = {"label": plain(label)} if number == 0 else {}
            axes.plot(run["step"], run["nelbo"], lw=1.2, color=LINES[i % len(LINES)], **named)
    axes.set(xlabel="step", ylabel="negative ELBO (nats), training", title=plain(title))
    values = [np.asarray(run["nelbo"]) for seeds in runs.values() for run in seeds]
    if all((of_run > 0).all() for of_run in values):
        axes.set_yscale("log")
        locator = LogLocator(subs=(1, 1.5, 2, 3, 4, 6, 8))  # labels do not touch
        axes.yaxis.set_major_locator(locator)
        axes.yaxis.set_major_formatter(ScalarFormatter())
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        late = np.concatenate([of_run[len(of_run) // 10 :] for of_run in values])
        room = 0.05 * (late.max() - late.min())
        axes.set_ylim(late.min() - room, late.max() + room)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    return figure


def confusions(inferred: Mapping[str, Mapping[int, Sequence[int]]], title: str = "") -> Figure:
    """The confusion matrices of several methods: how many objects each finds.

    Args:
      inferred: label of a method -> true count -> number of images for which n = 0..K is inferred.
      title: above the figure.
    """
    rows = len(next(iter(inferred.values())))
    size = (2.6 * len(inferred) + 0.4, 1.3 + 0.4 * rows)
    figure = Figure(figsize=size, layout="constrained")
    for axes, (label, of_method) in zip(
        figure.subplots(1, len(inferred), squeeze=False)[0], inferred.items(), strict=True
    ):
        _confusion(axes, of_method)
        axes.set_title(plain(label), fontsize=10)
    figure.suptitle(plain(title), fontsize=11)
    return figure


def _confusion(axes: Axes, inferred: Mapping[int, Sequence[int]]) -> None:
    images = np.array(list(inferred.values()))  # [N, K+1]
    share = images / np.maximum(images.sum(1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for i, j in np.ndindex(*images.shape):
        colour = "white" if share[i, j] > 0.5 else "black"
        axes.text(j, i, images[i, j], ha="center", va="center", color=colour, fontsize=9)
    axes.set(xlabel="inferred count", ylabel="true count")
    axes.set(xticks=range(images.shape[1]), yticks=range(len(inferred)), yticklabels=inferred)


def counts(
    inferred: Mapping[int, Sequence[int]], posterior: Mapping[int, Sequence[float]], title: str = ""
) -> Figure:
    """How many objects a model finds: a confusion matrix, and the mean posterior over n.

    Args:
      inferred: true count -> number of images for which n = 0..K is the most likely.
      posterior: true count -> mean of q(n | x), n = 0..K.
      title: above the figure.
    """
    true = list(inferred)
    possible = np.arange(len(inferred[true[0]]))
    figure = Figure(figsize=(8.4, 1.7 + 0.45 * len(true)), layout="constrained")
    left, right = figure.subplots(1, 2)
    _confusion(left, inferred)
    left.set_title("images")
    width = 0.8 / len(true)
    for i, n in enumerate(true):
        offset = (i - (len(true) - 1) / 2) * width
        colour = COLOURS[i % len(COLOURS)]
        right.bar(possible + offset, posterior[n], width, label=f"{n} true", color=colour)
    right.set(
        xlabel="n", ylabel="mean q(n | x)", title="posterior", xticks=possible, ylim=(0, 1.02)
    )
    right.legend(frameon=False, fontsize=8)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(plain(title), fontsize=11)
    return figure
