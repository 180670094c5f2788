"""Where the digits come from: MNIST idx files, TFDS, or a small subset that ships with the code.

Every source returns its digits in one canonical order (sorted by pixels), so that scenes and their
fingerprint depend on what the digits are and not on how they were stored.
"""

import gzip
import hashlib
import importlib.util
import math
import os
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from absl import logging

from data_gen.paths import user_path

EMBEDDED = "embedded"  # as a folder name: use the subset that ships with the code
SUBSET = Path(__file__).parent / "data" / "mnist_subset.npz"
PREFIX = {"train": "train", "test": "t10k"}  # file names in MNIST's own splits
IDX_UINT8 = bytes((0, 0, 8))  # how idx files of unsigned bytes begin; the rank follows


class Digits(NamedTuple):
    """The digits of one split, sorted by pixels."""

    images: np.ndarray  # uint8 [N, 28, 28]
    labels: np.ndarray  # uint8 [N]
    index: np.ndarray  # int32 [N]: position in the split's file (TFDS: in its own order)
    source: str  # for people: where these digits were found
    sha256: str  # of images and labels, in this order


def read_idx(path: str | Path) -> np.ndarray:
    """Returns the uint8 array of an idx file, of rank 1 to 3; `.gz` files are unpacked.

    Raises FileNotFoundError where there is no file and ValueError where it is not exactly one
    idx array of bytes.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: download MNIST's idx files again")
    data = path.read_bytes()
    if path.suffix == ".gz":
        try:
            data = gzip.decompress(data)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"{path} is damaged gzip ({error}): download it again") from error
    if len(data) < 4 or data[:3] != IDX_UINT8 or data[3] not in (1, 2, 3):
        raise ValueError(
            f"{path} must begin with the idx magic 00 00 08 and a rank of 1 to 3, got"
            f" {data[:4].hex(' ') or 'nothing'}: give MNIST's own idx files"
        )
    rank = data[3]
    start = 4 + 4 * rank  # the header: magic, then one big-endian uint32 per axis
    if len(data) < start:
        raise ValueError(
            f"{path} is truncated: its header needs {start} bytes, got {len(data)}:"
            " download it again"
        )
    shape = [int(n) for n in np.frombuffer(data, ">u4", count=rank, offset=4)]
    if 0 in shape:
        raise ValueError(f"{path} holds no data, its shape is {tuple(shape)}: download it again")
    expected = start + math.prod(shape)
    if len(data) != expected:
        what = "is truncated" if len(data) < expected else "has trailing bytes"
        raise ValueError(
            f"{path} {what}: shape {tuple(shape)} needs {expected} bytes, got {len(data)}:"
            " download it again"
        )
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def load_digits(split: str, folder: str = "") -> Digits:
    """Returns the digits of MNIST's own `split`, "train" or "test".

    Args:
      split: which of MNIST's two splits.
      folder: a folder of MNIST idx files (with or without .gz), or "embedded" for the subset that
        ships with the code. If empty: the folder named by ASR_MNIST_DIR; else TFDS's `mnist` where
        TensorFlow is installed and TFDS can prepare it; else the embedded subset.

    Raises:
      ValueError: for another split, files that are not MNIST, or what `user_path` raises.
      FileNotFoundError: where a folder is named and a file is missing from it.
    """
    if split not in PREFIX:
        raise ValueError(f'split must be "train" or "test", got {split!r}')
    what = "config.data.digits_dir" if folder else "ASR_MNIST_DIR"
    folder = folder or os.environ.get("ASR_MNIST_DIR", "")
    if folder == EMBEDDED:
        return embedded_digits(split)
    if folder:
        return idx_digits(split, user_path(folder, what))
    if importlib.util.find_spec("tensorflow"):
        try:
            return tfds_digits(split)
        except Exception as error:  # TFDS raises many kinds when it cannot download
            logging.warning(
                "TFDS could not prepare mnist (%s: %s); using the embedded subset instead. Name a"
                " folder of idx files in config.data.digits_dir to use all of MNIST.",
                type(error).__name__,
                error,
            )
    return embedded_digits(split)


def idx_digits(split: str, folder: str | Path) -> Digits:
    """The digits of `split` from a folder of MNIST idx files."""
    image_path = _find(folder, f"{PREFIX[split]}-images-idx3-ubyte")
    label_path = _find(folder, f"{PREFIX[split]}-labels-idx1-ubyte")
    images, labels = read_idx(image_path), read_idx(label_path)
    if images.ndim != 3 or images.shape[1:] != (28, 28) or not len(images):
        raise ValueError(
            f"{image_path} must hold digits of shape [N, 28, 28], got {images.shape}:"
            " give MNIST's own idx files"
        )
    if labels.shape != images.shape[:1]:
        raise ValueError(
            f"{label_path} must hold one label for each of the {len(images)} images, got shape"
            f" {labels.shape}: take both files from one copy of MNIST"
        )
    return _canonical(images, labels, np.arange(len(images)), f"MNIST idx files in {folder}")


def tfds_digits(split: str) -> Digits:
    """The digits of `split` from TFDS, which downloads them once; needs TensorFlow."""
    import tensorflow_datasets as tfds  # slow, and not needed by the other sources

    data = tfds.as_numpy(tfds.load("mnist", split=split, batch_size=-1))
    images = data["image"][..., 0]
    return _canonical(images, data["label"], np.arange(len(images)), "TFDS mnist")


def embedded_digits(split: str) -> Digits:
    """The digits of `split` in the subset that ships with the code (see data/README.md)."""
    with np.load(SUBSET, allow_pickle=False) as data:
        images, labels, index = (data[f"{split}_{key}"] for key in ("images", "labels", "index"))
    return _canonical(images, labels, index, "embedded MNIST subset (7,000 train, 1,000 test)")


def _find(folder: str | Path, name: str) -> Path:
    for path in (Path(folder) / name, Path(folder) / f"{name}.gz"):
        if path.is_file():
            return path
    raise FileNotFoundError(
        f"{folder} must hold {name} or {name}.gz, found neither: put MNIST's four idx files there,"
        " or name another folder in config.data.digits_dir or ASR_MNIST_DIR"
    )


def _canonical(images: np.ndarray, labels: np.ndarray, index: np.ndarray, source: str) -> Digits:
    pixels = np.ascontiguousarray(images).reshape(len(images), -1)  # [N, 784]
    order = np.argsort(pixels.view("S784")[:, 0], kind="stable")  # each row as one string
    images, labels = images[order], labels[order].astype(np.uint8)
    sha256 = hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()
    return Digits(images, labels, index[order].astype(np.int32), source, sha256)
