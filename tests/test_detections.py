"""What `detect` leaves: a file by the rules of COCO's format, a table and pictures."""

import csv
import json
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from asr_jax import Detections
from data_gen import user_scenes
from experiments.run import detections
from experiments.run.pictures import picture

# Two objects, none, one that reaches beyond the left and the lower edge.
FOUND = Detections(
    count=np.array([2, 0, 1]),
    probabilities=np.array([[0.0, 0.25, 0.75], [1, 0, 0], [0.1, 0.6, 0.3]], np.float32),
    boxes=np.array(
        [[[1, 2, 4, 5], [5.5, 1.25, 7.5, 3.25]], [[9, 9, 9, 9]] * 2, [[-1, 3, 3, 7], [0, 0, 1, 1]]],
        np.float32,
    ),
    scores=np.array([[1.0, 0.75], [0, 0], [0.9, 0.3]], np.float32),
    mask=np.random.default_rng(1).integers(0, 3, (3, 6, 8), dtype=np.uint8),
)
IMAGE = np.random.default_rng(0).integers(0, 256, (3, 6, 8), dtype=np.uint8)


def written(tmp_path, names=("b.png", "a.png", "a.jpg"), size=(), pictures=True):
    """The folder that comes of FOUND in two parts; `names` are those of IMAGE."""
    source = tmp_path / "in"
    source.mkdir()
    for name, image in zip(names, IMAGE, strict=True):
        Image.fromarray(image).save(source / name)
    found, out = user_scenes.find(source, size), tmp_path / "out"
    canvas = np.zeros((3, *found.canvas), np.uint8)
    with detections.writing(out, found, pictures) as write:
        write(canvas[:2], Detections(*(field[:2] for field in vars(FOUND).values())))
        write(canvas[2:], Detections(*(field[2:] for field in vars(FOUND).values())))
        assert not out.exists()  # until it is complete
    return out


