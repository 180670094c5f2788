"""A user's own images, from one .npz file.

image  [N, H, W] or [N, H, W, 1], uint8, or floats in [0, 1]
count  [N], whole numbers of at least 0; optional
box    [N, M, 4], pixels (x0, y0, x1, y1), half-open, 0 where absent; optional, needs count
"""

from pathlib import Path

import numpy as np

from data_gen.scenes import Scenes


def load_npz(path: str | Path) -> Scenes:
    """Reads `path` (see above) as Scenes, with None for what the file does not hold.

    Floats become uint8, to the nearest of 255 steps.

    Raises FileNotFoundError for a missing file, ValueError for anything else that is wrong with it.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path} does not exist: set config.data.path to a .npz file")
    with _open(path) as file:
        if "image" not in file.files:
            raise ValueError(
                f"{path} must hold an array named image, got {sorted(file.files) or 'no arrays'}:"
                " save it with np.savez(path, image=...)"
            )
        image = _image(_array(file, "image", path), path)
        count = box = None
        if "count" in file.files:
            count = _count(_array(file, "count", path), len(image), path)
        if "box" in file.files:
            box = _box(_array(file, "box", path), len(image), count, path)
    return Scenes(image, count, box, label=None, source_index=None)


def split(scenes: Scenes, test_size: int, seed: int) -> tuple[Scenes, Scenes]:
    """Returns (train, test): scenes shuffled by `seed`, the first `test_size` of them for testing.

    Raises ValueError unless both parts get at least one scene, and for a seed below 0.
    """
    size = len(scenes.image)
    if seed < 0:
        raise ValueError(f"seed must be at least 0, got {seed}: set config.data.seed")
    if not 1 <= test_size < size:
        raise ValueError(
            f"test_size must be at least 1 and below the number of scenes, {size}, got {test_size}:"
            " set config.data.test_size or give more scenes"
        )
    rng = np.random.Generator(np.random.PCG64(seed))
    order = np.argsort(rng.random(size), kind="stable")
    test, train = (
        Scenes(*(None if field is None else field[rows] for field in scenes))
        for rows in (order[:test_size], order[test_size:])
    )
    return train, test


def _open(path: str | Path) -> np.lib.npyio.NpzFile:
    try:
        file = np.load(path, allow_pickle=False)
    except Exception as error:  # zipfile and NumPy raise many kinds
        raise ValueError(
            f"{path} is not a .npz file ({error}): save it with np.savez(path, image=...)"
        ) from error
    if not isinstance(file, np.lib.npyio.NpzFile):  # but a single array
        raise ValueError(f"{path} is not a .npz file: save it with np.savez(path, image=...)")
    return file


def _array(file: np.lib.npyio.NpzFile, key: str, path: str | Path) -> np.ndarray:
    try:
        array = file[key]
    except Exception as error:  # zipfile and NumPy raise many kinds; pickles, which are code, too
        raise ValueError(
            f"{path} holds {key} in a form that is not read ({error}): save plain arrays of numbers"
            " with np.savez"
        ) from error
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{path} holds {key}, but not as an array: save it with np.savez")
    return array


def _image(image: np.ndarray, path: str | Path) -> np.ndarray:
    """Checks and returns images as uint8 [N, H, W, 1]."""
    if image.ndim == 3:
        image = image[..., None]
    if image.ndim != 4 or image.shape[3] != 1:
        raise ValueError(
            f"image in {path} must have shape [N, H, W] or [N, H, W, 1], got {image.shape}: convert"
            " colours to grey"
        )
    if not image.size:
        raise ValueError(f"image in {path} is empty, its shape is {image.shape}: give some images")
    if image.dtype == np.uint8:
        return image
    if image.dtype.kind != "f":
        raise ValueError(
            f"image in {path} must be uint8 or floats in [0, 1], got {image.dtype}: convert it with"
            " image.astype(np.uint8)"
        )
    if np.isnan(image).any():
        raise ValueError(
            f"image in {path} must have no NaN, got {np.isnan(image).sum()}: repair or drop those"
            " images"
        )
    if image.min() < 0 or image.max() > 1:
        raise ValueError(
            f"image in {path} holds floats, which must be in [0, 1], got {image.min()} to"
            f" {image.max()}: rescale it, or save uint8"
        )
    return np.rint(image * 255.0).astype(np.uint8)


def _count(count: np.ndarray, size: int, path: str | Path) -> np.ndarray:
    """Checks and returns counts as int32 [N]."""
    if count.shape != (size,):
        raise ValueError(
            f"count in {path} must have shape ({size},), one for each image, got {count.shape}:"
            " save one count per image"
        )
    if count.dtype.kind not in "iu":
        raise ValueError(
            f"count in {path} must be whole numbers, got {count.dtype}: save count.astype(np.int32)"
        )
    if count.min() < 0:
        raise ValueError(
            f"count in {path} must be at least 0, got {count.min()}: leave count out if it is"
            " unknown"
        )
    if count.max() >= 2**31:
        raise ValueError(f"count in {path} must be below 2**31, got {count.max()}: repair it")
    return count.astype(np.int32)


def _box(box: np.ndarray, size: int, count: np.ndarray | None, path: str | Path) -> np.ndarray:
    """Checks and returns boxes as float32 [N, M, 4], zero beyond each image's count."""
    if box.ndim != 3 or box.shape[0] != size or box.shape[2] != 4:
        raise ValueError(
            f"box in {path} must have shape ({size}, M, 4), (x0, y0, x1, y1) for each object, got"
            f" {box.shape}: pad images that have fewer objects with zeros"
        )
    if count is None:
        raise ValueError(f"box in {path} needs count, to tell objects from padding: save count too")
    if count.max() > box.shape[1]:
        raise ValueError(
            f"count in {path} must be at most the {box.shape[1]} boxes of an image, got"
            f" {count.max()}: give a box for every object"
        )
    if box.dtype.kind not in "iuf":
        raise ValueError(f"box in {path} must be numbers, got {box.dtype}: save corners in pixels")
    present = np.arange(box.shape[1]) < count[:, None]  # [N, M]
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused
        box = np.where(present[..., None], box.astype(np.float32), 0)
    if not np.isfinite(box).all():
        raise ValueError(
            f"box in {path} must be finite numbers of float32, got {box[~np.isfinite(box)][0]}: "
            "repair the boxes"
        )
    x0, y0, x1, y1 = box[present].T
    if ((x0 >= x1) | (y0 >= y1)).any():
        raise ValueError(
            f"box in {path} must have x0 < x1 and y0 < y1, got"
            f" {box[present][(x0 >= x1) | (y0 >= y1)][0].tolist()}: save corners, not sizes"
        )
    return box
