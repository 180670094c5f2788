"""Placement: layouts, checked by painting; uniformity; a user's own scenes."""

import io
import re
import warnings
import zipfile
from itertools import permutations, product

import numpy as np
import pytest

from data_gen import scenes, user_scenes
from data_gen.scenes import Scenes

APART = [name for name in scenes.LAYOUTS if name != "occluded"]  # nothing hides anything


def generator(seed=0):
    return np.random.Generator(np.random.PCG64(seed))


def discs(sides):
    """Round sprites: their boxes have empty corners, so that inks can pass where boxes cannot."""
    sprites = []
    for side in sides:
        y, x = np.mgrid[:side, :side] - (side - 1) / 2
        sprites.append(np.where(x**2 + y**2 <= (side / 2) ** 2, 200, 0).astype(np.uint8))
    return sprites


def test_crop_to_ink():
    image = np.zeros((9, 9), np.uint8)
    image[2:7, 4] = [1, 2, 3, 4, 5]  # 5 high, 1 wide: 2 black columns on either side
    crop = scenes.crop_to_ink(image)
    expected = np.zeros((5, 5), np.uint8)
    expected[:, 2] = [1, 2, 3, 4, 5]
    np.testing.assert_array_equal(crop, expected)
    np.testing.assert_array_equal(scenes.crop_to_ink(image.T), expected.T)
    with pytest.raises(ValueError, match=r"needs ink, got an all-black image of shape \(9, 9\)"):
        scenes.crop_to_ink(np.zeros((9, 9), np.uint8))


def test_scale_sprite():
    sprite = discs([20])[0]
    assert scenes.scale_sprite(sprite, 1.0) is sprite
    assert scenes.scale_sprite(sprite, 0.6).shape == (12, 12)
    assert scenes.scale_sprite(sprite, 0.01).shape == (1, 1)
    flat = np.full((20, 20), 77, np.uint8)
    np.testing.assert_array_equal(scenes.scale_sprite(flat, 0.6), np.full((12, 12), 77))
    checks = np.indices((20, 20)).sum(0) % 2 * np.uint8(200)  # antialiased: grey, no pattern
    assert np.ptp(scenes.scale_sprite(checks.astype(np.uint8), 0.25)[1:-1, 1:-1]) <= 2


@pytest.mark.parametrize("layout", APART)
def test_layouts_hold_and_are_not_stricter_than_they_say(layout):
    canvas, sprites = 40, discs([12, 9, 14])
    rng = generator()
    shared_columns = shared_rows = shared_boxes = 0
    for _ in range(400):
        xy = scenes.place(rng, sprites, canvas, layout)
        boxes, inks, columns, rows = np.zeros((4, canvas, canvas), int)
        for sprite, (x, y) in zip(sprites, xy, strict=True):
            side = len(sprite)
            boxes[y : y + side, x : x + side] += 1
            inks[y : y + side, x : x + side] += sprite > 0
            columns[:, x : x + side] += 1
            rows[y : y + side] += 1
        assert inks.max() == 1
        shared_boxes += boxes.max() > 1
        shared_columns += columns.max() > 1
        shared_rows += rows.max() > 1
    assert shared_rows > 100
    assert (shared_columns == 0) if layout == "columns" else (shared_columns > 100)
    assert (shared_boxes > 20) if layout == "pixels" else (shared_boxes == 0)


