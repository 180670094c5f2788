"""Images in a folder of PNG or JPEG pictures, in the order of their names.

Grey, 16 bits too, or in colour, without transparency; folders in it are not looked at. A counts.csv
beside them may say how many objects some of them show::

    name,count
    0001.png,3
    0002.png,-1

where -1, nothing, or no row at all is: not known.
"""

from __future__ import annotations

import csv
import functools
import operator
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from asr_jax import images
from data_gen.user_scenes.found import Found, in_colour, to_uint8

ENDINGS = (".png", ".jpg", ".jpeg")
OTHERS = (".bmp", ".gif", ".webp", ".tif", ".tiff")  # pictures that are not read
COUNTS = "counts.csv"
GREY = ("1", "L", "I;16", "I;16L", "I;16B", "I")  # Pillow's modes of one channel
ORIENTATION = 0x0112  # of EXIF: how a camera was held
STRETCHED = 1.05  # a picture whose sides are resized by factors that differ more is warned of


def find(
    folder: Path, size: tuple[int, int] | tuple[()], wanted: bool | None, resizing: str
) -> Found:
    """The pictures of a folder, from their headers alone.

    Args:
      folder: of the pictures.
      size: (H, W) in pixels that they are resized to; (): all have one size.
      wanted: whether in colour; None: unless red, green and blue are equal everywhere.
      resizing: the setting that resizes them, for messages.

    Raises:
      FileNotFoundError: no picture.
      ValueError: a picture that cannot be read, sizes that differ, counts that do not fit.
    """
    size = _size(size)
    paths = sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in ENDINGS and not path.name.startswith(".")
    )
    if not paths:
        there = sorted({path.suffix or path.name for path in folder.iterdir()})[:5]
        raise FileNotFoundError(
            f"{folder} must hold pictures ({', '.join(ENDINGS)}), and holds "
            f"{', '.join(there) or 'nothing'}: save them as PNG, all in this folder"
        )
    modes, sizes = zip(*map(_header, paths), strict=True)
    other = next((i for i, shape in enumerate(sizes) if shape != sizes[0]), None)
    if not size and other is not None:
        (h, w), (height, width) = sizes[0], sizes[other]
        raise ValueError(
            f"the pictures in {folder} must have one size, and {paths[0].name} has {w} x {h} pixels"
            f" and {paths[other].name} {width} x {height}: crop them, or have them resized with "
            f"{resizing}"
        )
    _warn_of_others(folder)
    if size:
        _warn_of_stretching(folder, sizes, size)
    coloured = [path for path, mode in zip(paths, modes, strict=True) if mode not in GREY]
    label = f"the pictures in {folder}"
    return Found(
        path=folder,
        label=label,
        names=[path.name for path in paths],
        canvas=size or sizes[0],
        sizes=sizes,
        count=_counts(folder / COUNTS, [path.name for path in paths]),
        colour=functools.cache(
            lambda: any(map(_in_colour, coloured)) if wanted is None else wanted
        ),
        read=functools.partial(_read, paths, label, size, any(map(_of_16_bits, modes))),
    )


def _read(
    paths: Sequence[Path],
    label: str,
    size: tuple[int, int] | tuple[()],
    fine: bool,  # whether some have 16 bits
    rows: Sequence[int],
    chunk: int,
    colour: bool,
) -> Iterator[np.ndarray]:
    for start in range(0, len(rows), chunk):
        read = (_pixels(paths[row], size) for row in rows[start : start + chunk])
        image = np.stack([in_colour(pixels[None], colour)[0] for pixels in read])
        part = len(image) < len(paths)
        if fine and not part and image.max() == 1:
            raise ValueError(
                f"{label} have 16 bits a pixel and no value above 385 of 65535, which is nearly "
                "black: save them with 8 bits, or multiply them"
            )
        yield to_uint8(image, label, part)


