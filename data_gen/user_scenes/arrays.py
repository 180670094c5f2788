"""Images in a file of arrays: an .npz with the names below, or an .npy that is `image` alone.

image  [N, H, W], [N, H, W, 1], or in colour [N, H, W, 3]: uint8, bool, or floats in [0, 1]
count  [N], whole numbers of at least 0, or -1 where it is not known; optional
box    [N, M, 4], pixels (x0, y0, x1, y1), half-open, any where absent; optional, needs count
"""

from __future__ import annotations

import contextlib
import functools
import math
import zipfile
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np

from asr_jax import images
from data_gen.user_scenes.found import Found, in_colour, to_uint8

CHANNELS = ((), (1,), (3,))  # axes after [N, H, W]
NAMES = ("image", "count", "box")


def find(path: Path, wanted: bool | None) -> Found:
    """The images of a file, from its header alone.

    Args:
      path: of the file.
      wanted: whether in colour; None: as they are.

    Raises:
      ValueError: it is no such file, or holds no images; the message names it.
    """
    what = "" if _is_stack(path) else "image in "
    with _open(path, "image") as file:
        shape, *_ = _header(file)
    label = f"the images ({what}{path})"
    if len(shape) not in (3, 4) or shape[3:] not in CHANNELS:
        raise ValueError(
            f"{label} must have shape [N, H, W], or [N, H, W, 3] in colour, got {shape}: "
            f"{'one image is images[None]' if len(shape) == 2 else 'stack images of one size'}"
        )
    if len(shape) == 3 and shape[2] in (3, 4):  # no image is so narrow
        raise ValueError(
            f"{label} have shape {shape}, which looks like one image: that is images[None]"
        )
    if not all(shape):
        raise ValueError(f"{label} must not be empty, got shape {shape}: give one at least")
    canvas, coloured = shape[1:3], shape[3:] == (3,)
    return Found(
        path=path,
        label=label,
        names=Numbers(shape[0]),
        canvas=canvas,
        sizes=Same(canvas, shape[0]),
        count=None if _is_stack(path) else _array(path, "count"),
        colour=lambda: coloured if wanted is None else wanted,
        read=functools.partial(_read, path, label, shape[0]),
    )


def boxes(path: Path) -> np.ndarray | None:
    """The boxes of a file, as they are."""
    return None if _is_stack(path) else _array(path, "box")


def _is_stack(path: Path) -> bool:
    return path.suffix.lower() == ".npy"


class Numbers(Sequence):
    """The names of images that have none."""

    def __init__(self, total: int):
        self._total = total

    def __len__(self) -> int:
        return self._total

    def __getitem__(self, i: int) -> str:
        return f"{range(self._total)[i]:0{len(str(self._total - 1))}d}"


class Same(Sequence):
    """One value, so many times."""

    def __init__(self, value: tuple[int, int], total: int):
        self._value, self._total = value, total

    def __len__(self) -> int:
        return self._total

    def __getitem__(self, i: int) -> tuple[int, int]:
        range(self._total)[i]
        return self._value


def _read(
    path: Path, label: str, total: int, rows: Sequence[int], size: int, colour: bool
) -> Iterator[np.ndarray]:
    first = 0
    for image in _rows(path, size):
        here = rows[bisect_left(rows, first) : bisect_left(rows, first + len(image))]
        image = image[..., 0] if image.shape[3:] == (1,) else image
        if len(here):
            image = image[np.asarray(here) - first] if len(here) < len(image) else image
            where = label if len(image) == total else f"{label}, from no. {first} on,"
            yield in_colour(to_uint8(image, where, part=len(image) < total), colour)
        first += size


def _rows(path: Path, size: int) -> Iterator[np.ndarray]:
    """The array `image` of a file, `size` rows at a time."""
    with _open(path, "image") as file:
        (total, *rest), fortran, dtype = _header(file)
        whole = _whole(file, (total, *rest), dtype, "F") if fortran else None  # rows lie apart
        for start in range(0, total, size):
            rows = min(size, total - start)
            yield whole[start : start + rows] if fortran else _whole(file, (rows, *rest), dtype)
        file.read(1)  # a member's checksum is looked at where it ends


def _whole(file: IO, shape: tuple, dtype: np.dtype, order: str = "C") -> np.ndarray:
    """The next array of a file."""
    length = math.prod(shape) * dtype.itemsize
    data = file.read(length)
    if len(data) < length:
        raise ValueError(f"{length} bytes expected, {len(data)} found")
    return np.frombuffer(data, dtype).reshape(shape, order=order)


def _header(file: IO) -> tuple[tuple, bool, np.dtype]:
    version = np.lib.format.read_magic(file)
    one = version == (1, 0)
    read = np.lib.format.read_array_header_1_0 if one else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(file)
    if dtype.kind not in "biuf":
        raise ValueError(f"{dtype}")
    return shape, fortran, dtype


@contextlib.contextmanager
def _open(path: Path, name: str) -> Iterator[IO | None]:
    """The array of a name, to be read; None where the file has none such."""
    with contextlib.ExitStack() as stack:
        if _is_stack(path):
            file = stack.enter_context(path.open("rb"))
        else:
            archive = stack.enter_context(_archive(path))
            if f"{name}.npy" not in archive.namelist():
                yield None
                return
            with _reading(name, path):
                file = stack.enter_context(archive.open(f"{name}.npy"))
        with _reading(name, path):
            yield file


def _archive(path: Path) -> zipfile.ZipFile:
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
    if others := sorted({*names} - {*NAMES}):
        images.warn(
            f"of the arrays in {path}, {', '.join(others)} are not looked at: those that are, are "
            f"named {', '.join(NAMES)}"
        )
    return archive


def _array(path: Path, name: str) -> np.ndarray | None:
    """An array of an .npz file; None where it has none such."""
    with _open(path, name) as file:
        if file is None:
            return None
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