@pytest.mark.parametrize("layout", APART)
def test_valid_layouts_are_equally_likely(layout):
    # Few and small enough to list all 144 layouts and keep the valid ones.
    canvas, sprites = 4, [np.full((n, n), 9, np.uint8) for n in (1, 2)]
    sprites[1][0, 1] = 0  # a corner in which "pixels" can place another sprite
    corners = [list(product(range(canvas - len(s) + 1), repeat=2)) for s in sprites]
    listed = []
    for xy in product(*corners):
        paint = np.zeros((canvas, canvas), int)
        for sprite, (x, y) in zip(sprites, xy, strict=True):
            side = len(sprite)
            if layout == "columns":
                paint[:, x : x + side] += 1
            else:
                paint[y : y + side, x : x + side] += sprite > 0 if layout == "pixels" else 1
        if paint.max() <= 1:
            listed.append(tuple(np.ravel(xy)))
    assert 10 < len(listed) < 144
    rng = generator()
    counts = dict.fromkeys(listed, 0)
    for _ in range(50 * len(listed)):
        counts[tuple(scenes.place(rng, sprites, canvas, layout).ravel())] += 1
    assert chi_square_z(np.array(list(counts.values()))) < 4


@pytest.mark.parametrize("least, valid", [(0, 144), (1, 144), (2, 108), (3, 60), (4, 44)])
def test_occluded_layouts_are_equally_likely_where_enough_is_seen(least, valid):
    # A square of 4 pixels behind a ring of 8: all 144 layouts are listed, as sets of pixels.
    square, ring = np.full((2, 2), 255, np.uint8), np.full((3, 3), 255, np.uint8)
    ring[1, 1] = 0
    counts = {}
    for x, y, u, v in product(range(4), range(4), range(3), range(3)):
        behind = {(x + i, y + j) for i, j in product(range(2), repeat=2)}
        front = {(u + i, v + j) for i, j in product(range(3), repeat=2) if (i, j) != (1, 1)}
        if len(behind - front) >= least:
            counts[x, y, u, v] = 0
    assert len(counts) == valid
    rng = generator()
    for _ in range(50 * len(counts)):
        xy = scenes.place(rng, [square, ring], 5, "occluded", least)
        counts[tuple(xy.ravel())] += 1
    assert chi_square_z(np.array(list(counts.values()))) < 4


def test_what_cannot_be_seen_is_refused_at_once():
    with pytest.raises(
        ValueError,
        match="min_visible must be at most the pixels that a sprite has, 4, got 5: lower config.da",
    ):
        scenes.place(generator(), discs([9, 2]), 20, "occluded", 5)
    scenes.place(generator(), discs([9, 2]), 20, "occluded", 4)


def test_too_much_to_be_seen_ends_with_an_error(monkeypatch):
    monkeypatch.setattr(scenes, "MAX_LAYOUTS", 1000)
    sprites = [np.full((9, 9), 255, np.uint8)] * 2  # of the first, at most 9 + 8 pixels are seen
    scenes.place(generator(), sprites, 10, "occluded", 17)
    with pytest.raises(ValueError, match="no 'occluded' layout of 2 .* canvas of 10: raise config"):
        scenes.place(generator(), sprites, 10, "occluded", 18)


def chi_square_z(observed):
    """How far chi-square lies above its mean under a uniform law, in standard deviations."""
    expected = observed.sum() / len(observed)
    freedom = len(observed) - 1
    return (((observed - expected) ** 2 / expected).sum() - freedom) / np.sqrt(2 * freedom)


def test_one_object_is_placed_uniformly_up_to_the_edges():
    rng, sprites = generator(), discs([12])
    xy = np.array([scenes.place(rng, sprites, 20, "disjoint")[0] for _ in range(8100)])
    observed = np.bincount(9 * xy[:, 0] + xy[:, 1], minlength=81)
    assert observed.shape == (81,) and chi_square_z(observed) < 4
    # The test itself can fail: one place in ten that is twice as likely is seen.
    skewed = observed.copy()
    skewed[:8] *= 2
    assert chi_square_z(skewed) > 4


def test_boxes_are_of_whole_sprites():
    rng, sprites = generator(), discs([12, 7, 9])
    xy = scenes.place(rng, sprites, 15, "occluded")
    box = scenes.boxes(sprites, xy)
    assert box.shape == (3, 4) and box.dtype == np.float32
    for sprite, (x0, y0, x1, y1), (x, y) in zip(sprites, box, xy, strict=True):
        assert (x0, y0, x1, y1) == (x, y, x + len(sprite), y + len(sprite))  # x first


