"""Digits: idx files, the embedded subset, the order of sources; and paths that users write."""

import gzip
import importlib.util
import os
import re
from pathlib import Path

import numpy as np
import pytest

from data_gen import make_subset, sources
from data_gen.paths import output, user_path

MNIST = Path(__file__).parents[2] / "shared/data/mnist"
needs_mnist = pytest.mark.skipif(not MNIST.is_dir(), reason="MNIST's idx files are not here")

# Two 2 x 3 images, by hand: magic, three big-endian sizes, twelve pixels.
IDX = bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 3]) + bytes(range(12))
PACKED = gzip.compress(IDX, mtime=0)  # the same bytes in every process that collects the tests


def write_idx(path, array):
    sizes = b"".join(n.to_bytes(4, "big") for n in array.shape)
    path.write_bytes(bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes())


@pytest.fixture
def folder(tmp_path):
    """A folder of idx files: 5 training and 2 test digits of noise."""
    rng = np.random.default_rng(0)
    for prefix, size in (("train", 5), ("t10k", 2)):
        images = rng.integers(0, 256, (size, 28, 28), dtype=np.uint8)
        write_idx(tmp_path / f"{prefix}-images-idx3-ubyte", images)
        write_idx(tmp_path / f"{prefix}-labels-idx1-ubyte", np.arange(size, dtype=np.uint8))
    return tmp_path


