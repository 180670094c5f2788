"""Folders of pictures and stacks: what is read is what was written, and what is bad is named."""

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from data_gen import user_scenes

GREY = np.random.default_rng(0).integers(0, 256, (3, 6, 8), dtype=np.uint8) // 2
COLOUR = np.random.default_rng(1).integers(0, 256, (3, 6, 8, 3), dtype=np.uint8) // 2


def folder(path, pictures, names=("b.png", "a.png", "c.PNG")):
    """A folder of these pictures, arrays that Pillow knows what to do with."""
    path.mkdir(exist_ok=True)
    for name, picture in zip(names, pictures, strict=False):
        Image.fromarray(picture).save(path / name, format="JPEG" if "j" in name else "PNG")
    return path


def load(path, **keywords):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return user_scenes.load(path, **keywords)


def test_pictures_come_in_the_order_of_their_names(tmp_path):
    path = folder(tmp_path / "in", GREY)
    (path / ".a.png").write_text("what some systems leave beside a picture")
    (path / "notes.txt").write_text("no picture")
    found = user_scenes.find(path)
    assert found.names == ["a.png", "b.png", "c.PNG"] and found.canvas == (6, 8)
    scenes = load(path)
    np.testing.assert_array_equal(scenes.image, GREY[[1, 0, 2]])
    assert set(scenes[1:]) == {None} and scenes.image.dtype == np.uint8


def test_pictures_are_grey_or_in_colour_as_their_pixels_are(tmp_path):
    coloured = folder(tmp_path / "colour", [*COLOUR[:2], GREY[2]])
    expected = np.stack([COLOUR[1], COLOUR[0], np.dstack([GREY[2]] * 3)])
    np.testing.assert_array_equal(load(coloured).image, expected)
    # As ITU-R BT.601 has it; a grey value of 127 stays.
    luma = np.rint(expected.astype(float) @ [0.299, 0.587, 0.114])
    np.testing.assert_array_equal(load(coloured, colour="no").image, luma)
    three = folder(tmp_path / "three", [np.dstack([grey] * 3) for grey in GREY])
    np.testing.assert_array_equal(load(three).image, GREY[[1, 0, 2]])
    one = load(three, colour="yes").image
    assert one.shape == (3, 6, 8, 3) and (one == GREY[[1, 0, 2], :, :, None]).all()
    one_pixel = np.dstack([GREY[0]] * 3)
    one_pixel[5, 7, 2] ^= 1
    folder(three, [one_pixel], names=["c.png"])
    assert load(three).image.shape == (4, 6, 8, 3)
    with pytest.raises(ValueError, match="config.data.colour must be one of auto, yes, no, got 'x"):
        load(three, colour="x")


