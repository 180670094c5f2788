"""Scenes in colour, with backgrounds and occlusion: every pixel is what the facts say."""

import colorsys
import dataclasses
import importlib.util

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from asr_jax import truth
from configs import dsprites3, mnist13
from data_gen import colours, contact_sheet, dsprites, multi_dsprites, multi_mnist, scenes, sources
from experiments.run import data
from experiments.run.from_config import from_config

SCALES = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
SPRITES = multi_dsprites.SceneConfig(
    counts=(2, 3, 4, 5),
    layout="occluded",
    scale=1.0,
    scales=SCALES,
    colours="random",
    background="grey",
    train_size=120,
    test_size=4,
)
ON_COLOUR = dataclasses.replace(SPRITES, counts=(1, 2, 3, 4), background="colour")
DIGITS = multi_mnist.SceneConfig(
    counts=(1, 3), layout="pixels", scale=1.0, colours="random", train_size=60, test_size=4
)
FOUND = sources.embedded_digits("train")


@pytest.fixture(autouse=True)
def drawn(monkeypatch):
    """Sprites are drawn, whether or not TensorFlow is installed."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return str(tmp_path_factory.mktemp("cache"))


def load(config, cache):
    if isinstance(config, multi_dsprites.SceneConfig):
        return multi_dsprites.load(config, cache).train
    return multi_mnist.load(config, "embedded", cache).train


def digit(index):
    (row,) = np.flatnonzero(FOUND.index == index)
    return scenes.crop_to_ink(FOUND.images[row])


def inks(part, i):
    """The ink of each object of scene i on the canvas, in [0, 1]: [count, H, W]."""
    drawn = np.zeros((part.count[i], *part.image.shape[1:3]))
    for j in range(part.count[i]):
        x0, y0, x1, y1 = part.box[i, j].astype(int)
        if part.scale is None:
            sprite = digit(part.source_index[i, j])
        else:
            shape = dsprites.SHAPES[part.label[i, j]]
            scale = round(float(part.scale[i, j]), 1)
            sprite = dsprites.draw_sprite(shape, part.orientation[i, j].astype(float), scale)
        drawn[j, y0:y1, x0:x1] = sprite / 255
    return drawn


def one(values):
    """The one colour of pixels [P, C], in [0, 1]."""
    (colour,) = np.unique(values, axis=0)
    return colour / 255


@pytest.mark.parametrize("config", [SPRITES, ON_COLOUR])
def test_sprites_hide_those_before_them(config, cache):
    part = load(config, cache)
    assert part.image.shape == (120, 64, 64, 3) and part.image.dtype == np.uint8
    assert part.mask.shape == (120, 64, 64) and part.mask.dtype == np.uint8
    np.testing.assert_array_equal(np.bincount(part.count)[list(config.counts)], 30)
    hidden, values, behind = 0, [], []
    for i, (image, mask) in enumerate(zip(part.image, part.mask, strict=True)):
        expected = np.zeros((64, 64), int)
        for j, ink in enumerate(inks(part, i), 1):
            expected[ink > 0] = j
        np.testing.assert_array_equal(mask, expected)
        visible = np.bincount(mask.ravel(), minlength=6)[1:]
        assert (visible[: part.count[i]] >= 25).all()
        hidden += visible.sum() < (inks(part, i) > 0).sum()
        ground = one(image[mask == 0])
        behind.append(ground)
        for j in range(1, part.count[i] + 1):
            values.append(one(image[mask == j]))
            # Both are rounded to 1/255.
            assert np.linalg.norm(values[-1] - ground) > 0.35 - 0.01
    assert hidden > 30
    hue, saturation, value = np.transpose([colorsys.rgb_to_hsv(*c) for c in values])
    assert saturation.min() > 0.69 and value.min() > 0.69 and value.max() <= 1
    assert np.histogram(hue, 6, (0, 1))[0].min() > len(hue) / 9  # each sixth of the circle
    behind = np.array(behind)
    if config.background == "grey":
        assert (behind == behind[:, :1]).all()
        assert stats.kstest(behind[:, 0], "uniform").pvalue > 0.001
    else:
        for channel in behind.T:
            assert stats.kstest(channel, "uniform").pvalue > 0.001
        assert abs(np.corrcoef(behind.T)[[0, 0, 1], [1, 2, 2]]).max() < 0.4


def test_every_object_has_one_of_the_scales(cache):
    part = load(SPRITES, cache)
    present = np.arange(5) < part.count[:, None]
    found, objects = np.unique(part.scale[present], return_counts=True)
    np.testing.assert_array_equal(found, np.float32(SCALES))
    assert stats.chisquare(objects).pvalue > 0.001 and not part.scale[~present].any()
    turned = np.unique(part.orientation[present])
    assert len(turned) > 36 and len(np.unique(part.label[present])) == 3
    assert len(dsprites.load_sprites(("heart",), 1.0, (1.0, 0.5)).labels) == 80


def test_the_order_in_which_scales_are_named_does_not_matter():
    one, two = (dsprites.load_sprites(("heart",), 0.8, scales) for scales in ((0.5, 1), (1, 0.5)))
    assert one.sha256 == two.sha256
    assert one.sha256 != dsprites.load_sprites(("heart",), 0.8, (0.5,)).sha256
    np.testing.assert_array_equal(one.facts["scale"], np.float32([0.4] * 40 + [0.8] * 40))
    np.testing.assert_array_equal(one.draw(3), dsprites.draw_sprite("heart", 6 * np.pi / 39, 0.4))


@pytest.mark.parametrize("background", ["colour", "grid", "grey", "black"])
@pytest.mark.parametrize("ink", ["random", "white"])
def test_digits_cover_what_is_behind_them_by_their_ink(background, ink, cache):
    config = dataclasses.replace(DIGITS, background=background, colours=ink)
    part = load(config, cache)
    in_colour = ink == "random" or background == "colour"
    assert part.image.shape == ((60, 50, 50, 3) if in_colour else (60, 50, 50))
    if (background, ink) == ("black", "white"):
        assert part.mask is None  # the scenes of before
        return
    offsets = set()
    for i in range(len(part.image)):
        image = part.image[i].reshape(50, 50, -1)
        drawn = inks(part, i)
        free = drawn.sum(0) == 0
        if background == "grid":
            lines = image[..., 0] == 102
            rows = np.flatnonzero((lines | ~free).all(1))
            columns = np.flatnonzero((lines | ~free).all(0))
            assert len(rows) == len(columns) == 10
            assert (np.diff(rows) == 5).all() and (np.diff(columns) == 5).all()
            offsets.add((rows[0], columns[0]))
            expected = np.zeros((50, 50, 1))
            expected[rows] = expected[:, columns] = 0.4
        else:
            expected = np.broadcast_to(one(image[free]), image.shape)
            assert background != "black" or not expected.any()
        for j, own in enumerate(drawn, 1):
            colour, most = np.ones(1), own.max()  # not every digit is white somewhere
            if ink == "random":
                at = own == most
                colour = np.mean((image[at] / 255 - (1 - most) * expected[at]) / most, axis=0)
            expected = own[..., None] * colour + (1 - own[..., None]) * expected
            np.testing.assert_array_equal(part.mask[i][own > 0], np.where(own > 0.5, j, 0)[own > 0])
            ground = {"grid": 0.4, "black": 0}.get(background, expected[free][0])
            assert np.linalg.norm(np.ones(3) * (colour - ground)) > 0.35 - 0.01
        assert not part.mask[i][free].any()
        np.testing.assert_allclose(image, 255 * expected, atol=1.01)  # colours are rounded
    assert background != "grid" or len(offsets) > 15


@pytest.mark.parametrize("ink, channels", [("white", 1), ("random", 3)])
def test_noise_lies_over_the_whole_scene(ink, channels, cache):
    part = load(dataclasses.replace(DIGITS, background="noise", colours=ink), cache)
    image = part.image.reshape(60, 50, 50, channels) / 255
    free = np.stack([inks(part, i).sum(0) == 0 for i in range(60)])
    noise = stats.norm(0.1, 0.2)
    black = image[free]  # [P, C]
    assert np.mean(black == 0) == pytest.approx(noise.cdf(0.5 / 255), abs=0.005)
    for level in (0.1, 0.3, 0.5):
        step = (round(255 * level) + 0.5) / 255  # what is rounded to that level, or below
        assert np.mean(black <= step) == pytest.approx(noise.cdf(step), abs=0.005)
    if channels == 3:  # each channel has noise of its own
        assert abs(np.corrcoef(black.T)[np.triu_indices(3, 1)]).max() < 0.02
        return
    full = np.concatenate([image[i][(inks(part, i) == 1).any(0)] for i in range(60)])
    white = stats.norm(0.9, 0.2)
    assert np.mean(full == 1) == pytest.approx(white.sf(1 - 0.5 / 255), abs=0.02)
    assert np.mean(full <= 0.7 + 0.5 / 255) == pytest.approx(white.cdf(0.7 + 0.5 / 255), abs=0.02)


def test_objects_are_told_from_every_background():
    """From mid grey, too, where fewest colours are far away; and white ones from light greys."""
    rng = np.random.default_rng(0)
    share = np.zeros((2, 1, 2))
    share[0, 0, 0] = share[1, 0, 1] = 1
    most = colours.MOST_CONTRAST
    for background in ("grey", "colour"):
        for ink in colours.COLOURS:
            painted = [colours.paint(rng, share, ink, background, most) for _ in range(200)]
            both = np.array(painted).reshape(200, 2, -1) / 255  # [200, 2, C]
            apart = np.linalg.norm(np.broadcast_to(both, (200, 2, 3))[:, 0] - both[:, 1], axis=-1)
            assert apart.min() > most - 0.01
            assert (apart < most + 0.1).any()
    corners = np.array([np.roll(c, n) for c in ([1, 0, 0], [1, 1, 0]) for n in range(3)])
    behind = rng.uniform(size=(20_000, 1, 3))
    assert np.linalg.norm(behind - corners, axis=-1).max(1).min() > most + 0.1


def test_the_same_settings_paint_the_same_scenes(cache, tmp_path):
    for a, b in zip(load(ON_COLOUR, cache), load(ON_COLOUR, str(tmp_path)), strict=True):
        np.testing.assert_array_equal(a, b)
    other = load(dataclasses.replace(ON_COLOUR, seed=1), cache)
    assert not np.array_equal(load(ON_COLOUR, cache).image, other.image)


@pytest.mark.parametrize(
    "setting, message",
    [
        ({"colours": "red"}, "colours must be one of white, random, got red: set config.data.col"),
        (
            {"background": "white"},
            "background must be one of black, grey, colour, noise, grid, got white: set config.da",
        ),
        ({"contrast": 0.71}, "contrast must be from 0 to 0.7, or no colour .*, got 0.71: set conf"),
        ({"contrast": -0.1}, "contrast must be from 0 .*, got -0.1"),
        ({"contrast": float("nan")}, "contrast must be from 0 .*, got nan"),
        ({"min_visible": -1}, "min_visible must be at least 0, got -1: set config.data.min_vis"),
        (
            {"layout": "occluded", "min_visible": 834},
            "min_visible must leave room for 3 objects, at most 833 pixels each, got 834: set",
        ),
        ({"layout": "occluded", "canvas": 0}, "canvas must be at least 1, got 0"),
        (
            {"canvas": 2**16, "train_size": 2**6, "test_size": 1},
            "train_size must leave all scenes, .* 1099511627776 bytes, not 1116691496960, got 64",
        ),
    ],
)
def test_settings_out_of_range(setting, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(DIGITS, **setting)


def test_a_run_gets_the_mask_of_each_of_its_scenes(cache):
    """With held-out training scenes, which are shuffled, and as a share of the devices'."""
    config = dsprites3.get_config("asr")
    settings = dataclasses.asdict(dataclasses.replace(SPRITES, counts=(3,)))
    config.data.update(settings | {"data_dir": cache, "split": "validation"})
    for placement in ("replicated", "sharded"):
        config.data.placement = placement
        loaded = data.load(from_config(config).data)
        for part in (loaded.train, loaded.test):
            assert part.mask.shape == part.image.shape[:3]
            for image, mask in zip(part.image, part.mask, strict=True):
                one(image[mask == 0])  # raises where there are several
            truth.check(part.image, part.count, part.box, mask=part.mask)
    assert loaded.test.image.shape == (4, 64, 64, 3)


def test_fields_of_the_experiments_are_those_of_scenes_without_colour():
    config = mnist13.get_config("asr")
    described = from_config(config).data.scenes
    assert (described.channels, described.masked) == (1, False)
    config.data.background, config.data.colours = "noise", "random"
    described = from_config(config).data.scenes
    assert (described.channels, described.masked) == (3, True)


def test_a_contact_sheet_shows_colours(cache, tmp_path):
    part = load(ON_COLOUR, cache)
    contact_sheet.save_contact_sheet(part, tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as file:
        pixels = np.asarray(file.convert("RGB"))
    shown = set(map(tuple, pixels.reshape(-1, 3).tolist()))
    wanted = [
        tuple(np.unique(image[mask == 0], axis=0)[0].tolist())
        for image, mask in zip(part.image[:32], part.mask[:32], strict=True)
    ]
    assert len(set(wanted)) == 32 and set(wanted) <= shown