def test_shares_cover_what_lies_behind_pixel_by_pixel():
    rng = generator()
    sprites = [rng.integers(0, 256, (n, n), dtype=np.uint8) for n in (9, 5, 7)]
    xy = scenes.place(rng, sprites, 11, "occluded")
    share = scenes.shares(sprites, xy, 11)
    seen = scenes.seen(share)
    assert share.shape == (4, 11, 11) and seen.shape == (11, 11) and seen.dtype == np.uint8
    for i, j in product(range(11), repeat=2):
        expected, left = [0.0, 0.0, 0.0, 0.0], 1.0
        for t in (2, 1, 0):  # from the front
            row, column = i - xy[t, 1], j - xy[t, 0]
            if 0 <= row < len(sprites[t]) and 0 <= column < len(sprites[t]):
                ink = sprites[t][row, column] / 255
                expected[t + 1], left = left * ink, left * (1 - ink)
        expected[0] = left
        np.testing.assert_allclose(share[:, i, j], expected, atol=1e-12)
        assert seen[i, j] == np.argmax(expected)
    assert set(seen.ravel()) == {0, 1, 2, 3}


def test_an_empty_scene():
    xy = scenes.place(generator(), [], 10, "pixels")
    assert scenes.boxes([], xy).shape == (0, 4)
    share = scenes.shares([], xy, 10)
    np.testing.assert_array_equal(share, np.ones((1, 10, 10)))
    assert not scenes.seen(share).any()


def test_a_tight_but_possible_layout_is_found():
    xy = scenes.place(generator(), discs([5, 5, 5, 5]), 10, "disjoint")
    assert sorted(map(tuple, xy)) == [(0, 0), (0, 5), (5, 0), (5, 5)]


@pytest.mark.parametrize("layout", APART)
def test_impossible_layouts_end_with_an_error(layout, monkeypatch):
    monkeypatch.setattr(scenes, "MAX_LAYOUTS", 1000)
    with pytest.raises(
        ValueError, match=f"no '{layout}' layout of 2 .* canvas of 10: raise config"
    ):
        scenes.place(generator(), [np.ones((9, 9), np.uint8)] * 2, 10, layout)
    with pytest.raises(
        ValueError, match="canvas must be at least a sprite's side, 9, got 8: raise"
    ):
        scenes.place(generator(), discs([9]), 8, layout)


def save(path, **arrays):
    np.savez(path / "user.npz", **arrays)
    return path / "user.npz"


