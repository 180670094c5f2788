"""The door: which of the three forms images have, all of them read, and divided."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from asr_jax import images, truth
from data_gen.paths import user_path
from data_gen.scenes import Scenes
from data_gen.user_scenes import arrays, pictures
from data_gen.user_scenes.found import Found

COLOUR = ("auto", "yes", "no")


def find(
    path: str | Path,
    size: tuple[int, int] | tuple[()] = (),
    colour: str = "auto",
    setting: str = "config.data.path",
    resizing: str = "config.data.size=(HEIGHT,WIDTH)",
) -> Found:
    """What lies at `path`, as far as headers tell: a folder of pictures, an .npz or an .npy file.

    Args:
      path: see `pictures` and `arrays`.
      size: (H, W) in pixels that pictures are resized to; (): all have one size.
      colour: "yes", "no", or "auto": as the images are. Pictures whose red, green and blue are
        equal everywhere are grey.
      setting: that holds the path, for messages.
      resizing: the setting that resizes pictures, for messages.

    Raises:
      FileNotFoundError: there is nothing, or no picture.
      ValueError: anything else that is wrong with it; the message names the file.
    """
    if colour not in COLOUR:
        raise ValueError(f"config.data.colour must be one of {', '.join(COLOUR)}, got {colour!r}")
    path, wanted = user_path(path, setting), {"yes": True, "no": False}.get(colour)
    if path.is_dir():
        return pictures.find(path, tuple(size), wanted, resizing)
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist: set {setting} to a folder of pictures, or an .npz or .npy file"
        )
    if path.suffix.lower() in pictures.ENDINGS:
        raise ValueError(f"{path} is one picture: set {setting} to the folder that it lies in")
    if len(size):
        raise ValueError(
            f"{resizing.partition('=')[0]} is for folders of pictures, got {path}: resize its "
            "images, and leave it out"
        )
    return arrays.find(path, wanted)


def load(path: str | Path, size: tuple[int, int] | tuple[()] = (), colour: str = "auto") -> Scenes:
    """All images at `path` as Scenes, uint8, with None for what is not known of them.

    Arguments as in `find`. Counts that are known for some images only are -1 for the others.
    Warns of images and boxes that are probably not what they should be, see `asr_jax.images` and
    `asr_jax.truth`.

    Raises:
      FileNotFoundError, ValueError: as `find`, and for whatever is damaged.
    """
    found = find(path, size, colour)
    (image,) = found.chunks(max(1, len(found.names)))
    box = arrays.boxes(found.path) if found.path.is_file() else None
    count, box = _known(image, found.count, box, found.path)
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


def _known(
    image: np.ndarray, count: np.ndarray | None, box: np.ndarray | None, path: Path
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Checks and returns counts as int32 [N], boxes as float32 [N, M, 4], zero beyond a count."""
    if box is not None:
        with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and refused
            box = box.astype(np.float32)
    try:
        unknown, count = _unknown(count, box)
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
    if count is None or unknown.all():
        return None, None
    return np.where(unknown, -1, count.astype(np.int32)).astype(np.int32), box


def _unknown(
    count: np.ndarray | None, box: np.ndarray | None
) -> tuple[np.ndarray | bool, np.ndarray | None]:
    """Which counts are -1, and counts with 0 there."""
    if count is None or count.dtype.kind not in "iu":  # which is refused
        return np.zeros((), bool), count
    unknown = count == -1
    if box is not None and unknown.any():
        raise ValueError(
            f"box needs the count of every image, and {unknown.sum()} are -1: leave boxes out, or "
            "give all counts"
        )
    return unknown, np.where(unknown, 0, count)
