"""What `detect` leaves: detections in the format of COCO and as a table, and pictures of them.

detections.json has `images`, `categories` and `annotations` as COCO's format describes them, boxes
as [x, y, width, height] in pixels of the image as it lies there, and besides a `score` of each
annotation, P(n >= t), and of each image its `count` and `count_probabilities`, q(n | x), n = 0..K.
detections.csv has a line an object, and one of an image without any.
"""

from __future__ import annotations

import collections
import contextlib
import csv
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np

from asr_jax import Detections
from data_gen.user_scenes import Found
from experiments.run.pictures import picture

CATEGORY = {"id": 1, "name": "object", "supercategory": "object"}
COLUMNS = "image,count,probability,object,x0,y0,x1,y1,score".split(",")


@contextlib.contextmanager
def writing(
    out: Path, found: Found, pictures: bool
) -> Iterator[Callable[[np.ndarray, Detections], None]]:
    """Makes the folder: write(images [b, ...], detections) takes the next images, in their order.

    The folder has another name until all are written; on an error nothing is left.

    Raises:
      OSError: the folder cannot be written.
    """
    unfinished = out.with_name(f".{out.name}.{os.getpid()}")
    unfinished.mkdir()
    try:
        with contextlib.ExitStack() as stack:
            table = stack.enter_context((unfinished / "detections.csv").open("w", newline=""))
            file = stack.enter_context((unfinished / "detections.json").open("w"))
            entries = stack.enter_context((unfinished / "images").open("w+"))  # come at the end
            yield _Writer(unfinished, found, pictures, table, file, entries)
            file.write('],\n"images": [\n')
            entries.seek(0)
            shutil.copyfileobj(entries, file)
            file.write("]}\n")
        (unfinished / "images").unlink()
        os.rename(unfinished, out)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


class _Writer:
    def __init__(
        self, folder: Path, found: Found, pictures: bool, table: IO, file: IO, entries: IO
    ):
        self._folder, self._found, self._images, self._objects = folder, found, 0, 0
        self._table, self._file, self._entries = csv.writer(table), file, entries
        self._names = picture_names(found.names) if pictures else None
        if pictures:
            (folder / "pictures").mkdir()
        self._table.writerow(COLUMNS)
        info = {"description": f"Objects found in {found.path.name}"}
        start = json.dumps({"info": info, "licenses": [], "categories": [CATEGORY]})
        file.write(start.removesuffix("}") + ',\n"annotations": [\n')

    def __call__(self, images: np.ndarray, detections: Detections) -> None:
        for row, image in enumerate(images):
            name, size = self._found.names[self._images], self._found.sizes[self._images]
            count = int(detections.count[row])
            scores = detections.scores[row, :count]
            boxes = detections.boxes[row, :count]
            here = in_pixels_of(size, boxes, self._found.canvas)
            probabilities = np.round(detections.probabilities[row].astype(float), 6).tolist()
            self._entry(name, size, count, probabilities)
            facts = [name, count, probabilities[count]]
            mask = enlarged(detections.mask[row], size)
            for t, (box, score) in enumerate(zip(here, scores, strict=True), start=1):
                score = round(float(score), 6)
                self._annotation(box, mask == t, score)
                self._table.writerow([*facts, t, *box, score])
            if not count:
                self._table.writerow([*facts, *[""] * (len(COLUMNS) - len(facts))])
            if self._names:
                drawn = picture(image, boxes, scores, probabilities[count])
                drawn.save(self._folder / "pictures" / self._names[self._images])
            self._images += 1

    def _entry(self, name: str, size: tuple[int, int], count: int, probabilities: list) -> None:
        entry = {"id": self._images + 1, "file_name": name, "width": size[1], "height": size[0]}
        entry |= {"count": count, "count_probabilities": probabilities}
        self._entries.write((",\n" if self._images else "") + json.dumps(entry))

    def _annotation(self, box: list[float], seen: np.ndarray, score: float) -> None:
        x0, y0, x1, y1 = box
        width, height = round(x1 - x0, 2), round(y1 - y0, 2)
        annotation = {"id": self._objects + 1, "image_id": self._images + 1, "category_id": 1}
        annotation |= {"bbox": [x0, y0, width, height], "area": float(seen.sum())}
        annotation |= {"iscrowd": 0, "segmentation": run_lengths(seen)}
        annotation |= {"score": score}
        self._file.write((",\n" if self._objects else "") + json.dumps(annotation))
        self._objects += 1


def enlarged(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A mask [h, w] of as many pixels as an image (H, W): the nearest one's value."""
    rows, columns = (np.arange(n) * m // n for n, m in zip(size, mask.shape, strict=True))
    return mask[rows][:, columns]


def run_lengths(seen: np.ndarray) -> dict:
    """A mask [H, W] of truths as COCO has it: lengths of runs of 0, 1, 0, ..., column by column."""
    pixels = np.concatenate([[False], seen.T.ravel()])
    starts = np.flatnonzero(pixels[1:] != pixels[:-1])
    runs = np.diff(np.concatenate([[0], starts, [seen.size]]))
    return {"size": list(seen.shape), "counts": runs.tolist()}


def in_pixels_of(
    size: tuple[int, int], boxes: np.ndarray, canvas: tuple[int, int]
) -> list[list[float]]:
    """Boxes [n, 4] in pixels of a canvas (H, W) -> in those of an image (H, W), cut at its edges.

    To a hundredth of a pixel.
    """
    ratio = np.array([size[1] / canvas[1], size[0] / canvas[0]] * 2)
    here = np.clip(boxes.astype(np.float64) * ratio, 0, [size[1], size[0]] * 2)
    return np.round(here, 2).tolist()


def picture_names(names: Sequence[str]) -> list[str]:
    """What the pictures of images are called: NAME.png, or all of the name where two share NAME."""
    stems = collections.Counter(Path(name).stem.lower() for name in names)
    alone = (Path(name).stem if stems[Path(name).stem.lower()] == 1 else name for name in names)
    return [f"{name}.png" for name in alone]
