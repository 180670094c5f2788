"""Any file: scenes and digits that are what they say, or an error of ours that names the file."""

import gzip
import io
import math
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from data_gen import sources, user_scenes
from tests.test_fuzz import assert_ours, fuzz

pytestmark = pytest.mark.filterwarnings("ignore:.*user.npz")  # what is odd is said
IMAGES = np.random.default_rng(0).integers(0, 256, (4, 3, 5), dtype=np.uint8)
FLAWLESS = {
    "image": IMAGES,
    "count": np.array([0, 1, 2, 2]),
    "box": np.tile([[0.0, 1, 2, 3], [1, 0, 5, 2]], (4, 1, 1)),
}
DTYPES = st.sampled_from(["u1", "i1", "i8", "u8", ">i4", "f2", "<f4", ">f8", "g", "c8", "?"])
DTYPES |= st.sampled_from(["U3", "S2", "O", "M8[s]", "m8[D]", "i4,f8", "V3"])
SIDES = st.sampled_from([(), (0,), (4,), (4, 3, 5), (4, 3, 5, 1), (4, 2, 4), (4, 0, 4), (4, 1, 4)])
TYPES = {"image": ["B", "?", "e", "f", ">f4", "d", "g"], "count": "bBhilLQ", "box": "hiQefdg"}


@st.composite
def slightly_odd(draw, name):
    """An array that belongs under this name, with one number that may not."""
    array = FLAWLESS[name].astype(draw(st.sampled_from(TYPES[name])))
    if name == "image" and array.dtype.kind == "f":
        array /= 255
    if array.dtype.kind == "f":
        wild = st.sampled_from([1e39, -1e39, 1 + 1e-12]) | st.floats() | st.floats(0, 1)
    elif array.dtype == bool:
        wild = st.booleans()
    else:
        limits = np.iinfo(array.dtype)
        wild = st.integers(int(limits.min), int(limits.max)) | st.integers(0, 3)
    if draw(st.booleans()):
        with np.errstate(over="ignore"):
            array.flat[draw(st.integers(0, array.size - 1))] = draw(wild)
    return array


@st.composite
def very_odd(draw):
    """Of any type and shape."""
    shape = draw(SIDES | arrays.array_shapes(min_dims=0, min_side=0))
    with np.errstate(all="ignore"):
        return np.full(shape, draw(st.sampled_from([0, 1, 2]))).astype(draw(DTYPES))


def packed(members, kind=np.savez):
    """The bytes of an .npz file."""
    file = io.BytesIO()
    kind(file, **members)
    return file.getvalue()


@st.composite
def damaged(draw, whole):
    """A few bytes changed, some cut off or added."""
    data = bytearray(draw(whole))
    for _ in range(draw(st.integers(0, 3)) if data else 0):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    cut = draw(st.just(len(data)) | st.integers(0, len(data)))
    return bytes(data[:cut]) + draw(st.just(b"") | st.binary(max_size=9))


@st.composite
def odd_npz(draw):
    """Files of arrays that belong there, or nearly so, with now and then one that does not."""
    kept = draw(st.sampled_from([["image"], ["image", "count"], list(FLAWLESS), list(FLAWLESS)]))
    members = {name: draw(slightly_odd(name)) for name in kept}
    if draw(st.integers(0, 3)) == 0:
        members[draw(st.sampled_from([*FLAWLESS, "picture", ""]))] = draw(very_odd())
        members.pop(draw(st.sampled_from([*FLAWLESS, None])), None)
    return packed(members, draw(st.sampled_from([np.savez, np.savez_compressed])))


