"""Figures of numbers: what is drawn where."""

import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.colors import to_rgba

from asr_jax import charts
from tests.test_plots import saved

HISTORY = [
    {"step": 10, "nelbo": 30.0, "elbo": -30.0, "se": 4.0},
    {"step": 20, "nelbo": 20.0, "elbo": -20.0, "se": 0.4},
    {"step": 40, "nelbo": 10.0, "elbo": -10.0, "se": 0.2},
]


def test_learning_curves_draw_the_history():
    figure = charts.learning_curves(HISTORY, {"bound": ["nelbo", "se"], "error": ["se"]}, "run")
    first, second = figure.axes
    assert (first.get_title(), second.get_title()) == ("bound", "error")
    assert [line.get_label() for line in first.lines] == ["nelbo", "se"]
    np.testing.assert_array_equal(first.lines[0].get_xydata(), [[10, 30], [20, 20], [40, 10]])
    np.testing.assert_array_equal(second.lines[0].get_xydata(), [[10, 4], [20, 0.4], [40, 0.2]])
    assert first.get_legend() is not None and second.get_legend() is None


def test_learning_curves_have_the_rows_in_which_a_name_is():
    rows = [*HISTORY, {"step": 80, "nelbo": 9.0}]
    rows[1] = rows[1] | {"held-out": 25.0}
    (axes,) = charts.learning_curves(rows, {"bound": ["nelbo", "se", "held-out", "never"]}).axes
    nelbo, se, held_out, never = axes.lines
    np.testing.assert_array_equal(nelbo.get_xdata(), [10, 20, 40, 80])
    np.testing.assert_array_equal(se.get_xydata(), [[10, 4], [20, 0.4], [40, 0.2]])
    np.testing.assert_array_equal(held_out.get_xydata(), [[20, 25]])
    assert held_out.get_marker() == "o" and nelbo.get_marker() in ("", "None")  # a point is seen
    assert len(never.get_xdata()) == 0
    assert axes.get_xlim()[0] == 0 and axes.get_xlim()[1] >= 80
    saved(axes.figure)


def test_limits_are_dotted_lines_of_their_curves_colour():
    rows = [{"step": t, "a_x": 4.0 / t, "a_y": max(3.0 - t, 0.0)} for t in range(1, 9)]
    panels = {"F": ["a_x", "a_y"]} | {f"panel {i}": ["a_x"] for i in range(7)}
    figure = charts.learning_curves(rows, panels, limits={"a_x": 0.5, "a_y": 0.02})
    axes = figure.axes[0]
    x, of_x, y, of_y = axes.lines
    assert [line.get_label() for line in (x, y)] == ["x", "y"]  # what they share is left out
    for curve, limit, value in ((x, of_x, 0.5), (y, of_y, 0.02)):
        assert list(limit.get_ydata()) == [value] * 2 and limit.get_linestyle() == ":"
        assert limit.get_color() == curve.get_color()
    assert axes.get_yscale() == "log" and axes.get_ylim()[0] < 0.02  # also where a value is 0
    tops = {round(one.get_subplotspec().get_position(figure).y1, 3) for one in figure.axes}
    assert len(figure.axes) == 8 and len(tops) == 2  # two rows of four
    saved(figure)


def test_learning_curves_are_linear_where_a_value_is_not_positive_or_a_share():
    zero = [{**row, "se": row["se"] - 0.2} for row in HISTORY]  # ends at exactly 0
    panels = {"log": ["nelbo"], "negative": ["elbo"], "both": ["nelbo", "elbo"], "zero": ["se"]}
    figure = charts.learning_curves(zero, panels | {"ACC": ["share"]}, shares=["ACC"])
    scales = [axes.get_yscale() for axes in figure.axes]
    assert scales == ["log", "linear", "linear", "linear", "linear"]
    low, high = figure.axes[1].get_ylim()
    assert low < -30 and -10 < high  # every negative value is visible
    low, high = figure.axes[4].get_ylim()
    assert low == 0 and high >= 1