def load(path):
    """Scenes of a file in silence."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return user_scenes.load(path)


# Bright columns on a dark background.
IMAGE = generator().integers(0, 256, (4, 6, 5), dtype=np.uint8) // np.array([[1, 9, 1, 9, 9]], "u1")
ONE = {"image": IMAGE, "count": np.ones(4, int)}


def test_user_scenes(tmp_path):
    box = np.tile(np.array([[1, 2, 3, 4], [7, 7, 7, 7]]), (4, 1, 1))
    loaded = load(save(tmp_path, **ONE, box=box))
    np.testing.assert_array_equal(loaded.image, IMAGE)
    np.testing.assert_array_equal(loaded.count, [1] * 4)
    np.testing.assert_array_equal(loaded.box, [[[1, 2, 3, 4], [0, 0, 0, 0]]] * 4)
    assert (loaded.count.dtype, loaded.box.dtype) == (np.int32, np.float32)
    assert set(load(save(tmp_path, image=IMAGE))[1:]) == {None}
    unknown = box.astype(float)
    unknown[:, 1] = np.nan  # where no object is
    np.testing.assert_array_equal(load(save(tmp_path, **ONE, box=unknown)).box, loaded.box)


@pytest.mark.parametrize("kind", ["f2", "<f4", ">f4", ">f8", "g"])
def test_floats_of_a_file_come_back_exactly(tmp_path, kind):
    image = (IMAGE[..., None] / 255).astype(kind)
    loaded = load(save(tmp_path, image=image, count=np.ones(4, ">i8")))
    np.testing.assert_array_equal(loaded.image, IMAGE)
    assert loaded.image.dtype == np.uint8 and loaded.count.tolist() == [1] * 4


def test_truth_of_a_file_is_0_and_255(tmp_path):
    loaded = load(save(tmp_path, image=IMAGE > 100)).image
    np.testing.assert_array_equal(loaded, np.where(IMAGE > 100, 255, 0))
    assert loaded.dtype == np.uint8


@pytest.mark.parametrize(
    "image, message, remedy, expected",
    [
        (IMAGE // 128, "multiply by 255", lambda image: image * 255, IMAGE // 128 * 255),
        (IMAGE // 128, "or cast to bool", lambda image: image.astype(bool), IMAGE // 128 * 255),
        (
            IMAGE.astype(">i8") // 128,
            r"got >?int64: .* images.astype\(bool\)",
            lambda image: image.astype(bool),
            IMAGE // 128 * 255,
        ),
        (
            IMAGE.astype(int),
            r"got int64: 0 to 255 .* images.astype\(np.uint8\)",
            lambda image: image.astype(np.uint8),
            IMAGE,
        ),
        (
            np.maximum(IMAGE, 255 * np.eye(6, 5, dtype=np.uint8)).astype(np.uint16) * 257,
            r"got uint16: .* \(images / images.max\(\)\).astype\(np.float32\)",
            lambda image: (image / image.max()).astype(np.float32),
            np.maximum(IMAGE, 255 * np.eye(6, 5, dtype=np.uint8)),
        ),
        (
            IMAGE.astype(float),
            r"lie in \[0, 1\], got 0 to 2\d\d: .* images / 255",
            lambda image: image / 255,
            IMAGE,
        ),
        (
            IMAGE / 250 - 0.02,
            r"np.clip\(images, 0, 1\)",
            lambda image: np.clip(image, 0, 1),
            np.rint(np.clip(IMAGE / 250 - 0.02, 0, 1) * 255),
        ),
        (
            IMAGE.astype(int) - 5,
            r"got int64: .* np.interp\(images, \(images.min\(\), images.max\(\)\), \(0, 1\)\)",
            lambda image: np.interp(image, (image.min(), image.max()), (0, 1)),
            np.rint((IMAGE - float(IMAGE.min())) / np.ptp(IMAGE) * 255),
        ),
        (
            np.stack([IMAGE] * 3, -1) / 1.0,
            r"lie in \[0, 1\], got 0 to 2\d\d: .* images / 255",
            lambda image: image / 255,
            np.stack([IMAGE] * 3, -1),
        ),
        (IMAGE[0], r"got \(6, 5\): one image is images\[None\]", lambda i: i[None], IMAGE[:1]),
    ],
)
def test_the_remedy_for_images_that_are_refused_works(tmp_path, image, message, remedy, expected):
    path = save(tmp_path, image=image)
    with pytest.raises(ValueError, match=message) as caught:
        user_scenes.load(path)
    assert f"(image in {path})" in str(caught.value)
    np.testing.assert_array_equal(load(save(tmp_path, image=remedy(image))).image, expected)


@pytest.mark.parametrize(
    "arrays, message",
    [
        ({"picture": IMAGE}, r"must hold an array named image, got \['picture'\]"),
        ({}, "must hold an array named image, got no arrays"),
        ({"image": np.array([{}, {}])}, r"holds image in a form that is not read \(object\)"),
        ({"image": IMAGE.astype("U3")}, r"holds image in a form that is not read \(<U3\): save pl"),
        ({"image": IMAGE[:0]}, r"image in .* must not be empty, got shape \(0, 6, 5\)"),
        ({"image": np.where(IMAGE > 20, np.nan, 0.5)}, "image in .* NaN"),
        ({"image": IMAGE / -255}, r"image in .* must lie in \[0, 1\], got -"),
        ({"image": IMAGE, "count": np.ones(3, int)}, r"count .* shape \(4,\), .*, got \(3,\)"),
        ({"image": IMAGE, "count": np.ones(4)}, "count must be whole numbers .*, got float64"),
        ({"image": IMAGE, "count": np.ones(4, bool)}, "count must be whole numbers .*, got bool"),
        ({"image": IMAGE, "count": np.array([0, 1, -2, 2])}, "count .* at least 0, got .*-2"),
        (
            {"image": IMAGE, "count": np.array([0, 1, -1, 2]), "box": np.ones((4, 2, 4))},
            "box needs the count of every image, and 1 are -1: leave boxes out",
        ),
        (
            {"image": IMAGE, "count": np.full(4, 2**32)},
            r"count .* below 2\*\*31, got 4294967296: re",
        ),
        ({"image": IMAGE, "box": np.ones((4, 2, 4))}, "boxes need counts"),
        (ONE | {"box": np.ones((4, 8))}, r"box must have shape \(4, M, 4\), .* got \(4, 8\)"),
        (
            {"image": IMAGE, "count": np.full(4, 3), "box": np.ones((4, 2, 4))},
            "box must have a row for every object, got 2 rows and counts up to 3",
        ),
        (ONE | {"box": np.full((4, 1, 4), np.inf)}, "box must be finite numbers"),
        (ONE | {"box": np.full((4, 1, 4), 1e39)}, "box must be finite numbers"),  # of float32
        (  # one point, as far as float32 can tell
            ONE | {"box": np.array([[[1, 1, 1 + 1e-9, 2]]] * 4)},
            r"box must have x0 < x1 and y0 < y1, got \[1.0, 1.0, 1.0, 2.0\]",
        ),
        (ONE | {"box": np.full((4, 1, 4), "1")}, r"holds box in a form that is not read \(<U1\)"),
        (
            ONE | {"box": np.tile([5.0, 5, 2, 2], (4, 1, 1))},
            r"box must have x0 < x1 and y0 < y1, got \[5.0, 5.0, 2.0, 2.0\]: save corners",
        ),
    ],
)
def test_user_scene_errors(tmp_path, arrays, message):
    path = save(tmp_path, **arrays)
    with pytest.raises(ValueError, match=message) as caught:
        load(path)  # an error, and no warning besides
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "arrays, message",
    [
        (
            {"image": IMAGE // 9},
            r"\(image in PATH\) are nearly black: the largest pixel is 27 of 255",
        ),
        ({"image": IMAGE / 2550}, r"\(image in PATH\) are nearly black"),
        (ONE | {"box": np.tile([0.1, 0.1, 0.9, 1], (4, 1, 1))}, "PATH: box .* look like fractions"),
        (ONE | {"box": np.tile([1, 1, 6, 2], (4, 1, 1))}, "PATH: box .* 4 of 4 do not lie inside"),
    ],
)
def test_what_is_odd_in_a_file_is_said(tmp_path, arrays, message):
    path = save(tmp_path, **arrays)
    with pytest.warns(UserWarning, match=message.replace("PATH", re.escape(str(path)))) as caught:
        user_scenes.load(path)
    assert len(caught) == 1


def npz(path, header):
    """A file whose image has a header and no data."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("image.npy", header)
    return path