def _pixels(path: Path, size: tuple[int, int] | tuple[()] = ()) -> np.ndarray:
    """A picture as uint8, [H, W] or [H, W, 3]."""
    try:
        with Image.open(path) as picture:
            picture.load()
            picture = ImageOps.exif_transpose(picture)
    except Exception as error:  # Pillow raises many kinds
        raise ValueError(f"{path} cannot be read ({_line(error)}): save it again") from error
    if _of_16_bits(picture.mode):
        values = np.asarray(picture).astype(np.float64)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError(f"{path} has more than 16 bits a pixel: save it with 8 or 16")
        picture = Image.fromarray(np.rint(values / 257).astype(np.uint8))
    elif picture.has_transparency_data:
        picture = picture.convert("RGBA")
        if picture.getextrema()[3][0] < 255:
            raise ValueError(
                f"{path} is transparent in places: put it on a background, and save it without"
            )
    picture = picture.convert("L" if picture.mode in GREY else "RGB")
    if size:
        picture = picture.resize(size[::-1], Image.Resampling.BILINEAR)  # smooth, also to smaller
    return np.asarray(picture)


def _of_16_bits(mode: str) -> bool:
    return mode.startswith("I")


def _in_colour(path: Path) -> bool:
    pixels = _pixels(path)
    return bool((pixels != pixels[..., :1]).any())


def _header(path: Path) -> tuple[str, tuple[int, int]]:
    """The mode of a picture, and its (H, W) once it is turned as it was held."""
    try:
        with Image.open(path) as picture:
            turned = picture.getexif().get(ORIENTATION, 1) >= 5
            return picture.mode, picture.size if turned else picture.size[::-1]
    except Exception as error:
        raise ValueError(f"{path} cannot be read ({_line(error)}): save it again") from error


def _size(size: Sequence[int]) -> tuple[int, int] | tuple[()]:
    try:
        size = tuple(map(operator.index, size))
        if not size or len(size) == 2 and min(size) >= 2:
            return size
    except TypeError:
        pass
    raise ValueError(
        f"config.data.size must be (HEIGHT, WIDTH) in pixels, whole numbers of at least 2, got "
        f"{size}"
    )


def _warn_of_stretching(
    folder: Path, sizes: Sequence[tuple[int, int]], size: tuple[int, int]
) -> None:
    def factor(shape):
        ratio = (size[0] / shape[0]) / (size[1] / shape[1])
        return max(ratio, 1 / ratio)

    worst = max(sizes, key=factor)
    if factor(worst) > STRETCHED:
        images.warn(
            f"the pictures in {folder} are stretched: one of {worst[1]} x {worst[0]} pixels "
            f"becomes {size[1]} x {size[0]}, and what was round is not: crop them"
        )


def _warn_of_others(folder: Path) -> None:
    """Pictures and counts that are there, and are not looked at."""
    others = [path for path in folder.iterdir() if path.suffix.lower() in OTHERS]
    if others:
        endings = ", ".join(sorted({path.suffix for path in others}))
        images.warn(
            f"{len(others)} files of {endings} in {folder} are not looked at: save them as PNG"
        )
    tables = sorted(path.name for path in folder.glob("*.csv") if path.name != COUNTS)
    if tables:
        images.warn(
            f"{', '.join(tables)} in {folder} is not looked at: counts are read from {COUNTS}"
        )


def _count(text: str) -> int:
    """A whole number, also as 2.0; -1 where nothing is said."""
    try:
        number = float(text or -1)
        if number.is_integer() and -1 <= number < 2**31:
            return int(number)
    except ValueError:
        pass
    raise ValueError(f"a count must be a whole number, or -1 where it is not known, got {text}")


def _counts(file: Path, names: list[str]) -> np.ndarray | None:
    """What counts.csv says of each picture, -1 where it is silent; None: there is no such file."""
    if not file.exists():
        return None
    try:
        with file.open(newline="", encoding="utf-8-sig") as text:
            rows = [[cell.strip() for cell in row] for row in csv.reader(text)]
        header, *rows = [row for row in rows if any(row)] or [[]]
        if header[:2] != ["name", "count"]:
            raise ValueError(f"its first line must be name,count, got {','.join(header)}")
        known, there = {}, set(names)
        for row in rows:
            name, count = row[0], row[1] if len(row) > 1 else ""
            if name not in there:
                raise ValueError(f"no picture is called {name}")
            if name in known:
                raise ValueError(f"{name} is there twice")
            known[name] = _count(count)
    except Exception as error:  # of csv, of the encoding, of ours
        raise ValueError(
            f"{file} is not read ({_line(error)}): write name,count, and below it a line a picture"
        ) from error
    return np.array([known.get(name, -1) for name in names])


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
