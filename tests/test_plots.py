"""Figures: what is drawn where."""

import inspect
import io
import itertools

import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb, to_rgba
from matplotlib.figure import Figure
from matplotlib.text import Text

from asr_jax import Scene, plots

BOX = np.array([[2.0, 1.0, 8.0, 4.0], [0.5, 3.0, 3.5, 9.0], [5.0, 5.0, 6.0, 6.0]])


def rectangles(axes):
    """(x0, y0, x1, y1) of each patch, in data coordinates."""
    return [
        (*p.get_xy(), p.get_x() + p.get_width(), p.get_y() + p.get_height()) for p in axes.patches
    ]


def saved(figure):
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=40)
    assert file.getvalue().startswith(b"\x89PNG")
    return file


def test_draw_scene_puts_rectangles_at_the_boxes():
    axes = Figure().subplots()
    plots.draw_scene(axes, np.zeros((10, 20)), BOX, 2)
    np.testing.assert_array_equal(rectangles(axes), BOX[:2])
    assert len({p.get_edgecolor() for p in axes.patches}) == 2  # a colour a step
    assert not any(p.get_fill() for p in axes.patches)


def test_draw_scene_without_boxes_has_no_rectangle():
    axes = Figure().subplots()
    plots.draw_scene(axes, np.zeros((10, 20)))
    assert len(axes.patches) == 0


def test_draw_scene_cycles_through_its_colours():
    axes = Figure().subplots()
    plots.draw_scene(axes, np.zeros((10, 10)), np.repeat(BOX[:1], 9, axis=0), 9)
    colours = [p.get_edgecolor() for p in axes.patches]
    assert len(set(colours)) == 8 and colours[8] == colours[0]


def test_image_lies_between_pixel_edges_with_y_down():
    axes = Figure().subplots()
    image = np.random.default_rng(0).uniform(size=(10, 20))
    plots.draw_scene(axes, image)
    (shown,) = axes.images
    assert tuple(shown.get_extent()) == (0, 20, 10, 0)
    assert axes.get_xlim() == (0, 20) and axes.get_ylim() == (10, 0)
    assert shown.origin == "upper"
    np.testing.assert_array_equal(shown.get_array(), image)
    assert shown.get_clim() == (0, 1)  # black is 0 and white is 1 in every image


def test_a_box_covers_the_pixels_that_it_names():
    # One lit pixel block and its box, with the image's frame filling the figure: the rectangle's
    # corners in the drawn picture are the corners of the lit block.
    image = np.zeros((10, 10))
    image[2:5, 3:7] = 1
    figure = Figure(figsize=(1, 1), dpi=100)
    axes = figure.add_axes((0, 0, 1, 1))
    plots.draw_scene(axes, image, np.array([[3, 2, 7, 5]]), 1)
    (patch,) = axes.patches
    patch.set_visible(False)
    file = io.BytesIO()
    figure.savefig(file, format="rgba", dpi=100)
    picture = np.frombuffer(file.getvalue(), np.uint8).reshape(100, 100, 4)[..., 0]
    lit = np.argwhere(picture > 127)
    (left, top), (right, bottom) = axes.transData.transform([[3, 2], [7, 5]])  # y up, in dots
    assert (lit[:, 1].min(), lit[:, 1].max() + 1) == (round(left), round(right))
    assert (lit[:, 0].min(), lit[:, 0].max() + 1) == (100 - round(top), 100 - round(bottom))


def test_reconstructions_show_images_above_their_canvas_with_boxes():
    images, canvas = np.random.default_rng(1).uniform(size=(2, 3, 10, 20))
    count = np.array([0, 2, 3])
    figure = plots.reconstructions(
        images, {"ours": Scene(canvas, count, np.stack([BOX] * 3))}, "title"
    )
    axes = np.array(figure.axes).reshape(2, 3)
    for j in range(3):
        np.testing.assert_array_equal(axes[0, j].images[0].get_array(), images[j])
        np.testing.assert_array_equal(axes[1, j].images[0].get_array(), canvas[j])
        assert len(axes[0, j].patches) == 0
        assert rectangles(axes[1, j]) == [tuple(b) for b in BOX[: count[j]]]
    assert figure.get_suptitle() == "title"


@pytest.mark.parametrize("number", [1, 2, 5, 7])
def test_samples_grid_holds_every_scene_and_blanks_the_rest(number):
    canvas = np.random.default_rng(2).uniform(size=(number, 10, 10))
    count = np.arange(number) % 4
    figure = plots.samples(Scene(canvas, count, np.stack([BOX] * number)))
    assert len(figure.axes) >= number
    for j, axes in enumerate(figure.axes):
        if j < number:
            np.testing.assert_array_equal(axes.images[0].get_array(), canvas[j])
            assert rectangles(axes) == [tuple(b) for b in BOX[: count[j]]]
            assert axes.axison
        else:
            assert not axes.images and not axes.axison