def header(shape, write=np.lib.format.write_array_header_1_0):
    file = io.BytesIO()
    write(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return file.getvalue()


def test_the_canvas_of_a_file_is_read_from_its_header(tmp_path, monkeypatch):
    for image in (IMAGE, IMAGE[..., None] / 255):
        assert user_scenes.find(save(tmp_path, image=image)).canvas == (6, 5)
    np.savez_compressed(
        tmp_path / "packed.npz", count=np.ones(4, int), image=np.asfortranarray(IMAGE)
    )
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_scenes.find("~/packed.npz").canvas == (6, 5)
    np.testing.assert_array_equal(user_scenes.load("~/packed.npz").image, IMAGE)
    for write in (np.lib.format.write_array_header_1_0, np.lib.format.write_array_header_2_0):
        no_data = npz(tmp_path / "no_data.npz", header((10**9, 300, 400), write))
        assert user_scenes.find(no_data).canvas == (300, 400)
    with pytest.raises(ValueError, match="holds image in a form that is not read"):
        load(no_data)


@pytest.mark.parametrize("read", [user_scenes.find, load])
def test_user_files_that_are_not_npz(tmp_path, read):
    with pytest.raises(FileNotFoundError, match="nowhere.npz does not exist: set config.data.path"):
        read(tmp_path / "nowhere.npz")
    with pytest.raises(ValueError, match="config.data.path=gs://a/b.npz: only paths of this mach"):
        read("gs://a/b.npz")
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(ValueError, match="text.npz is not a .npz file"):
        read(tmp_path / "text.npz")
    whole = save(tmp_path, image=IMAGE).read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[:-30])
    with pytest.raises(ValueError, match="cut.npz is not a .npz file .File is not a zip file.: sa"):
        read(tmp_path / "cut.npz")
    with pytest.raises(ValueError, match="user.npz must hold an array named image, got .'count'.:"):
        read(save(tmp_path, count=np.ones(4)))
    for shape in ((6, 5), (4, 6, 5, 2), (), (4, 6, 5, 1, 1), (4, 0, 5)):
        with pytest.raises(ValueError, match=f"image in .*, got .*{re.escape(str(shape))}"):
            read(save(tmp_path, image=np.zeros(shape, np.uint8)))
    long = header((4, 6, 5), np.lib.format.write_array_header_2_0)
    long = long[:8] + (20_000).to_bytes(4, "little") + long[12:-1] + b" " * 20_000
    for content in (b"", b"hello, this is text", header((4, 6, 5))[:30], long):
        with pytest.raises(ValueError, match="odd.npz holds image in a form that is not") as caught:
            read(npz(tmp_path / "odd.npz", content))
        assert "\n" not in str(caught.value)  # NumPy's may have several


