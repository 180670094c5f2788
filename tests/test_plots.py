"""Figures of scenes: what is drawn where."""

import inspect
import io
import itertools

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text

from asr_jax import Scene, charts, plots

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
    "learning_curves": lambda: charts.learning_curves(
        [{"step": 1, NAME: 2.0, "b": 3.0}], {NAME: [NAME, "b"]}, NAME
    ),
    "curves": lambda: charts.curves({NAME: [{"step": [1, 2], "nelbo": [4.0, 3.0]}]}, NAME),
    "confusions": lambda: charts.confusions({NAME: {1: [0, 4], 2: [1, 3]}}, NAME),
    "counts": lambda: charts.counts({1: [0, 4]}, {1: [0.1, 0.9]}, NAME),
}


@pytest.mark.parametrize("kind", FIGURES)
def test_names_with_dollar_signs_are_written_as_they_are(kind):
    figure = FIGURES[kind]()
    saved(figure)
    texts = [text.get_text() for text in figure.findobj(Text) if "cost" in text.get_text()]
    assert texts
    for line in "\n".join(texts).splitlines():
        assert line.count("$") == line.count(r"\$") and not line.endswith("\\")


def test_every_figure_is_tried_with_dollar_signs():
    functions = [f for of in (plots, charts) for f in inspect.getmembers(of, inspect.isfunction)]
    figures = {name for name, f in functions if f.__annotations__.get("return") == "Figure"}
    assert figures == set(FIGURES)


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


def test_rows_of_wide_images_are_as_high_as_the_images():
    for shape in ((20, 20), (20, 40)):
        scene = Scene(np.zeros((4, *shape)), np.zeros(4, int), np.zeros((4, 0, 4)))
        figure = plots.rows({"a": scene, "b": scene})
        saved(figure)  # which lays it out
        first, below = figure.axes[0].get_position(), figure.axes[4].get_position()
        height = figure.get_figheight()
        gap = (first.y0 - below.y1) * height  # inches between the two rows
        assert 0 <= gap < 0.35