HISTORY = [
    {"step": 10, "nelbo": 30.0, "elbo": -30.0, "se": 4.0},
    {"step": 20, "nelbo": 20.0, "elbo": -20.0, "se": 0.4},
    {"step": 40, "nelbo": 10.0, "elbo": -10.0, "se": 0.2},
]


def test_learning_curves_draw_the_history():
    figure = plots.learning_curves(HISTORY, {"bound": ["nelbo", "se"], "error": ["se"]}, "run")
    first, second = figure.axes
    assert (first.get_title(), second.get_title()) == ("bound", "error")
    assert [line.get_label() for line in first.lines] == ["nelbo", "se"]
    np.testing.assert_array_equal(first.lines[0].get_xydata(), [[10, 30], [20, 20], [40, 10]])
    np.testing.assert_array_equal(second.lines[0].get_xydata(), [[10, 4], [20, 0.4], [40, 0.2]])
    assert first.get_legend() is not None and second.get_legend() is None


def test_learning_curves_have_the_rows_in_which_a_name_is():
    rows = [*HISTORY, {"step": 80, "nelbo": 9.0}]
    rows[1] = rows[1] | {"held-out": 25.0}
    (axes,) = plots.learning_curves(rows, {"bound": ["nelbo", "se", "held-out", "never"]}).axes
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
    figure = plots.learning_curves(rows, panels, limits={"a_x": 0.5, "a_y": 0.02})
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
    figure = plots.learning_curves(zero, panels | {"ACC": ["share"]}, shares=["ACC"])
    scales = [axes.get_yscale() for axes in figure.axes]
    assert scales == ["log", "linear", "linear", "linear", "linear"]
    low, high = figure.axes[1].get_ylim()
    assert low < -30 and -10 < high  # every negative value is visible
    low, high = figure.axes[4].get_ylim()
    assert low == 0 and high >= 1


NAME = "cost$_{$x"  # half of a formula
SCENE = Scene(np.zeros((1, 8, 8)), np.zeros(1, np.int32), np.zeros((1, 0, 4)))
NOTHING = np.zeros((1, 8, 8), np.uint8)
FIGURES = {
    "reconstructions": lambda: plots.reconstructions(SCENE.canvas, {NAME: SCENE}, NAME),
    "rows": lambda: plots.rows({f"a-run-of-{NAME}-and-{NAME}": SCENE}, NAME),
    "taken_apart": lambda: plots.taken_apart(
        SCENE.canvas, SCENE.replace(mask=NOTHING), NOTHING, NOTHING[:, None], NAME
    ),
    "samples": lambda: plots.samples(SCENE, NAME),
    "learning_curves": lambda: plots.learning_curves(
        [{"step": 1, NAME: 2.0, "b": 3.0}], {NAME: [NAME, "b"]}, NAME
    ),
    "curves": lambda: plots.curves({NAME: [{"step": [1, 2], "nelbo": [4.0, 3.0]}]}, NAME),
    "confusions": lambda: plots.confusions({NAME: {1: [0, 4], 2: [1, 3]}}, NAME),
    "counts": lambda: plots.counts({1: [0, 4]}, {1: [0.1, 0.9]}, NAME),
}


@pytest.mark.parametrize("kind", FIGURES)
def test_names_with_dollar_signs_are_written_as_they_are(kind):
    figure = FIGURES[kind]()
    saved(figure)
    texts = [text.get_text() for text in figure.findobj(Text) if "cost" in text.get_text()]
    assert texts
    for line in "\n".join(texts).splitlines():
        assert line.count("$") == line.count(r"\$") and not line.endswith("\\")


def test_every_figure_of_the_module_is_tried_with_dollar_signs():
    functions = inspect.getmembers(plots, inspect.isfunction)
    assert {name for name, f in functions if f.__annotations__.get("return") == "Figure"} == set(
        FIGURES
    )


def test_a_curve_below_zero_is_seen():
    """The first points are far above the rest: those set no limit."""
    nelbo = np.concatenate([[5e4, 1e3], np.linspace(-7000, -8000, 18)])
    figure = plots.curves({"a": [{"step": np.arange(20), "nelbo": nelbo}]}, "title")
    (axes,) = figure.axes
    assert axes.get_yscale() == "linear"
    low, high = axes.get_ylim()
    assert -8100 < low < -8000 and -7000 < high < -6900
    saved(figure)


def test_masks_have_the_colours_of_their_boxes():
    mask = np.array([[[0, 1], [2, 9]]])  # there are eight colours: the ninth object has the first
    first, second = (to_rgb(colour) for colour in plots.COLOURS[:2])
    np.testing.assert_allclose(plots.masks(mask), [[[(0, 0, 0), first], [second, first]]])


