"""dSprites: drawn sprites against the real ones and against geometry; the order of sources."""

import importlib.util
import io
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from data_gen import dsprites, scenes
from data_gen.dsprites import ORIENTATIONS, SHAPES, draw_sprite

REFERENCE = Path(__file__).parents[2] / "shared/data/dsprites/reference_sprites.npz"
needs_reference = pytest.mark.skipif(not REFERENCE.is_file(), reason="real sprites are not here")
HALF_PIXEL = 0.5  # how far an edge of ink may lie from the outline


def iou(a, b):
    """Of two squares of ink, each centred: the smaller one is padded."""
    side = max(len(a), len(b))
    a, b = (np.pad(x > 0, [((side - len(x)) // 2, (side - len(x) + 1) // 2)] * 2) for x in (a, b))
    return (a & b).sum() / (a | b).sum()


def areas(shape, scale):
    return np.array([(draw_sprite(shape, angle, scale) > 0).sum() for angle in ORIENTATIONS])


@needs_reference
@pytest.mark.parametrize("label, shape", list(enumerate(SHAPES)))
def test_drawn_sprites_match_the_real_ones(label, shape):
    with np.load(REFERENCE, allow_pickle=False) as file:
        rows = file["shape"] == label
        real = np.unpackbits(file["sprites"][rows], axis=-1)
        angles = ORIENTATIONS[file["orientation"][rows]]
    drawn = [draw_sprite(shape, angle, 1.0) for angle in angles]
    ious = np.array([iou(a, scenes.crop_to_ink(b)) for a, b in zip(drawn, real, strict=True)])
    assert len(ious) == 20 and ious.min() >= 0.95 and ious.mean() >= 0.97, ious
    assert ious.mean() > 0.995  # as measured


def test_iou_is_not_easily_pleased():
    heart = draw_sprite("heart", 0.0, 1.0)
    assert iou(heart, heart) == 1 and iou(heart, heart[::-1]) < 0.7
    assert iou(draw_sprite("heart", ORIENTATIONS[1], 1.0), heart) < 0.95


@pytest.mark.parametrize("scale", [0.6, 1.0, 3.0])
@pytest.mark.parametrize(
    "shape, area, perimeter",
    [
        ("square", 19.2**2, 4 * 19.2),
        ("ellipse", np.pi * 12.76 * 7.22, 64),
        # The curve x = 16 sin^3 t, y = 13 cos t - ... encloses 180 pi, in a box of 32 x 28.923.
        ("heart", 180 * np.pi / (32 * 28.923) * 19.2**2, 60),
    ],
)
def test_areas_are_those_of_the_geometry(shape, area, perimeter, scale):
    measured = areas(shape, scale)
    assert measured.mean() == pytest.approx(area * scale**2, rel=0.02)
    assert (abs(measured - area * scale**2) < HALF_PIXEL * perimeter * scale).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_quarter_turns_are_anticlockwise_turns_of_the_picture(shape):
    for angle in (0.0, 0.3, 2.0):
        sprite = draw_sprite(shape, angle, 1.0)
        for quarters in (1, 2, 3):
            turned = draw_sprite(shape, angle + quarters * np.pi / 2, 1.0)
            assert iou(turned, scenes.crop_to_ink(np.rot90(sprite, quarters))) > 0.98
    np.testing.assert_array_equal(draw_sprite(shape, 0, 1.0), draw_sprite(shape, 2 * np.pi, 1.0))


def test_shapes_as_they_stand_at_orientation_0():
    square, ellipse, heart = (draw_sprite(shape, 0.0, 1.0) > 0 for shape in SHAPES)
    assert square.all() and square.shape == (20, 20)
    assert ellipse.any(0).sum() == 26 and ellipse.any(1).sum() == 14  # lying
    for shape in (square, ellipse, heart):
        np.testing.assert_array_equal(shape, shape[:, ::-1])
    rows = heart[heart.any(1)]
    assert rows[-1].sum() <= 2 and not rows[0, len(heart) // 2]  # tip below, notch above


@pytest.mark.parametrize("shape", SHAPES)
def test_scale_is_a_length(shape):
    small, large = draw_sprite(shape, 0.4, 2.0), draw_sprite(shape, 0.4, 6.0)
    assert len(large) == pytest.approx(3 * len(small), abs=3)
    assert iou(np.kron(small, np.ones((3, 3))), large) > 0.95
    assert areas(shape, 2.0).sum() == pytest.approx(4 * areas(shape, 1.0).sum(), rel=0.02)


@pytest.mark.parametrize("shape", SHAPES)
def test_sprites_are_the_smallest_squares_of_white_ink(shape):
    for angle in ORIENTATIONS:
        sprite = draw_sprite(shape, angle, 0.6)
        assert sprite.dtype == np.uint8 and set(np.unique(sprite)) <= {0, 255}
        np.testing.assert_array_equal(scenes.crop_to_ink(sprite), sprite)
        np.testing.assert_array_equal(sprite, draw_sprite(shape, angle, 0.6))


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("circle", 0.0, 1.0), "shape must be one of square, ellipse, heart, got 'circle'"),
        (("heart", 0.0, 0.0), "scale must be above 0, got 0.0: 1.0 is dSprites' largest"),
        (("heart", 0.0, -1), "scale must be above 0, got -1"),
        (("heart", 0.0, np.nan), "scale must be above 0, got nan"),
        (("heart", 0.0, np.inf), "scale must be above 0, got inf"),
        (("heart", np.inf, 1.0), "orientation must be finite, in radians, got inf"),
        (("square", 0.0, 0.01), "scale=0.01 leaves no pixel of a square: raise config.data.scale"),
    ],
)
def test_what_cannot_be_drawn(arguments, message):
    with pytest.raises(ValueError, match=message):
        draw_sprite(*arguments)


def test_every_sprite_is_what_its_row_says(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    every = dsprites.load_sprites(scale=0.6)
    assert every.source == "dSprites, drawn"
    np.testing.assert_array_equal(every.index, np.arange(120))
    np.testing.assert_array_equal(every.labels, np.repeat([0, 1, 2], 40))
    assert (every.facts["scale"] == np.float32(0.6)).all()
    for row, label in enumerate(every.labels):
        assert every.facts["orientation"][row] == np.float32(row % 40 * 2 * np.pi / 39)
        np.testing.assert_array_equal(
            every.draw(row), draw_sprite(SHAPES[label], ORIENTATIONS[row % 40], 0.6)
        )

    some = dsprites.load_sprites(("heart", "square"), 0.6)  # in dSprites' order all the same
    np.testing.assert_array_equal(some.index, [*range(40), *range(80, 120)])
    for row, index in enumerate(some.index):
        assert some.labels[row] == every.labels[index]
        np.testing.assert_array_equal(some.draw(row), every.draw(index))
    hashes = {dsprites.load_sprites(("heart",), scale).sha256 for scale in (0.6, 1.0)}
    assert len(hashes | {every.sha256, some.sha256}) == 4
    with pytest.raises(ValueError, match="shape must be .*, got 'star'"):
        dsprites.load_sprites(("heart", "star"))


class FakeTfds:
    """Stands for `tfds.load`: drawn sprites at several scales and places, as TFDS gives them."""

    PLACES = [(1, 0, 0), (5, 0, 0), (1, 3, 0), (1, 0, 9), (2, 0, 0)]  # scale, x, y

    def __init__(self):
        rows = [(s, o, c, x, y) for s in range(3) for o in range(40) for c, x, y in self.PLACES]
        np.random.default_rng(0).shuffle(rows)
        names = ("shape", "orientation", "scale", "x_position", "y_position")
        labels = np.transpose(rows)
        self.features = {f"label_{n}": v for n, v in zip(names, labels, strict=True)}
        self.features["image"] = np.array([self.picture(*row) for row in rows], object)

    def picture(self, shape, orientation, scale, x, y):
        sprite = draw_sprite(SHAPES[shape], ORIENTATIONS[orientation], 0.5 + scale / 10) > 0
        if x or y:
            sprite = ~sprite  # another picture: it must not be taken
        canvas = np.zeros((64, 64), np.uint8)
        canvas[3 + y : 3 + y + len(sprite), 2 + x : 2 + x + len(sprite)] = sprite  # 0 or 1
        file = io.BytesIO()
        Image.fromarray(canvas).save(file, "PNG")
        return file.getvalue()

    def __call__(self, name, *, split, batch_size, decoders):
        assert (name, split) == ("dsprites", "train")
        assert isinstance(decoders.decoders["image"], tfds.decode.SkipDecoding)
        for start in range(0, len(self.features["image"]), 100):
            yield {key: values[start : start + 100] for key, values in self.features.items()}


def test_the_order_of_sources(monkeypatch):
    drawn = dsprites.load_sprites(scale=0.6)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name == "tensorflow" or None)
    monkeypatch.setattr(tfds, "as_numpy", iter)
    monkeypatch.setattr(tfds, "load", FakeTfds())
    real = dsprites.load_sprites(scale=0.6)
    assert real.source == "TFDS dsprites"
    assert real.sha256 == drawn.sha256  # the same pictures, found among the others
    assert dsprites.load_sprites(scale=1.0).source == "TFDS dsprites"
    assert dsprites.load_sprites(scale=0.65).source == "dSprites, drawn"  # a scale it has not

    def no_network(*_, **__):
        raise ConnectionError("no route to host")

    warnings = []
    monkeypatch.setattr(dsprites.logging, "warning", lambda *args: warnings.append(args))
    monkeypatch.setattr(tfds, "load", no_network)
    assert dsprites.load_sprites(scale=0.6).source == "dSprites, drawn"
    assert "no route to host" in warnings[0][0] % warnings[0][1:]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert dsprites.load_sprites(scale=0.6).source == "dSprites, drawn"
    assert len(warnings) == 1  # without TensorFlow, drawing is no surprise
