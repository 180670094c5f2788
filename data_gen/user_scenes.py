"""A user's own images, from one .npz file.

image  [N, H, W] or [N, H, W, 1], uint8, bool, or floats in [0, 1]
count  [N], whole numbers of at least 0; optional
box    [N, M, 4], pixels (x0, y0, x1, y1), half-open, any where absent; optional, needs count
"""

import contextlib
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from asr_jax import images, truth
from data_gen.paths import user_path
from data_gen.scenes import Scenes


def load_npz(path: str | Path) -> Scenes:
    """Reads `path` (see above) as Scenes, with None for what the file does not hold.

    Floats become uint8, to the nearest of 255 steps; bool becomes 0 and 255. Warns of images and
    boxes that are probably not what they should be, see `asr_jax.images` and `asr_jax.truth`.

    Raises FileNotFoundError for a missing file, ValueError for anything else that is wrong with it.
    """
    path = user_path(path, "config.data.path")
    with _open(path) as archive:
        image, count, box = (_array(archive, name, path) for name in ("image", "count", "box"))
    if image.ndim == 4 and image.shape[3] == 1:
        image = image[..., 0]
    name = f"the images (image in {path})"
    image = images.check(image, name=name)
    images.warn_of_background(image, name)
    if image.dtype != np.uint8:
        image = np.rint(image * 255.0).astype(np.uint8)
    count, box = _known(image, count, box, path)
    return Scenes(image, count, box, label=None, source_index=None)


def canvas(path: str | Path) -> tuple[int, int]:
    """The (H, W) of the images in `path`, in pixels, from the file's header alone.

    Raises what `load_npz` raises, as far as a header tells.
    """
    path = user_path(path, "config.data.path")
    with _open(path) as archive, _reading("image", path), archive.open("image.npy") as file:
        version = np.lib.format.read_magic(file)
        one = version == (1, 0)
        read = np.lib.format.read_array_header_1_0 if one else np.lib.format.read_array_header_2_0
        shape = read(file)[0]
    if len(shape) not in (3, 4) or shape[3:] not in ((), (1,)) or min(shape) < 1:
        raise ValueError(
            f"image in {path} must have shape [N, H, W] or [N, H, W, 1], got {shape}: stack grey "
            "images"
        )
    return shape[1:3]


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


def _open(path: Path) -> zipfile.ZipFile:
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise FileNotFoundError(f"{path} {what}: set config.data.path to a .npz file")
    try:
        archive = zipfile.ZipFile(path)
    except Exception as error:  # zipfile raises many kinds
        raise ValueError(
            f"{path} is not a .npz file ({error}): save it with np.savez(path, image=...)"
        ) from error
    names = [name.removesuffix(".npy") for name in archive.namelist()]
    if "image.npy" not in archive.namelist():
        raise ValueError(
            f"{path} must hold an array named image, got {names or 'no arrays'}: save it with "
            "np.savez(path, image=...)"
        )
    return archive


def _array(archive: zipfile.ZipFile, name: str, path: Path) -> np.ndarray | None:
    if f"{name}.npy" not in archive.namelist():
        return None
    with _reading(name, path), archive.open(f"{name}.npy") as file:
        array = np.lib.format.read_array(file, allow_pickle=False)
        if array.dtype.kind not in "biuf":
            raise ValueError(f"{array.dtype}")
    return array


@contextlib.contextmanager
def _reading(name: str, path: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # zipfile and NumPy raise many kinds; pickles, which are code, too
        raise ValueError(
            f"{path} holds {name} in a form that is not read ({' '.join(str(error).split())}): "
            "save plain arrays of numbers with np.savez"
        ) from error


def _known(
    image: np.ndarray, count: np.ndarray | None, box: np.ndarray | None, path: Path
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Checks and returns counts as int32 [N], boxes as float32 [N, M, 4], zero beyond a count."""
    if box is not None:
        with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and refused
            box = box.astype(np.float32)
    try:
        with warnings.catch_warnings(record=True) as remarks:
            warnings.simplefilter("always")
            count, box = truth.check(image, count, box)
        if count is not None and count.max() >= 2**31:
            raise ValueError(f"count must be below 2**31, got {count.max()}: repair it")
        if box is not None:
            present = np.arange(box.shape[1]) < count[:, None]  # [N, M]
            box = np.where(present[..., None], box, np.float32(0))
            turned = box[present & (box[..., :2] >= box[..., 2:]).any(-1)]  # [objects, 4]
            if len(turned):
                raise ValueError(
                    f"box must have x0 < x1 and y0 < y1, got {turned[0].tolist()}: save corners, "
                    "not sizes"
                )
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    for remark in remarks:
        images.warn(f"{path}: {remark.message}")
    return None if count is None else count.astype(np.int32), box