def test_damage_to_a_file_is_found_when_it_is_read(tmp_path):
    whole = save(tmp_path, image=IMAGE).read_bytes()
    flipped = whole[:200] + bytes([whole[200] ^ 1]) + whole[201:]
    (tmp_path / "damaged.npz").write_bytes(flipped)
    with pytest.raises(ValueError, match="damaged.npz holds image in a form .*CRC"):
        load(tmp_path / "damaged.npz")


def test_split_is_a_shuffled_partition_that_keeps_rows_together():
    image = np.arange(50, dtype=np.uint8).reshape(50, 1, 1)
    every = Scenes(image, np.arange(50, dtype=np.int32), None, None, None)
    train, test = user_scenes.split(every, 10, seed=1)
    assert len(test.image) == 10 and len(train.image) == 40
    assert sorted([*train.count, *test.count]) == list(range(50))
    for part in (train, test):
        np.testing.assert_array_equal(part.image.ravel(), part.count)
    assert list(test.count) != sorted(test.count)
    np.testing.assert_array_equal(user_scenes.split(every, 10, seed=1)[1].count, test.count)
    assert set(user_scenes.split(every, 10, seed=2)[1].count) != set(test.count)
    for size in (0, 50, 99):
        with pytest.raises(ValueError, match=f"below the number of scenes, 50, got {size}"):
            user_scenes.split(every, size, seed=1)


def test_sprites_are_placed_alike_whatever_their_order():
    # A clash must not depend on which of two sprites comes first.
    sprites = [np.tri(5, dtype=np.uint8), discs([4])[0]]
    offsets = np.array([(x, y) for x in range(-6, 7) for y in range(-6, 7)])
    for clash in scenes.LAYOUTS.values():
        for a, b in permutations(sprites):
            np.testing.assert_array_equal(clash(a, b)(offsets), clash(b, a)(-offsets))