def png(pixels):
    """A grey PNG of 16 bits, written by hand from the format's description."""
    height, width = pixels.shape

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 16, 0, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def test_other_kinds_of_pictures(tmp_path):
    """16 bits, black and white, a palette, opaque with an alpha channel, a camera held upright."""
    path = tmp_path / "in"
    path.mkdir()
    fine = np.array([[0, 257], [65535, 25700], [300, 65400]])
    (path / "16.png").write_bytes(png(fine))
    Image.fromarray(np.eye(3, 2, dtype=bool)).save(path / "bits.png")
    Image.fromarray(GREY[0, :3, :2]).convert("P").save(path / "palette.png")
    alpha = np.dstack([GREY[0, :3, :2]] * 3 + [np.full((3, 2), 255, np.uint8)])
    Image.fromarray(alpha).save(path / "opaque.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees, clockwise
    Image.fromarray(np.rot90(GREY[0, :3, :2]).copy()).save(path / "turned.png", exif=exif)
    scenes = load(path)
    of = dict(zip(user_scenes.find(path).names, scenes.image, strict=True))
    np.testing.assert_array_equal(of["16.png"], np.rint(fine / 65535 * 255))
    np.testing.assert_array_equal(of["bits.png"], 255 * np.eye(3, 2))
    for name in ("palette.png", "opaque.png", "turned.png"):
        np.testing.assert_array_equal(of[name], GREY[0, :3, :2])
    alpha[0, 0, 3] = 254
    Image.fromarray(alpha).save(path / "opaque.png")
    with pytest.raises(ValueError, match="opaque.png is transparent in places: put it on a backgr"):
        load(path)
    grey = Image.fromarray(GREY[0, :3, :2])
    grey.save(path / "opaque.png", transparency=int(GREY[0, 0, 0]))  # one grey value is
    with pytest.raises(ValueError, match="opaque.png is transparent in places"):
        load(path)


def test_16_bits_of_which_8_are_used(tmp_path):
    (tmp_path / "empty.png").write_bytes(png(np.zeros((3, 2), int)))
    dim = np.array([[0, 17], [255, 3], [200, 255]])
    (tmp_path / "dim.png").write_bytes(png(dim))
    with pytest.raises(ValueError, match="no value above 385 of 65535.*: save them with 8"):
        load(tmp_path)
    (tmp_path / "full.png").write_bytes(png(257 * dim))  # then the others are dark, as they may be
    np.testing.assert_array_equal(load(tmp_path).image.max((1, 2)), [1, 0, 255])


def test_a_jpeg_is_nearly_what_it_was(tmp_path):
    smooth = np.add.outer(np.arange(16), np.arange(16)).astype(np.uint8) * 8
    scenes = load(folder(tmp_path / "in", [smooth, smooth], names=["a.jpg", "b.jpeg"]))
    assert scenes.image.shape == (2, 16, 16)
    assert np.abs(scenes.image.astype(int) - smooth).max() < 6


def test_pictures_of_several_sizes_are_refused_or_resized_when_told(tmp_path):
    path = folder(tmp_path / "in", [GREY[0], np.full((12, 16), 100, np.uint8)])
    message = r"in must have one size, and a.png has 16 x 12 pixels and b.png 8 x 6: .*=\(HEIGHT,"
    with pytest.raises(ValueError, match=message):
        load(path)
    found = user_scenes.find(path, (3, 4))
    assert found.canvas == (3, 4) and list(found.sizes) == [(12, 16), (6, 8)]
    scenes = load(path, size=(3, 4))
    assert scenes.image.shape == (2, 3, 4) and (scenes.image[0] == 100).all()
    # A picture that shrinks is averaged, not sampled: its mean stays.
    assert abs(scenes.image[1].mean() - GREY[0].mean()) < 3
    with pytest.warns(UserWarning, match="16 x 12 pixels becomes 3 x 3, and what was round is not"):
        user_scenes.load(path, size=(3, 3))
    for size in ((3,), (3, 4, 5), (0, 4), (2.5, 4), ("a", "b")):
        with pytest.raises(ValueError, match=r"size must be \(HEIGHT, WIDTH\) in pixels, whole"):
            load(path, size=size)
    np.save(tmp_path / "stack.npy", GREY)
    with pytest.raises(
        ValueError, match=r"config.data.size is for folders of pictures, got .*stack.n"
    ):
        load(tmp_path / "stack.npy", size=(3, 4))


def broken(path):
    (path / "b.png").write_bytes((path / "b.png").read_bytes()[:60])


def text(path):
    (path / "b.png").write_text("no picture")


def empty(path):
    for file in path.iterdir():
        file.unlink()
    (path / "a.tif").touch()


@pytest.mark.parametrize(
    "damage, error, message",
    [
        (broken, ValueError, r"b.png cannot be read \(.*\): save it again"),
        (text, ValueError, r"b.png cannot be read \(cannot identify image file.*\): save it again"),
        (empty, FileNotFoundError, r"in must hold pictures \(.png, .*\), and holds .tif: save the"),
    ],
)
def test_a_bad_folder_is_refused_in_one_line_that_names_what_is_bad(
    tmp_path, damage, error, message
):
    path = folder(tmp_path / "in", GREY)
    damage(path)
    with pytest.raises(error, match=message) as caught:
        load(path)
    assert "\n" not in str(caught.value)


def test_counts_of_some_pictures(tmp_path):
    path = folder(tmp_path / "in", GREY)
    (path / "counts.csv").write_text("\ufeffname,count\nc.PNG, 2\na.png,-1\n", encoding="utf-8")
    scenes = load(path)
    assert scenes.count.tolist() == [-1, -1, 2] and scenes.count.dtype == np.int32
    (path / "counts.csv").write_text("name,count,remark\nb.png,,far away\n\n")
    assert load(path).count is None  # nothing is known
    (path / "counts.csv").write_text("name,count\na.png,2.0\n,\nb.png,\n")  # as tables save gaps
    assert load(path).count.tolist() == [2, -1, -1]
    for content, message in {
        "a.png,1\n": "its first line must be name,count, got a.png,1",
        "": "its first line must be name,count, got",
        "name,count\nd.png,1\n": "no picture is called d.png",
        "name,count\na.png,1\na.png,2\n": "a.png is there twice",
        "name,count\na.png,-2\n": "a count must be a whole number, or -1 .*, got -2",
        "name,count\na.png,many\n": "a count must be a whole number, .* got many.: write name",
        "name,count\na.png,1.5\n": "a count must be a whole number, .* got 1.5",
        "name,count\na.png,1e12\n": "a count must be a whole number, .* got 1e12",
    }.items():
        (path / "counts.csv").write_text(content)
        with pytest.raises(ValueError, match=message) as caught:
            load(path)
        assert "counts.csv" in str(caught.value) and "\n" not in str(caught.value)


def test_what_is_not_looked_at_is_said(tmp_path):
    path = folder(tmp_path / "in", GREY)
    (path / "count.csv").write_text("name,count\n")
    for name in ("d.tif", "e.BMP", "f.tif"):
        (path / name).touch()
    with pytest.warns(UserWarning) as caught:
        user_scenes.find(path)
    others, table = (str(warning.message) for warning in caught)
    assert "3 files of .BMP, .tif in" in others and "save them as PNG" in others
    assert "count.csv in" in table and "counts are read from counts.csv" in table
    np.savez(tmp_path / "a.npz", image=GREY, boxes=np.zeros((3, 1, 4)))
    with pytest.warns(UserWarning, match="boxes are not looked at: those that are, are named"):
        user_scenes.find(tmp_path / "a.npz")
    with pytest.raises(ValueError, match="b.png is one picture: set config.data.path to the"):
        user_scenes.find(path / "b.png")


@pytest.mark.parametrize("kind", ["folder", "stack"])
def test_a_sample_is_of_images_from_first_to_last(tmp_path, kind):
    image = np.arange(40, dtype=np.uint8)[:, None, None] + np.zeros((40, 6, 8), np.uint8)
    path = tmp_path / "a.npy"
    np.save(path, image)
    if kind == "folder":
        path = folder(tmp_path / "in", image, [f"{i:02d}.png" for i in range(40)])
    found = user_scenes.find(path)
    assert found.sample(4)[:, 0, 0].tolist() == [0, 13, 26, 39]
    assert len(found.sample(100)) == 40


def test_all_images_are_looked_at_before_any_work(tmp_path):
    noise = np.zeros((8, 6, 8), np.uint8)
    noise[0] = 1  # of the first chunk alone it could not be said what its values mean
    later = noise.copy()
    later[7] = 200
    np.save(tmp_path / "a.npy", later)
    user_scenes.find(tmp_path / "a.npy").check(2)
    np.save(tmp_path / "a.npy", noise)
    with pytest.raises(ValueError, match="uint8 with no value but 0 and 1"):
        user_scenes.find(tmp_path / "a.npy").check(2)
    wrong = later / 255
    wrong[5] = np.nan
    np.save(tmp_path / "a.npy", wrong)
    with pytest.raises(ValueError, match="a.npy., from no. 4 on, must be finite"):
        user_scenes.find(tmp_path / "a.npy").check(2)


def test_counts_of_some_images_of_a_file(tmp_path):
    np.savez(tmp_path / "some.npz", image=GREY, count=[-1, 2, 0])
    assert load(tmp_path / "some.npz").count.tolist() == [-1, 2, 0]
    np.savez(tmp_path / "some.npz", image=GREY, count=[-1, -1, -1])
    assert load(tmp_path / "some.npz").count is None


@pytest.mark.parametrize("kind", ["npz", "npy"])
@pytest.mark.parametrize("image", [GREY, GREY / 255, np.asfortranarray(GREY), COLOUR])
def test_files_are_read_in_chunks_of_any_size(tmp_path, kind, image):
    path = tmp_path / f"mine.{kind}"
    if kind == "npy":
        np.save(path, image)
    else:
        np.savez_compressed(path, image=image)
    expected = COLOUR if image is COLOUR else GREY
    np.testing.assert_array_equal(load(path).image, expected)
    found = user_scenes.find(path)
    assert list(found.names) == ["0", "1", "2"] and list(found.sizes) == [(6, 8)] * 3
    for size in (1, 2, 3, 9):
        chunks = list(found.chunks(size))
        assert [len(chunk) for chunk in chunks] == [min(size, 3 - i) for i in range(0, 3, size)]
        np.testing.assert_array_equal(np.concatenate(chunks), expected)


def test_pictures_are_read_in_chunks(tmp_path):
    found = user_scenes.find(folder(tmp_path / "in", GREY))
    first, second = found.chunks(2)
    np.testing.assert_array_equal(np.concatenate([first, second]), GREY[[1, 0, 2]])


def test_a_bad_stack_is_refused_by_name(tmp_path):
    path = tmp_path / "stack.npy"
    file = io.BytesIO()
    np.save(file, GREY)
    for content in (b"", b"hello", file.getvalue()[:-1]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="stack.npy holds image in a form that is not read"):
            load(path)
    np.save(path, GREY[0])
    with pytest.raises(ValueError, match=r"stack.npy\) must have .*: one image is images\[None\]"):
        load(path)
