"""Multi-dSprites: settings, scenes, the cache, and the command line.

What it shares with Multi-MNIST (damage, killed and overtaken builds) is tested there.
"""

import dataclasses
import hashlib
import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from configs import dsprites3, dsprites24
from data_gen import builder, dsprites, multi_dsprites, multi_mnist, scene_config, scenes
from data_gen.multi_dsprites import MultiDsprites, SceneConfig

OBJECTS = {"mnist": multi_mnist, "dsprites": multi_dsprites}
SMALL = SceneConfig(train_size=60, test_size=7)
MIXED = SceneConfig(counts=(2, 4), layout="pixels", scale=1.0, train_size=40, test_size=10, seed=3)


@pytest.fixture(autouse=True)
def drawn(monkeypatch):
    """Sprites are drawn, whether or not TensorFlow is installed."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def load(config, path):
    return multi_dsprites.load(config, data_dir=str(path))


@pytest.mark.parametrize("config", [SMALL, MIXED])
def test_every_field_has_its_shape_type_and_padding(config, cache):
    dataset = load(config, cache)
    assert dataset.source == "dSprites, drawn"
    slots = max(config.counts)
    for split, size in (("train", config.train_size), ("test", config.test_size)):
        part = getattr(dataset, split)
        arrays = {name: array for name, array in part._asdict().items() if array is not None}
        shapes = {name: (array.shape, array.dtype) for name, array in arrays.items()}
        assert shapes == {
            "image": ((size, 64, 64), np.uint8),
            "count": ((size,), np.int32),
            "box": ((size, slots, 4), np.float32),
            "label": ((size, slots), np.int32),
            "source_index": ((size, slots), np.int32),
            "orientation": ((size, slots), np.float32),
            "scale": ((size, slots), np.float32),
        }
        absent = np.arange(slots) >= part.count[:, None]
        for name, value in dict(box=0, label=-1, source_index=-1, orientation=0, scale=0).items():
            assert (getattr(part, name)[absent] == value).all()
        assert (part.scale[~absent] == np.float32(config.scale)).all()
        np.testing.assert_array_equal(part.label, np.where(absent, -1, part.source_index // 40))
        angles = np.where(absent, 0, dsprites.ORIENTATIONS[part.source_index % 40])
        np.testing.assert_array_equal(part.orientation, angles.astype(np.float32))
        assert set(part.label[~absent]) == {0, 1, 2}


@pytest.mark.parametrize("config", [SMALL, MIXED])
def test_the_image_is_the_named_sprites_in_their_boxes_and_nothing_else(config, cache):
    train = load(config, cache).train
    for i, image in enumerate(train.image):
        boxes, inks = np.zeros((2, 64, 64), int)
        for j in range(train.count[i]):
            x0, y0, x1, y1 = train.box[i, j].astype(int)
            shape = dsprites.SHAPES[train.label[i, j]]
            angle = dsprites.ORIENTATIONS[train.source_index[i, j] % 40]
            boxes[y0:y1, x0:x1] += 1
            inks[y0:y1, x0:x1] += dsprites.draw_sprite(shape, angle, config.scale)
        np.testing.assert_array_equal(image, inks)  # no ink met: the sum is 0 or 255
        assert boxes.max() == 1 or config.layout == "pixels"


def test_boxes_may_overlap_where_only_inks_are_disjoint(cache):
    train = load(MIXED, cache).train
    low, high = np.split(train.box[train.count == 4], 2, axis=2)  # [N, 4, 2]
    shared = np.minimum(high[:, 0], high[:, 1]) - np.maximum(low[:, 0], low[:, 1])
    assert (shared > 0).all(1).any()


def test_the_order_in_which_shapes_are_named_does_not_matter():
    one, two = (
        [scene["image"] for scene in builder.generate(SMALL, sprites, "train")]
        for sprites in map(dsprites.load_sprites, (("square", "heart"), ("heart", "square")))
    )
    np.testing.assert_array_equal(one, two)


def test_train_and_test_scenes_differ(cache):
    dataset = load(dataclasses.replace(SMALL, test_size=60), cache)
    assert not {*map(bytes, dataset.train.image)} & {*map(bytes, dataset.test.image)}


def test_golden_bytes():
    # Whoever changes these bytes on purpose raises MultiDsprites.VERSION, or old caches are read.
    hashes = {}
    for name, config in (("small", SMALL), ("mixed", MIXED)):
        sprites = dsprites.load_sprites(config.shapes, config.scale)
        drawn = builder.generate(config, sprites, "train")
        content = b"".join(scene["image"].tobytes() + scene["box"].tobytes() for scene in drawn)
        hashes[name] = hashlib.sha256(content).hexdigest()
    assert MultiDsprites.VERSION == "1.1.0"
    assert hashes == {
        "small": "3be43d39561e1c7c146f3aec9ea73879d668d52c23206f2efd5097f15b44777a",
        "mixed": "8aece7b0fbeb2915540b9b581e6017760eac4e1bfde7b42f43c8b8b33c06c5b4",
    }


def test_every_setting_changes_the_name():
    changes = dict(counts=(2,), layout="columns", scale=0.61, canvas=65, seed=1)
    changes |= dict(train_size=61, test_size=8, shapes=("heart",), scales=(0.5, 1.0))
    changes |= dict(colours="random", background="grey", contrast=0.3, min_visible=24)
    assert set(changes) == {field.name for field in dataclasses.fields(SceneConfig)}
    sprites = dict.fromkeys(builder.SPLITS, dsprites.load_sprites(scale=0.6))
    names = [builder.fingerprint(MultiDsprites, SMALL, sprites)]
    assert names == ["disjoint_count3_canvas64_seed0_af7ddec83c2e"]  # of caches before colours
    for name, value in changes.items():
        changed = dataclasses.replace(SMALL, **{name: value})
        names.append(builder.fingerprint(MultiDsprites, changed, sprites))
    other = sprites | {"train": dsprites.load_sprites(scale=0.7)}
    names.append(builder.fingerprint(MultiDsprites, SMALL, other))
    assert len(set(names)) == len(changes) + 2


def test_the_cache_is_read_and_not_built_again(cache, monkeypatch):
    built = load(SMALL, cache)
    monkeypatch.setattr(builder, "generate", lambda *_: pytest.fail("built again"))
    again = load(SMALL, cache)
    for a, b in zip(built.train + built.test, again.train + again.test, strict=True):
        np.testing.assert_array_equal(a, b)
    assert built.train.mask is None
    assert list(cache.glob("multi_dsprites/*"))


def test_a_crowd_that_does_not_fit_is_an_error_after_bounded_attempts(tmp_path, monkeypatch):
    monkeypatch.setattr(scenes, "MAX_LAYOUTS", 1000)
    crowded = dataclasses.replace(SMALL, canvas=20, counts=(9,))
    with pytest.raises(ValueError, match="no 'disjoint' layout of 9 sprites .*: raise config.data"):
        load(crowded, tmp_path)
    with pytest.raises(
        ValueError, match="canvas must be at least the largest sprite's side, 26, got 25: set conf"
    ):
        load(SceneConfig(canvas=25, scale=1.0), tmp_path)
    with pytest.raises(ValueError, match="scale=0.02 leaves no pixel of a square: raise config"):
        load(SceneConfig(scale=0.02), tmp_path)


@pytest.mark.parametrize(
    "setting, message",
    [
        (
            {"shapes": ("square", "star")},
            r"shapes must be a tuple that names some of square, ellipse, heart, each once, got"
            r" \('square', 'star'\): set config.data.shapes",
        ),
        ({"shapes": (["heart"],)}, r"shapes must .*, got \(\['heart'\],\)"),
        ({"shapes": ()}, r"shapes must .*, got \(\)"),
        ({"shapes": ("heart", "heart")}, r"shapes must .* each once, got \('heart', 'heart'\)"),
        ({"shapes": "heart"}, "shapes must be a tuple .*, got heart"),
        ({"scale": 0.0}, "scale must be above 0, got 0.0: set config.data.scale"),
        ({"scale": -0.6}, "scale must be above 0, got -0.6"),
        ({"scale": float("inf")}, "scale must be at most 1e6, got inf"),
        ({"scale": 1000.0}, "canvas must be at least a sprite's side, 17000, got 64"),
        ({"counts": (0,)}, r"one of them at least 1, got \(0,\)"),
        (
            {"scales": (0.5, 0.5)},
            r"scales must be a tuple of numbers above 0, each once, such as \(0.5, 1.0\), got"
            r" \(0.5, 0.5\): set config.data.scales",
        ),
        ({"scales": ()}, r"scales must .*, got \(\)"),
        ({"scales": 0.5}, "scales must be a tuple .*, got 0.5"),
        ({"scales": (0.0, 1.0)}, r"scales must .* above 0, .*, got \(0.0, 1.0\)"),
        ({"scales": ("1",)}, r"scales must .*, got \('1',\)"),
        ({"scales": (0.5, 9.0)}, "canvas must be at least a sprite's side, 92, got 64"),
        ({"canvas": 9}, "canvas must be at least a sprite's side, 10, got 9: set config"),
    ],
)
def test_settings_out_of_range(setting, message):
    with pytest.raises(ValueError, match=message):
        SceneConfig(**setting)


@pytest.mark.parametrize("data", [dsprites3, dsprites24])
def test_a_config_names_its_objects(data, tmp_path):
    config = data.get_config("quick")
    config.data.data_dir = str(tmp_path)
    config.data.train_size, config.data.test_size = 64, 4
    scenes = OBJECTS[config.data.objects].from_config(config.data)
    assert scenes.source == "dSprites, drawn" and scenes.train.image.shape == (64, 64, 64)
    assert set(scenes.train.count) == set(config.data.counts)


def test_both_data_sets_take_their_part_of_one_config():
    data = dsprites3.get_config().data
    assert scene_config.read(SceneConfig, data) == SceneConfig()
    assert type(scene_config.read(multi_mnist.SceneConfig, data)) is multi_mnist.SceneConfig


def test_command_line_builds_and_draws(tmp_path):
    flags = ["--config=configs/dsprites3.py:quick", f"--data_dir={tmp_path}/cache"]
    flags += [f"--out={tmp_path}/sheet.png", "--config.data.shapes=('heart',)"]
    flags += ["--config.data.train_size=33", "--config.data.test_size=2", "--config.data.scale=.55"]
    done = subprocess.run(
        [sys.executable, "-m", "data_gen.multi_dsprites", *flags],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")
    assert "Objects: dSprites, drawn." in done.stderr
    assert list((tmp_path / "cache").glob("multi_dsprites/disjoint_count3_canvas64_*/*/*.json"))
