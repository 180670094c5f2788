"""Multi-MNIST: settings, determinism, the cache, and the command line."""

import dataclasses
import hashlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from data_gen import builder, multi_mnist, scene_config, scenes, sources
from data_gen.multi_mnist import MultiMnist, SceneConfig

SMALL = SceneConfig(train_size=60, test_size=7)
MIXED = SceneConfig(
    counts=(0, 1, 4), layout="pixels", scale=1.0, train_size=100, test_size=10, seed=3
)
DIGITS = {split: sources.embedded_digits(split) for split in builder.SPLITS}


def load(config, path):
    return multi_mnist.load(config, digits_dir="embedded", data_dir=str(path))


def generate(config, split="train"):
    sprites = multi_mnist.sprites(DIGITS[split], config.scale)
    return list(builder.generate(config, sprites, split))


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def same(one, two):
    for a, b in zip(one.train + one.test, two.train + two.test, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("config", [SMALL, MIXED])
def test_shapes_types_and_padding(config, cache):
    dataset = load(config, cache)
    assert dataset.source == "embedded MNIST subset (7,000 train, 1,000 test)"
    for split, size in (("train", config.train_size), ("test", config.test_size)):
        part, slots = getattr(dataset, split), max(config.counts)
        arrays = {name: array for name, array in part._asdict().items() if array is not None}
        shapes = {name: (array.shape, array.dtype) for name, array in arrays.items()}
        assert shapes == {
            "image": ((size, 50, 50), np.uint8),
            "count": ((size,), np.int32),
            "box": ((size, slots, 4), np.float32),
            "label": ((size, slots), np.int32),
            "source_index": ((size, slots), np.int32),
        }
        absent = np.arange(slots) >= part.count[:, None]
        assert (part.box[absent] == 0).all()
        assert (part.label[absent] == -1).all() and (part.source_index[absent] == -1).all()
        assert (part.label[~absent] >= 0).all() and (part.source_index[~absent] >= 0).all()


def test_each_box_holds_the_named_digit_and_nothing_else_has_ink(cache):
    train = load(SMALL, cache).train
    position = {index: row for row, index in enumerate(DIGITS["train"].index)}
    for image, boxes, labels, indices in zip(
        train.image, train.box.astype(int), train.label, train.source_index, strict=True
    ):
        painted, rest = np.zeros((50, 50), int), image.copy()
        for (x0, y0, x1, y1), label, index in zip(boxes, labels, indices, strict=True):
            digit = DIGITS["train"].images[position[index]]
            assert label == DIGITS["train"].labels[position[index]]
            sprite = scenes.scale_sprite(scenes.crop_to_ink(digit), 0.6)
            np.testing.assert_array_equal(image[y0:y1, x0:x1], sprite)
            painted[y0:y1, x0:x1] += 1
            rest[y0:y1, x0:x1] = 0
        assert painted.max() == 1 and not rest.any()


def test_train_and_test_draw_on_their_own_digits(cache):
    dataset = load(SMALL, cache)
    for split in ("train", "test"):
        used = getattr(dataset, split).source_index
        assert np.isin(used, DIGITS[split].index).all()
    # An index alone does not name the split, but no digit's picture is in both.
    assert not set(map(bytes, DIGITS["train"].images)) & set(map(bytes, DIGITS["test"].images))


def test_splits_have_their_own_random_numbers():
    config = dataclasses.replace(SMALL, train_size=5, test_size=5)
    sprites = multi_mnist.sprites(DIGITS["train"], config.scale)
    train, test = (
        [scene["box"] for scene in builder.generate(config, sprites, split)]
        for split in builder.SPLITS
    )
    assert not np.array_equal(train, test)


def test_counts_come_in_equal_shares_and_random_order(cache):
    dataset = load(MIXED, cache)
    assert sorted(np.bincount(dataset.train.count)[[0, 1, 4]]) == [33, 33, 34]
    assert sorted(np.bincount(dataset.test.count)[[0, 1, 4]]) == [3, 3, 4]
    assert not np.array_equal(dataset.train.count, np.resize([0, 1, 4], 100))
    assert len(set(dataset.train.count[:20])) == 3


def test_golden_bytes():
    # Whoever changes these bytes on purpose raises MultiMnist.VERSION, or old caches are read.
    hashes = {}
    for name, config in (("small", SMALL), ("mixed", MIXED)):
        drawn = generate(config)
        content = b"".join(scene["image"].tobytes() + scene["box"].tobytes() for scene in drawn)
        hashes[name] = hashlib.sha256(content).hexdigest()
    assert MultiMnist.VERSION == "1.1.0"
    assert hashes == {
        "small": "61620d03934f9b6cbbf969a68f3a22eb503b28c1e8dee94de0e1b071d0016a76",
        "mixed": "5f3a6884adb6381b19e6ad1bcde36e646cdab9250af9a02a1d55bb61524c5cce",
    }


def test_every_setting_and_every_digit_changes_the_name(monkeypatch):
    changes = dict(counts=(2,), layout="columns", scale=0.61, canvas=51, seed=1)
    changes |= dict(train_size=61, test_size=8, colours="random", background="grey")
    changes |= dict(contrast=0.3, min_visible=24)
    assert set(changes) == {field.name for field in dataclasses.fields(SceneConfig)}
    sprites = {split: multi_mnist.sprites(DIGITS[split], SMALL.scale) for split in builder.SPLITS}
    names = [builder.fingerprint(MultiMnist, SMALL, sprites)]
    assert names == ["disjoint_count3_canvas50_seed0_59c2a1679cc2"]  # of caches before colours
    for name, value in changes.items():
        changed = dataclasses.replace(SMALL, **{name: value})
        names.append(builder.fingerprint(MultiMnist, changed, sprites))
    for split in builder.SPLITS:
        other = sprites | {split: sprites[split]._replace(sha256="0")}
        names.append(builder.fingerprint(MultiMnist, SMALL, other))
    moved = {split: part._replace(source="elsewhere") for split, part in sprites.items()}
    assert builder.fingerprint(MultiMnist, SMALL, moved) == names[0]
    monkeypatch.setattr(MultiMnist, "VERSION", "1.1.1")
    names.append(builder.fingerprint(MultiMnist, SMALL, sprites))
    assert len(set(names)) == len(changes) + 4


def test_the_cache_is_read_and_not_built_again(cache, monkeypatch, capfd):
    built = load(SMALL, cache)
    drawn = generate(SMALL)
    np.testing.assert_array_equal(built.train.image, [scene["image"] for scene in drawn])

    monkeypatch.setattr(builder, "generate", lambda *_: pytest.fail("built again"))
    capfd.readouterr()
    same(load(SMALL, cache), built)
    assert capfd.readouterr().out == ""
    monkeypatch.setenv("ASR_DATA_DIR", str(cache))
    same(multi_mnist.load(SMALL, digits_dir="embedded"), built)


def test_building_shows_progress_and_nothing_else(tmp_path, capfd):
    load(SMALL, tmp_path)
    out, err = capfd.readouterr()
    lines = err.replace("\r", "\n").split("\n")
    assert out == "" and "60/60" in err and "7/7" in err
    assert all(not line.strip() or line.startswith("Multi-MNIST t") for line in lines), err


def test_a_killed_build_leaves_nothing_to_read(tmp_path):
    config = SceneConfig(train_size=1000, test_size=5)
    process = multiprocessing.get_context("spawn").Process(target=load, args=(config, tmp_path))
    process.start()
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("*/*/*incomplete*/*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert list(tmp_path.glob("*/*/*incomplete*"))  # it was caught at work
    dataset = load(config, tmp_path)
    last = generate(config)[-1]
    np.testing.assert_array_equal(dataset.train.image[-1], last["image"])


def test_a_damaged_cache_is_an_error_that_says_what_to_delete(tmp_path):
    load(SMALL, tmp_path)
    (records,) = tmp_path.glob("*/*/*/*train*")
    records.write_bytes(records.read_bytes()[:2000])
    with pytest.raises(ValueError, match="are damaged .*: delete that folder") as caught:
        load(SMALL, tmp_path)
    assert str(records.parent) in str(caught.value)


def test_where_the_cache_lies(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.delenv("ASR_DATA_DIR", raising=False)
    assert builder.cache_folder() == Path("/home/me/.cache/asr_jax")
    monkeypatch.setenv("ASR_DATA_DIR", "~/scenes")
    assert builder.cache_folder() == Path("/home/me/scenes")
    assert builder.cache_folder("~/a") == Path("/home/me/a")
    for name in ("~nobody-here", "gs://bucket/scenes"):
        with pytest.raises(ValueError, match=f"config.data.data_dir={name}: "):
            load(SMALL, name)
        monkeypatch.setenv("ASR_DATA_DIR", name)
        with pytest.raises(ValueError, match=f"ASR_DATA_DIR={name}: "):
            builder.cache_folder()


def test_a_layout_that_does_not_fit_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(scenes, "MAX_LAYOUTS", 1000)
    crowded = dataclasses.replace(SMALL, canvas=20, counts=(9,))
    with pytest.raises(ValueError, match="no 'disjoint' layout of 9 sprites"):
        load(crowded, tmp_path)


@pytest.mark.parametrize(
    "setting, message",
    [
        (
            {"counts": ()},
            r"counts must name counts of 0 or more.*, got \(\): set config.data.counts",
        ),
        ({"counts": (-1, 2)}, r"counts must .*, got \(-1, 2\)"),
        ({"counts": (0,)}, r"one of them at least 1, got \(0,\)"),
        ({"counts": (2, 2)}, r"name each count once, got \(2, 2\)"),
        ({"counts": 3}, r"must be a tuple of whole numbers, such as \(1, 3\), got 3"),
        ({"counts": (1, 101)}, r"name counts of at most 100, got \(1, 101\)"),
        (
            {"canvas": 2**16, "train_size": 2**8},
            "train_size must leave all scenes, .* canvas, 1099511627776 bytes, not 539.*, got 256",
        ),
        ({"layout": "grid"}, "layout must be one of disjoint, columns, pixels, occluded, got grid"),
        ({"scale": 0.0}, "scale must be above 0, got 0.0"),
        ({"scale": float("nan")}, "scale must be above 0, got nan"),
        ({"scale": 1e308}, "scale must be at most 1e6, got 1e[+]308"),
        ({"train_size": 0}, "train_size must be at least 1, got 0: set config.data.train_size"),
        ({"test_size": -1}, "test_size must be at least 1, got -1"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"canvas": 0}, "canvas must be at least 1, got 0"),
        ({"canvas": 11}, "canvas must be at least a digit's side, 12, got 11"),
    ],
)
def test_settings_out_of_range(setting, message):
    with pytest.raises(ValueError, match=message):
        SceneConfig(**setting)


def test_scene_config_takes_its_own_fields_only():
    data = dataclasses.asdict(SMALL) | {"counts": [1, 3], "path": "", "digits_dir": "x"}
    config = scene_config.read(SceneConfig, data)
    assert config == dataclasses.replace(SMALL, counts=(1, 3)) and type(config) is SceneConfig
    del data["seed"]
    with pytest.raises(KeyError, match="seed"):
        scene_config.read(SceneConfig, data)


@pytest.fixture
def command(tmp_path):
    """Runs a program with a config of SMALL, and all files below tmp_path."""
    data = dataclasses.asdict(SMALL) | {"digits_dir": "embedded", "data_dir": "unused"}
    (tmp_path / "config.py").write_text(
        "from ml_collections import ConfigDict\n"
        f"def get_config():\n    return ConfigDict({{'data': {data}}})\n"
    )
    (tmp_path / "words.py").write_text("def get_config(words): raise ValueError('unknown word')")
    flags = [f"--config={tmp_path}/config.py", f"--data_dir={tmp_path}/cache"]

    def run(program, *more):
        return subprocess.run(
            [sys.executable, *program, *flags, *more],
            cwd=Path(__file__).parents[1],
            env=os.environ | {"MPLBACKEND": "module://matplotlib_inline.backend_inline"},
            capture_output=True,
            text=True,
        )

    return run


def test_command_line_builds_and_draws(command, tmp_path):
    sheet = tmp_path / "sheet.png"
    done = command(["-m", "data_gen.multi_mnist"], f"--out={sheet}", "--config.data.counts=(2,)")
    assert done.returncode == 0, done.stderr
    assert sheet.read_bytes().startswith(b"\x89PNG")
    assert f"Objects: {DIGITS['train'].source}." in done.stderr
    assert f"in {tmp_path}/cache" in done.stderr
    assert list((tmp_path / "cache").glob("*/disjoint_count2_*/*/dataset_info.json"))


def test_what_the_command_refuses_is_one_line_before_anything_is_built(command, tmp_path):
    faults = {
        "--config.data.layout=grid": "must be one of disjoint, columns, pixels, occluded, got grid",
        "--config.data.scale=0.0": "scale must be above 0, got 0.0: set config.data.scale",
        "--config.data.nosuch=1": "the config has no field 'nosuch'",
        "--config.data.layuot=1": "no field 'layuot': did you mean 'layout'?",
        "--config.data.canvas=2.5": "flag --config.data.canvas=2.5: invalid literal",
        f"--config={tmp_path}/nowhere.py": f"No such file or directory: '{tmp_path}/nowhere.py'",
        f"--config={tmp_path}/words.py:x": "error: unknown word",
        "--out=gs://bucket/x.png": "--out=gs://bucket/x.png: only paths of this machine",
        "--out=/nowhere/x.png": "--out=/nowhere/x.png: there is no folder /nowhere: make it first",
        "--out=x.gif": "--out must end in one of .png, .pdf, .svg, got x.gif",
        "--data_dir=gs://bucket": "config.data.data_dir=gs://bucket: only paths of this machine",
    }
    # All in one process, which ends as the last of them does.
    several = """
import sys
from absl import flags
from data_gen import contact_sheet, multi_mnist

faults, others = sys.argv[1].split("|"), sys.argv[2:]
for fault in faults:
    sys.argv[1:] = [*others, fault]
    try:
        contact_sheet.command(multi_mnist.from_config)
    except SystemExit as end:
        if fault == faults[-1]:
            raise
        print(end.code)
    for name in [*flags.FLAGS]:
        if name.split(".")[0] in ("config", "data_dir", "out"):
            delattr(flags.FLAGS, name)
"""
    done = command(["-c", several, "|".join(faults)])
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
    lines = (done.stdout + done.stderr).splitlines()
    for line, said in zip(lines, faults.values(), strict=True):
        assert line.startswith("error: ") and said in line
    assert not (tmp_path / "cache").exists()