@pytest.mark.parametrize("name, data", [("a", IDX), ("a.gz", PACKED)])
def test_read_idx(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    np.testing.assert_array_equal(
        sources.read_idx(tmp_path / name), np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    )


@pytest.mark.parametrize(
    "name, data, message",
    [
        ("a", b"", "must begin with the idx magic .* got nothing"),
        ("a", b"\0\0\x0d\x03" + IDX[4:], "must begin with the idx magic .* got 00 00 0d 03"),
        ("a", b"\0\0\x08\x09" + IDX[4:], "must begin with the idx magic .* got 00 00 08 09"),
        ("a", IDX[:10], "truncated: its header needs 16 bytes, got 10"),
        ("a", IDX[:-1], r"truncated: shape \(2, 2, 3\) needs 28 bytes, got 27"),
        ("a", IDX + b"x", r"trailing bytes: shape \(2, 2, 3\) needs 28 bytes, got 29"),
        ("a", IDX[:7] + b"\0" + IDX[8:], r"holds no data, its shape is \(0, 2, 3\)"),
        ("a.gz", IDX, "damaged gzip"),
        ("a.gz", PACKED[:-9], "damaged gzip"),
    ],
)
def test_read_idx_errors(tmp_path, name, data, message):
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(ValueError, match=message) as caught:
        sources.read_idx(path)
    assert str(path) in str(caught.value)


def test_read_idx_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing-here does not exist: download"):
        sources.read_idx(tmp_path / "nothing-here")


@pytest.mark.parametrize("name, whole", [("a", IDX), ("a.gz", PACKED)])
def test_every_truncation_and_damage_is_one_clear_error(tmp_path, name, whole):
    path = tmp_path / name
    rng = np.random.default_rng(0)
    damaged = [whole[:n] for n in range(len(whole))]
    for _ in range(200):
        data = bytearray(whole)
        data[rng.integers(min(len(data), 16))] = rng.integers(256)
        damaged.append(bytes(data))
    refused = 0
    for data in damaged:
        path.write_bytes(data)
        try:
            sources.read_idx(path)  # a changed byte can leave a valid file
        except ValueError as error:
            assert str(error).startswith(str(path)), error  # ours, not NumPy's or gzip's
            refused += 1
    assert refused >= len(whole)  # every truncation, at least


def test_folder_of_idx_files(folder):
    digits = sources.load_digits("train", str(folder))
    raw = sources.read_idx(folder / "train-images-idx3-ubyte")
    np.testing.assert_array_equal(digits.images, raw[digits.index])
    np.testing.assert_array_equal(digits.labels, digits.index)  # as written by the fixture
    assert sorted(digits.index) == list(range(5))
    assert digits.source == f"MNIST idx files in {folder}"
    assert len(sources.load_digits("test", str(folder)).images) == 2


def test_fingerprint_is_of_the_digits_not_of_their_place_order_or_packing(folder, tmp_path):
    other = tmp_path / "elsewhere"
    other.mkdir()
    images = sources.read_idx(folder / "train-images-idx3-ubyte")[::-1]
    labels = sources.read_idx(folder / "train-labels-idx1-ubyte")[::-1]
    for name, array in (("images-idx3", images), ("labels-idx1", labels)):
        write_idx(other / "plain", array)
        packed = gzip.compress((other / "plain").read_bytes())
        (other / f"train-{name}-ubyte.gz").write_bytes(packed)
    one, two = sources.idx_digits("train", folder), sources.idx_digits("train", other)
    assert one.sha256 == two.sha256
    np.testing.assert_array_equal(one.images, two.images)
    np.testing.assert_array_equal(one.index, 4 - two.index)

    write_idx(folder / "train-labels-idx1-ubyte", np.array([0, 1, 2, 3, 9], np.uint8))
    assert sources.idx_digits("train", folder).sha256 != one.sha256


def test_folder_errors(folder):
    write_idx(folder / "t10k-labels-idx1-ubyte", np.zeros(3, np.uint8))
    with pytest.raises(ValueError, match=r"one label for each of the 2 images, got shape \(3,\)"):
        sources.load_digits("test", str(folder))
    write_idx(folder / "t10k-images-idx3-ubyte", np.zeros((2, 27, 28), np.uint8))
    with pytest.raises(ValueError, match=r"shape \[N, 28, 28\], got \(2, 27, 28\)"):
        sources.load_digits("test", str(folder))
    (folder / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(FileNotFoundError, match="must hold train-labels-idx1-ubyte or .*gz"):
        sources.load_digits("train", str(folder))
    with pytest.raises(ValueError, match='must be "train" or "test", got \'valid\''):
        sources.load_digits("valid", str(folder))


def test_a_folder_of_digits_may_lie_at_home_and_nowhere_else_than_on_this_machine(
    folder, monkeypatch
):
    monkeypatch.setenv("HOME", str(folder.parent))
    assert sources.load_digits("train", f"~/{folder.name}").source.endswith(f"in {folder}")
    monkeypatch.setenv("ASR_MNIST_DIR", f"~/{folder.name}")
    assert sources.load_digits("train").source.endswith(f"in {folder}")
    with pytest.raises(ValueError, match="^config.data.digits_dir=gs://bucket/mnist: only paths"):
        sources.load_digits("train", "gs://bucket/mnist")
    monkeypatch.setenv("ASR_MNIST_DIR", "~nobody-here/mnist")
    with pytest.raises(ValueError, match="^ASR_MNIST_DIR=~nobody-here/mnist: there is no such hom"):
        sources.load_digits("train")


def test_user_path(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for name, path in {
        "~": tmp_path,
        "~/x": tmp_path / "x",
        Path("~/x"): tmp_path / "x",
        "a/~/x": Path("a/~/x"),
        tmp_path / "x": tmp_path / "x",
        "seed:0/x": Path("seed:0/x"),  # no scheme
        "./gs://x": Path("gs:/x"),
    }.items():
        assert user_path(name, "--x") == path


@pytest.mark.parametrize(
    "name, message",
    [
        ("", "--x must name a file or folder, got nothing"),
        ("gs://bucket/x", "--x=gs://bucket/x: only paths of this machine's file systems are read"),
        ("s3://bucket", "--x=s3://bucket: only paths"),
        ("file:///tmp/x", "--x=file:///tmp/x: only paths"),
        (Path("gs://bucket/x"), "--x=gs:/bucket/x: only paths"),
        ("~nobody-here", "--x=~nobody-here: there is no such home: write the path in full"),
        ("~nobody-here/x", "--x=~nobody-here/x: there is no such home"),
    ],
)
@pytest.mark.parametrize("function", [user_path, output])
def test_what_is_no_path(function, name, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        function(name, "--x")


def test_no_home(monkeypatch):
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as where there is none
    with pytest.raises(
        ValueError, match="^--x=~/x: there is no such home: write the path in full$"
    ):
        user_path("~/x", "--x")


def test_a_file_to_write(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert output("~/a.PNG", "--out", (".png", ".pdf")) == tmp_path / "a.PNG"
    assert output(tmp_path / "a", "--out") == tmp_path / "a"
    for name, message in {
        "~/a.gif": "--out must end in one of .png, .pdf, got ~/a.gif",
        "~/b.png/a.png": f"--out=~/b.png/a.png: there is no folder {tmp_path}/b.png: make it first",
        "~/c.png": "--out=~/c.png is a folder: name a file in it",
    }.items():
        (tmp_path / "c.png").mkdir(exist_ok=True)
        with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
            output(name, "--out", (".png", ".pdf"))
    (tmp_path / "b.png").mkdir()  # made
    assert output("~/b.png/a.png", "--out", (".png", ".pdf")) == tmp_path / "b.png/a.png"
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    with pytest.raises(ValueError, match=f"--out=~/a.png: {tmp_path} cannot be written"):
        output("~/a.png", "--out")


def test_the_order_of_sources(folder, monkeypatch):
    def no_network(split):
        raise ConnectionError("no route to host")

    def digits_of_tfds(split):
        return sources.embedded_digits(split)._replace(source="TFDS mnist")

    def find_spec(installed):
        return lambda name: installed if name == "tensorflow" else pytest.fail(name)

    monkeypatch.setenv("ASR_MNIST_DIR", str(folder))
    monkeypatch.setattr(sources, "tfds_digits", digits_of_tfds)
    monkeypatch.setattr(importlib.util, "find_spec", find_spec("found"))
    assert sources.load_digits("train").source.startswith("MNIST idx files")
    assert sources.load_digits("train", "embedded").source.startswith("embedded")
    monkeypatch.setenv("ASR_MNIST_DIR", str(folder / "missing"))
    with pytest.raises(FileNotFoundError, match="missing must hold"):  # never another source
        sources.load_digits("train")
    monkeypatch.delenv("ASR_MNIST_DIR")
    assert sources.load_digits("train").source == "TFDS mnist"

    warnings = []
    monkeypatch.setattr(sources.logging, "warning", lambda *args: warnings.append(args))
    monkeypatch.setattr(sources, "tfds_digits", no_network)
    assert sources.load_digits("train").source.startswith("embedded")
    assert "no route to host" in warnings[0][0] % warnings[0][1:]
    monkeypatch.setattr(importlib.util, "find_spec", find_spec(None))
    assert sources.load_digits("train").source.startswith("embedded")
    assert len(warnings) == 1  # without TensorFlow, the subset is no surprise


@pytest.mark.parametrize("split, per_class", [("train", 700), ("test", 100)])
def test_embedded_subset(split, per_class):
    digits = sources.embedded_digits(split)
    assert digits.images.shape == (10 * per_class, 28, 28) and digits.images.dtype == np.uint8
    np.testing.assert_array_equal(np.bincount(digits.labels), [per_class] * 10)
    assert len(np.unique(digits.index)) == 10 * per_class
    assert sources.SUBSET.stat().st_size < 1.5e6


@needs_mnist
@pytest.mark.parametrize(
    "split, prefix, size", [("train", "train", 60_000), ("test", "t10k", 10_000)]
)
def test_embedded_digits_are_the_named_originals(split, prefix, size):
    digits = sources.embedded_digits(split)
    images = sources.read_idx(MNIST / f"{prefix}-images-idx3-ubyte.gz")
    labels = sources.read_idx(MNIST / f"{prefix}-labels-idx1-ubyte.gz")
    assert images.shape == (size, 28, 28)
    np.testing.assert_array_equal(digits.images, images[digits.index])
    np.testing.assert_array_equal(digits.labels, labels[digits.index])
    chosen = make_subset.choose(labels, make_subset.PER_CLASS[split])
    np.testing.assert_array_equal(chosen, np.sort(digits.index))