def test_a_curve_below_zero_is_seen():
    """The first points are far above the rest: those set no limit."""
    nelbo = np.concatenate([[5e4, 1e3], np.linspace(-7000, -8000, 18)])
    figure = charts.curves({"a": [{"step": np.arange(20), "nelbo": nelbo}]}, "title")
    (axes,) = figure.axes
    assert axes.get_yscale() == "linear"
    low, high = axes.get_ylim()
    assert -8100 < low < -8000 and -7000 < high < -6900
    saved(figure)


def test_counts_show_the_images_of_each_cell_and_a_bar_for_each_count():
    inferred = {1: [0, 9, 1, 0], 3: [0, 0, 2, 2]}
    posterior = {1: [0.1, 0.7, 0.2, 0.0], 3: [0.0, 0.1, 0.4, 0.5]}
    figure = charts.counts(inferred, posterior, "title")
    left, right = figure.axes
    shown = {text.get_position(): int(text.get_text()) for text in left.texts}
    assert shown == {(j, i): inferred[n][j] for i, n in enumerate((1, 3)) for j in range(4)}
    assert [label.get_text() for label in left.get_yticklabels()] == ["1", "3"]
    share = [[0, 0.9, 0.1, 0], [0, 0, 0.5, 0.5]]
    np.testing.assert_allclose(left.images[0].get_array(), share)
    # Dark cells have white numbers: those with most of a true count's images.
    white = [text.get_position() for text in left.texts if to_rgba(text.get_color())[0] == 1]
    assert white == [(1, 0)]
    middles = []
    for bars, n in zip(right.containers, (1, 3), strict=True):
        assert bars.get_label() == f"{n} true"
        np.testing.assert_allclose([bar.get_height() for bar in bars], posterior[n])
        middles.append([bar.get_x() + bar.get_width() / 2 for bar in bars])
    np.testing.assert_allclose(np.mean(middles, axis=0), np.arange(4), atol=1e-12)
    # Side by side: the right edge of the first bar is the left edge of the second.
    first, second = (bars[0] for bars in right.containers)
    assert first.get_x() + first.get_width() == pytest.approx(second.get_x())
    assert figure.get_suptitle() == "title"
    saved(figure)
    assert pyplot.get_fignums() == []  # nothing is left to close


@pytest.mark.parametrize("number", [1, 3])
def test_counts_draw_one_row_and_one_set_of_bars_for_each_true_count(number):
    table = {n: [1, 2, 3, 4, 5][: number + 1] for n in range(number)}
    left, right = charts.counts(table, table).axes
    assert left.images[0].get_array().shape == (number, number + 1)
    assert len(left.texts) == len(right.patches) == number * (number + 1)


def test_curves_are_a_line_a_seed_and_a_colour_a_method():
    runs = {
        "AIR": [
            {"step": [1, 2], "nelbo": [400.0, 300.0]},
            {"step": [1, 2], "nelbo": [410.0, 290.0]},
        ],
        "AIR-ASR": [{"step": [1, 2], "nelbo": [380.0, 250.0]}],
    }
    figure = charts.curves(runs, "title")
    (axes,) = figure.axes
    lines = axes.get_lines()
    assert [list(line.get_ydata()) for line in lines] == [[400, 300], [410, 290], [380, 250]]
    colours = [line.get_color() for line in lines]
    assert colours[0] == colours[1] != colours[2]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["AIR", "AIR-ASR"]
    assert axes.get_title() == "title"


def test_confusions_show_a_matrix_for_each_method():
    inferred = {"AIR": {1: [0, 4, 0], 2: [0, 1, 3]}, "AIR-ASR": {1: [0, 4, 0], 2: [0, 0, 4]}}
    figure = charts.confusions(inferred, "title")
    assert [axes.get_title() for axes in figure.axes] == ["AIR", "AIR-ASR"]
    for axes, of_method in zip(figure.axes, inferred.values(), strict=True):
        shown = {text.get_position(): int(text.get_text()) for text in axes.texts}
        assert shown == {(j, i): of_method[n][j] for i, n in enumerate((1, 2)) for j in range(3)}
        share = np.array(list(of_method.values())) / 4
        np.testing.assert_allclose(axes.images[0].get_array(), share)