@st.composite
def odd_zips(draw):
    """Zip files whose members are any bytes, or a header that claims any shape."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", draw(st.sampled_from([0, 8, 12, 14]))) as archive:
        for name in draw(st.lists(st.sampled_from(["image", "count", "box"]), unique=True)):
            shape = tuple(draw(st.lists(st.sampled_from([-1, 0, 4, 2**31, 10**12, 10**20]))))
            header = {"descr": "|u1", "fortran_order": draw(st.booleans()), "shape": shape}
            member = io.BytesIO()
            np.lib.format.write_array_header_1_0(member, header)
            content = st.just(member.getvalue() + b"1234") | st.binary(max_size=20)
            archive.writestr(name + draw(st.sampled_from([".npy", ""])), draw(content))
    return file.getvalue()


NPY = io.BytesIO()
np.save(NPY, IMAGES)
GOOD = [packed(FLAWLESS), packed(FLAWLESS, np.savez_compressed), NPY.getvalue(), b"PK\3\4", b""]
DAMAGED = damaged(st.sampled_from(GOOD) | odd_zips()) | odd_zips() | st.binary(max_size=60)


@fuzz(1000)
@given(odd_npz(), st.integers(-1, 5), st.integers(-1, 3))
def test_odd_arrays_are_scenes_or_refused_by_name(tmp_path, data, test_size, seed):
    check_npz(tmp_path / "user.npz", data, test_size, seed)


@fuzz(1000)
@given(DAMAGED)
def test_odd_bytes_are_scenes_or_refused_by_name(tmp_path, data):
    check_npz(tmp_path / "user.npz", data, test_size=2, seed=0)


def check_npz(path, data, test_size, seed):
    path.write_bytes(data)
    scenes, found = read(user_scenes.load, path), read(user_scenes.find, path)
    if scenes is None:
        return
    assert found.canvas == scenes.image.shape[1:3] and len(found.names) == len(scenes.image)
    assert_consistent(scenes)
    try:
        parts = user_scenes.split(scenes, test_size, seed)
    except ValueError as error:
        assert_ours(error)
        assert not 1 <= test_size < len(scenes.image) or seed < 0
        return
    for part in parts:
        assert_consistent(part)
    assert [len(part.image) for part in parts] == [len(scenes.image) - test_size, test_size]


def read(function, path):
    """None where the file is refused by name."""
    try:
        return function(path)
    except ValueError as error:
        assert_ours(error)
        assert str(path) in str(error)


def assert_consistent(scenes):
    image, count, box = scenes[:3]
    size = len(image)
    assert image.dtype == np.uint8 and image.ndim == 3 and image.size
    if count is not None:
        assert (count.dtype, count.shape) == (np.int32, (size,)) and count.min() >= -1
    if box is not None:
        assert (box.dtype, box.shape) == (np.float32, (size, box.shape[1], 4))
        present = np.arange(box.shape[1]) < count[:, None]
        assert (present.sum(1) == count).all() and not box[~present].any()
        x0, y0, x1, y1 = box[present].T
        assert np.isfinite(box).all() and (x0 < x1).all() and (y0 < y1).all()
    assert set(scenes[3:]) == {None}


@st.composite
def idx_files(draw):
    """An idx header and some bytes, often as many as it says; then perhaps damaged, or packed."""
    sizes = draw(st.lists(st.integers(0, 4) | st.sampled_from([28, 2**31, 2**32 - 1]), max_size=4))
    rank = draw(st.just(len(sizes)) | st.integers(0, 255))
    kind = draw(st.sampled_from([8, 8, 8, 9, 13]))
    header = bytes([0, 0, kind, rank]) + b"".join(n.to_bytes(4, "big") for n in sizes)
    length = math.prod(sizes) if math.prod(sizes) < 10_000 else 4
    data = header + bytes(n % 256 for n in range(length + draw(st.sampled_from([0, 0, 0, -1, 1]))))
    return draw(st.sampled_from([data, gzip.compress(data, mtime=0)]))


@fuzz(1000)
@given(damaged(idx_files()) | idx_files() | st.binary(max_size=40), st.sampled_from(["", ".gz"]))
def test_an_idx_file_is_what_its_header_says_or_refused_by_name(tmp_path, data, suffix):
    path = tmp_path / f"digits-idx3-ubyte{suffix}"
    path.write_bytes(data)
    try:
        array = sources.read_idx(path)
    except ValueError as error:
        assert_ours(error)
        assert str(path) in str(error)
        return
    plain = gzip.decompress(data) if suffix else data
    sizes = [int.from_bytes(plain[i : i + 4], "big") for i in range(4, 4 + 4 * plain[3], 4)]
    assert array.dtype == np.uint8 and list(array.shape) == sizes and 0 not in sizes
    assert array.tobytes() == plain[4 + 4 * len(sizes) :]


def idx(shape):
    header = bytes([0, 0, 8, len(shape)]) + b"".join(n.to_bytes(4, "big") for n in shape)
    return header + np.random.default_rng(0).bytes(math.prod(shape))


SHAPES = st.tuples(st.integers(1, 3), st.sampled_from([28, 28, 28, 27]), st.just(28))
DIGITS = SHAPES.map(idx) | damaged(SHAPES.map(idx)) | idx_files()
LABELS = st.integers(1, 3).map(lambda n: idx((n,))) | idx_files()


@fuzz(200)
@given(DIGITS, LABELS, st.sampled_from(["train", "test"]))
def test_a_folder_of_idx_files_is_digits_or_refused_by_name(tmp_path, images, labels, split):
    prefix = sources.PREFIX[split]
    (tmp_path / f"{prefix}-images-idx3-ubyte").write_bytes(images)
    (tmp_path / f"{prefix}-labels-idx1-ubyte").write_bytes(labels)
    try:
        digits = sources.load_digits(split, str(tmp_path))
    except ValueError as error:
        assert_ours(error)
        assert str(tmp_path) in str(error)
        return
    assert digits.images.shape == (len(digits.labels), 28, 28) and len(digits.labels)
    assert sorted(digits.index) == list(range(len(digits.labels)))
