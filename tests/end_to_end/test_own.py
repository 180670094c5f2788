"""Your own images, from a folder of pictures to boxes in a file."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from tests.end_to_end.runs import TINY, final, metrics, run

OWN = [argument for argument in TINY if "config.data" not in argument]
OWN += ["--config.train.batch_size=8", "--config.objects.size=(6,10)"]


def pictures(folder, number, shape=(24, 32)):
    """Pictures of two bright squares."""
    rng = np.random.default_rng(number)
    folder.mkdir()
    for i in range(number):
        image = np.zeros(shape, np.uint8)
        for x in (rng.integers(1, 7), rng.integers(17, 23)):
            y, side = rng.integers(1, 13), rng.integers(6, 10)
            image[y : y + side, x : x + side] = rng.integers(150, 256)
        Image.fromarray(image).save(folder / f"scene{i:02d}.png")
    return folder


@pytest.fixture(scope="module")
def trained(shared, tmp_path_factory):
    """A run's folder, what it printed, and its arguments."""
    folder = tmp_path_factory.mktemp("own")
    path, workdir = pictures(folder / "in", 40), folder / "run"
    arguments = ["--config=configs/own.py", f"--config.data.path={path}", f"--workdir={workdir}"]
    arguments += [*OWN, "--config.objects.count=2"]
    return workdir, run(shared, "overlap", *arguments), arguments


def test_a_run_says_what_it_chose_and_keeps_it(shared, trained):
    workdir, output, arguments = trained
    rows = {words[0]: words[1:] for words in map(str.split, output.splitlines()) if words}
    assert rows["model.max_objects"] == ["2", "objects.count=2"]
    assert rows["constraints.side"] == ["8.0", *"pixels, middle of objects.size".split()]
    assert rows["train.epochs"] == ["4", "as", "it", "was", "set"]
    kept = json.loads((workdir / "config.json").read_text())
    assert kept["model"]["count"] == 2 and kept["constraints"]["c_max"] == 10
    assert "counted" not in kept["constraints"]["tolerances"]
    results = final(workdir)
    assert results["images"] == 4 and np.isfinite(results["nelbo"]) and "acc" not in results
    assert {"F1", "weight_F7", "side"} < set(metrics(workdir)[0])
    again = run(shared, "overlap", *arguments, "--resume")
    assert "is finished" in again.splitlines()[-1]


def test_objects_in_new_pictures(shared, trained, tmp_path):
    new, out = pictures(tmp_path / "new", 5), tmp_path / "found"
    # One that is nearly black may be among them, also where it is a batch by itself.
    Image.fromarray(np.eye(24, 32, dtype=np.uint8)).save(new / "scene04.png")
    arguments = [f"--workdir={trained[0]}", f"--images={new}", f"--out={out}"]
    output = run(shared, "detect", *arguments, "--batch_size=2")
    assert output.splitlines()[-1] == f"Wrote {out}"
    found = json.loads((out / "detections.json").read_text())
    assert [image["count"] for image in found["images"]] == [2] * 5
    assert [a["image_id"] for a in found["annotations"]] == [i for i in range(1, 6) for _ in "ab"]
    with (out / "detections.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 10
    assert len(list((out / "pictures").iterdir())) == 5
    # The same from a file of arrays, whatever the batch; and nothing is overwritten.
    image = np.stack([np.asarray(Image.open(file)) for file in sorted(new.iterdir())])
    np.savez(tmp_path / "new.npz", image=image)
    arguments[1:] = [f"--images={tmp_path / 'new.npz'}", f"--out={tmp_path / 'again'}"]
    run(shared, "detect", *arguments, "--nopictures")
    again = json.loads((tmp_path / "again" / "detections.json").read_text())
    for one, other in zip(found["annotations"], again["annotations"], strict=True):
        assert one["bbox"] == pytest.approx(other["bbox"], abs=0.02)
    output = run(shared, "detect", *arguments, expect=1)
    assert output.startswith("error: --out=") and "is there already, and nothing is" in output


def test_pictures_of_another_size_are_refused_or_resized_when_told(shared, trained, tmp_path):
    new, out = pictures(tmp_path / "new", 2, shape=(48, 64)), tmp_path / "found"
    arguments = [f"--workdir={trained[0]}", f"--images={new}", f"--out={out}"]
    output = run(shared, "detect", *arguments, expect=1)
    (line,) = output.splitlines()
    assert "have 64 x 48 pixels, and those of the run 32 x 24: crop" in line and "--resize" in line
    run(shared, "detect", *arguments, "--resize")
    found = json.loads((out / "detections.json").read_text())
    assert [(i["width"], i["height"]) for i in found["images"]] == [(64, 48)] * 2
    # In pixels of their own: twice those of the same pictures, made as small as the run's by hand.
    (small := tmp_path / "small").mkdir()
    for file in new.iterdir():
        Image.open(file).resize((32, 24), Image.Resampling.BILINEAR).save(small / file.name)
    arguments[1:] = [f"--images={small}", f"--out={tmp_path / 'halves'}"]
    run(shared, "detect", *arguments)
    halves = json.loads((tmp_path / "halves" / "detections.json").read_text())
    for one, half in zip(found["annotations"], halves["annotations"], strict=True):
        assert one["bbox"] == pytest.approx([2 * x for x in half["bbox"]], abs=0.05)


BAD = {
    "both": (["--workdir=RUN", "--pretrained=mnist3"], "name one of --workdir and --pretrained"),
    "neither": ([], "name one of --workdir and --pretrained"),
    "no run": (["--workdir=/tmp"], "not a finished run: /tmp"),
    "name": (["--pretrained=x"], "no pretrained parameters are called 'x': there are colour"),
    "images": (["--workdir=RUN", "--images=/nowhere"], "/nowhere does not exist: set --images to"),
    "out": (["--workdir=RUN", "--out=/nowhere/x"], "--out=/nowhere/x: there is no folder /nowh"),
}


@pytest.mark.parametrize("arguments, message", BAD.values(), ids=BAD.keys())
def test_what_detect_cannot_do_is_said_in_one_line(shared, trained, tmp_path, arguments, message):
    given = [f"--images={trained[0].parent / 'in'}", f"--out={tmp_path / 'found'}", *arguments]
    given = [argument.replace("RUN", str(trained[0])) for argument in given]
    (line,) = run(shared, "detect", *given, expect=1).splitlines()
    assert line.startswith("error: ") and message in line
    assert not list(tmp_path.iterdir())


def test_broken_and_coloured_pictures_leave_nothing_behind(shared, trained, tmp_path):
    new, out = pictures(tmp_path / "new", 3), tmp_path / "found"
    last = new / "scene02.png"
    last.write_bytes(last.read_bytes()[:-30])
    arguments = [f"--workdir={trained[0]}", f"--images={new}", f"--out={out}", "--batch_size=2"]
    output = run(shared, "detect", *arguments, expect=1)
    assert f"error: {last} cannot be read" in output.splitlines()[-1]
    Image.fromarray(np.full((24, 32, 3), (9, 99, 200), np.uint8)).save(last)
    (line,) = run(shared, "detect", *arguments, expect=1).splitlines()
    assert "are in colour, and the run's are grey: save them in grey" in line
    assert [path.name for path in tmp_path.iterdir()] == ["new"]