@pytest.mark.parametrize("size", [(6, 8), (13, 20)])
def test_masks_are_runs_along_columns_of_the_pixels_that_show_an_object(tmp_path, size):
    mask = FOUND.mask[0]
    large = detections.enlarged(mask, size)
    for y, x in np.ndindex(*size):
        assert large[y, x] == mask[y * 6 // size[0], x * 8 // size[1]]
    for t in (0, 1, 2, 3):  # of 3 there is none
        found, drawn, value = detections.run_lengths(large == t), [], False
        for length in found["counts"]:
            drawn += [value] * length
            value = not value
        assert found["size"] == list(size)
        np.testing.assert_array_equal(np.reshape(drawn, size, order="F"), large == t)


def test_the_file_keeps_the_rules_of_its_format(tmp_path):
    """Those of cocodataset.org, "Data format": keys, kinds, unique ids that refer to something."""
    file = json.loads((written(tmp_path) / "detections.json").read_text())
    assert {"info", "licenses", "images", "annotations", "categories"} <= set(file)
    for entries, fields in {
        "images": {"id": int, "width": int, "height": int, "file_name": str},
        "categories": {"id": int, "name": str, "supercategory": str},
        "annotations": {
            **{"id": int, "image_id": int, "category_id": int, "segmentation": dict},
            **{"area": float, "bbox": list, "iscrowd": int},
        },
    }.items():
        ids = [entry["id"] for entry in file[entries]]
        assert len(ids) == len(set(ids)) > 0
        for entry in file[entries]:
            assert all(type(entry[field]) is kind for field, kind in fields.items())
    images = {entry["id"]: entry for entry in file["images"]}
    for annotation in file["annotations"]:
        image = images[annotation["image_id"]]
        assert annotation["category_id"] in [entry["id"] for entry in file["categories"]]
        x, y, width, height = annotation["bbox"]
        assert x >= 0 and y >= 0 and width > 0 and height > 0 and annotation["iscrowd"] == 0
        assert x + width <= image["width"] and y + height <= image["height"]
        mask = annotation["segmentation"]
        assert mask["size"] == [image["height"], image["width"]]
        assert sum(mask["counts"]) == image["height"] * image["width"]
        assert annotation["area"] == sum(mask["counts"][1::2])
    names = [(entry["file_name"], entry["count"]) for entry in file["images"]]
    assert names == [("a.jpg", 2), ("a.png", 0), ("b.png", 1)]
    found = [(a["image_id"], a["bbox"], a["score"]) for a in file["annotations"]]
    assert found == [
        (1, [1, 2, 3, 3], 1.0),
        (1, [5.5, 1.25, 2, 2], 0.75),
        (3, [0, 3, 3, 3], 0.9),  # cut at the edges
    ]
    assert file["images"][0]["count_probabilities"] == [0.0, 0.25, 0.75]


def test_the_format_s_own_library_reads_the_file(tmp_path):
    """A detector that finds the truth has an average precision of 1."""
    coco = pytest.importorskip("pycocotools.coco")
    evaluation = pytest.importorskip("pycocotools.cocoeval")
    path = written(tmp_path) / "detections.json"
    truth = coco.COCO(str(path))
    assert sorted(truth.getImgIds()) == [1, 2, 3] and len(truth.getAnnIds()) == 3
    for annotation in truth.loadAnns(truth.getAnnIds()):
        assert truth.annToMask(annotation).sum() == pytest.approx(annotation["area"], abs=2)
    ours = truth.loadRes(json.loads(path.read_text())["annotations"])
    judge = evaluation.COCOeval(truth, ours, "bbox")
    judge.evaluate()
    judge.accumulate()
    judge.summarize()
    assert judge.stats[0] == pytest.approx(1)


def test_the_table_has_a_line_an_object(tmp_path):
    with (written(tmp_path) / "detections.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert Counter(row["image"] for row in rows) == {"a.jpg": 2, "a.png": 1, "b.png": 1}
    assert rows[1] == dict(
        **dict(image="a.jpg", count="2", probability="0.75", object="2", score="0.75"),
        **dict(x0="5.5", y0="1.25", x1="7.5", y1="3.25"),
    )
    assert (rows[2]["count"], rows[2]["object"], rows[2]["x0"]) == ("0", "", "")


def test_boxes_of_resized_pictures_are_in_pixels_of_their_own(tmp_path):
    # Seen at 12 x 12, they lie there with 6 x 8.
    file = json.loads((written(tmp_path, size=(12, 16)) / "detections.json").read_text())
    assert [(entry["height"], entry["width"]) for entry in file["images"]] == [(6, 8)] * 3
    assert file["annotations"][0]["bbox"] == [0.5, 1, 1.5, 1.5]


def test_pictures_show_boxes_where_they_are(tmp_path):
    out = written(tmp_path)
    names = {path.name for path in (out / "pictures").iterdir()}
    assert names == {"a.jpg.png", "a.png.png", "b.png"}  # the first two would be one
    pixels = np.asarray(Image.open(out / "pictures" / "a.jpg.png"))
    height, width, _ = pixels.shape
    assert width == 256 and height > 192  # 32 times 8 x 6, and a line of text
    coloured = (pixels[:192].max(-1) > 0) & (np.ptp(pixels[:192], axis=-1) > 20)
    first = np.zeros((192, 256), bool)
    first[64:160, 32:128] = True
    first[66:158, 34:126] = False
    assert coloured[first].all()  # the outline of (1, 2, 4, 5) at 32 times its size
    assert not coloured[170:, :].any() and not coloured[:, :30].any()


def test_a_score_is_written_where_it_is_below_one():
    image, box = np.zeros((6, 8), np.uint8), np.array([[1.0, 2, 4, 5]])
    sure, nearly, doubtful = (np.asarray(picture(image, box, [p], 1.0)) for p in (1, 0.996, 0.9))
    np.testing.assert_array_equal(sure, nearly)
    assert (doubtful[:64] != sure[:64]).any() and not sure[:64].any()  # above the box


def test_a_box_smaller_than_a_pixel_is_drawn():
    seen = np.asarray(picture(np.zeros((50, 300), np.uint8), np.full((1, 4), 30.2), [1.0], 1.0))
    rows, columns = np.nonzero(seen[:50].any(-1))
    assert 30 in rows and 30 in columns and np.ptp(rows) <= 3 and np.ptp(columns) <= 3


def test_without_pictures(tmp_path):
    assert {path.name for path in written(tmp_path, pictures=False).iterdir()} == {
        "detections.json",
        "detections.csv",
    }


def test_nothing_is_left_of_what_failed(tmp_path):
    np.save(tmp_path / "mine.npy", IMAGE)
    found = user_scenes.find(tmp_path / "mine.npy")
    with (
        pytest.raises(ValueError, match="damaged"),
        detections.writing(tmp_path / "out", found, True) as write,
    ):
        write(IMAGE[:2], FOUND)
        raise ValueError("damaged")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.npy"]