def test_images_are_taken_apart_in_columns():
    rng = np.random.default_rng(0)
    images, objects = rng.random((2, 6, 8, 3)), rng.random((2, 3, 6, 8, 3))
    mask = np.array([[[0, 1], [2, 9]]] * 2, np.uint8).repeat(3, 1).repeat(4, 2)
    scene = Scene(1 - images, np.array([2, 0]), np.stack([BOX] * 2), mask)
    figure = plots.taken_apart(images, scene, images / 2, objects, "title")
    grid = np.reshape(figure.axes, (6, 2))  # image, inferred, masks, background, two objects
    labels = ["image", "inferred", "masks", "background", "object 1", "object 2"]
    assert [axes.get_ylabel() for axes in grid[:, 0]] == labels
    shown = [[np.asarray(axes.images[0].get_array()) for axes in row] for row in grid]
    for i in range(2):
        for row, expected in zip(shown, (images, 1 - images, None, images / 2), strict=False):
            if expected is not None:
                np.testing.assert_allclose(row[i], expected[i])
    colours = [shown[2][0][y, x] for y, x in ((0, 0), (0, 4), (3, 0), (3, 4))]
    assert (colours[0] == 0).all() and len({tuple(colour) for colour in colours}) == 3
    np.testing.assert_allclose(colours[1], colours[3])  # eight colours come round again
    np.testing.assert_allclose(shown[5][0], objects[0, 1])
    assert (shown[4][1] == 1).all() and (shown[5][1] == 1).all()  # the second image has none
    assert [len(axes.patches) for axes in grid[:, 0]] == [0, 2, 0, 0, 0, 0]
    saved(figure)


def test_counts_show_the_images_of_each_cell_and_a_bar_for_each_count():
    inferred = {1: [0, 9, 1, 0], 3: [0, 0, 2, 2]}
    posterior = {1: [0.1, 0.7, 0.2, 0.0], 3: [0.0, 0.1, 0.4, 0.5]}
    figure = plots.counts(inferred, posterior, "title")
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
    left, right = plots.counts(table, table).axes
    assert left.images[0].get_array().shape == (number, number + 1)
    assert len(left.texts) == len(right.patches) == number * (number + 1)


def test_long_labels_of_rows_do_not_run_into_each_other():
    images = np.zeros((3, 8, 8))
    scene = Scene(images, np.zeros(3, np.int32), np.zeros((3, 0, 4)))
    labels = [f"dsprites3-{method}-12-epochs-seed0" for method in ("air", "pprior", "asr")]
    figure = plots.rows(dict.fromkeys(labels, scene))
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    spans = [axes.yaxis.label.get_window_extent(renderer) for axes in figure.axes[::3]]
    for above, below in itertools.pairwise(spans):
        assert below.y1 <= above.y0 and below.height > 0


def test_curves_are_a_line_a_seed_and_a_colour_a_method():
    runs = {
        "AIR": [
            {"step": [1, 2], "nelbo": [400.0, 300.0]},
            {"step": [1, 2], "nelbo": [410.0, 290.0]},
        ],
        "AIR-ASR": [{"step": [1, 2], "nelbo": [380.0, 250.0]}],
    }
    figure = plots.curves(runs, "title")
    (axes,) = figure.axes
    lines = axes.get_lines()
    assert [list(line.get_ydata()) for line in lines] == [[400, 300], [410, 290], [380, 250]]
    colours = [line.get_color() for line in lines]
    assert colours[0] == colours[1] != colours[2]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["AIR", "AIR-ASR"]
    assert axes.get_title() == "title"


def test_confusions_show_a_matrix_for_each_method():
    inferred = {"AIR": {1: [0, 4, 0], 2: [0, 1, 3]}, "AIR-ASR": {1: [0, 4, 0], 2: [0, 0, 4]}}
    figure = plots.confusions(inferred, "title")
    assert [axes.get_title() for axes in figure.axes] == ["AIR", "AIR-ASR"]
    for axes, of_method in zip(figure.axes, inferred.values(), strict=True):
        shown = {text.get_position(): int(text.get_text()) for text in axes.texts}
        assert shown == {(j, i): of_method[n][j] for i, n in enumerate((1, 2)) for j in range(3)}
        share = np.array(list(of_method.values())) / 4
        np.testing.assert_allclose(axes.images[0].get_array(), share)


def test_rows_of_wide_images_are_as_high_as_the_images():
    for shape in ((20, 20), (20, 40)):
        scene = Scene(np.zeros((4, *shape)), np.zeros(4, int), np.zeros((4, 0, 4)))
        figure = plots.rows({"a": scene, "b": scene})
        saved(figure)  # which lays it out
        first, below = figure.axes[0].get_position(), figure.axes[4].get_position()
        height = figure.get_figheight()
        gap = (first.y0 - below.y1) * height  # inches between the two rows
        assert 0 <= gap < 0.35
