"""Real runs of `python -m experiments.overlap`, tiny, and of commands that look back at them."""

import json
import shutil
import warnings

import numpy as np
import pytest

import asr_jax
from data_gen import user_scenes
from tests.end_to_end.runs import final, metrics, pictures, run, run_tiny, scalars


def overlap(shared, workdir, *arguments, config="mnist3.py", **keywords):
    return run_tiny(shared, "overlap", config, workdir, *arguments, **keywords)


@pytest.fixture(scope="module")
def finished(shared, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "asr"
    return workdir, overlap(shared, workdir)


@pytest.fixture(scope="module")
def air(shared, tmp_path_factory):
    """AIR, and its steps in one dispatch."""
    workdir = tmp_path_factory.mktemp("runs") / "air"
    overlap(shared, workdir, "--config.train.log_every=50", config="mnist3.py:air")
    return workdir


def test_a_run_leaves_what_it_promises(finished):
    workdir, output = finished
    final = json.loads((workdir / "final.json").read_text())
    assert final["method"] == "asr" and final["steps"] == 16 and final["images"] == 20
    assert final["seconds"] >= final["compile_seconds"] > 0 and final["steps_per_second"] > 0
    assert "embedded" in final["data"] and final["seed"] == 0 and final["acc"] == 1.0
    for name in ("nelbo", "se", "acc", "miou", "penalty", *(f"F{i}" for i in range(1, 8))):
        assert np.isfinite(final[name]) and final[f"{name}_stderr"] >= 0
    assert "counts" not in final  # the count is known: there is nothing to say about each
    assert final["iwae"] > -final["nelbo"] and final["iwae_samples"] == 2
    dreams, scenes = final["generation"]["model"], final["generation"]["data"]
    assert dreams["images"] == 20 and scenes["images"] == 20 and dreams["count_tv"] == 0.0
    assert scenes["tidy"] == 1.0 and 0 <= dreams["tidy"] <= dreams["inside"] <= 1
    assert final["tidy"] == dreams["tidy"] and final["tidy_stderr"] < 0.5 / np.sqrt(20) + 1e-9
    assert dreams["nearest"] > 0 and np.isfinite([dreams[f"F{i}"] for i in range(1, 8)]).all()
    assert "samples: " in output and f"{final['iwae']:.3f} ±" in output
    assert [row["step"] for row in metrics(workdir)] == [4, 8, 12, 16]
    for name in ("reconstructions", "samples", "learning_curves"):
        assert (workdir / "figures" / f"{name}.png").stat().st_size > 5_000
    assert not (workdir / "figures" / "counts.png").exists()
    assert list((workdir / "tensorboard").glob("events*"))
    assert (workdir / "checkpoints" / "16").is_dir()
    assert (
        "warning" not in output
        and "337.3 ± 55.1" in output
        and "mnist3-asr, 20 test scenes" in output
    )
    assert "embedded MNIST subset" in output and "steps/s" in output


def test_held_out_scenes_are_looked_at_while_a_run_trains(finished):
    workdir, _ = finished
    columns = [f"held_out_{name}" for name in ("nelbo", "se", "acc", "miou")]
    looks = {row["step"]: row for row in metrics(workdir) if set(row) & set(columns)}
    assert list(looks) == [8, 16]  # every 8 steps, and the last is one of them
    values, images = scalars(workdir), pictures(workdir)
    for step, row in looks.items():
        assert all(np.isfinite(row[name]) for name in columns)
        shown = values["held_out/nelbo", step], values["held_out/se", step]
        assert shown == pytest.approx((row["held_out_nelbo"], row["held_out_se"]))
        assert values["train/nelbo", step] == pytest.approx(row["nelbo"])
        image = images["held_out/reconstructions", step]
        assert image.encoded_image_string.startswith(b"\x89PNG") and image.width > 100
    assert len(images) == 2
    # The last look is at the parameters that are evaluated: at half of the scenes, other noise.
    assert looks[16]["held_out_se"] == pytest.approx(final(workdir)["se"], rel=0.3)


def test_a_run_of_one_dispatch_has_a_time_and_no_rate(air):
    final = json.loads((air / "final.json").read_text())
    assert final["seconds"] == final["compile_seconds"] > 0
    assert final["steps_per_second"] is None
    (row,) = metrics(air)
    assert row["step"] == 16 and np.isfinite(row["held_out_nelbo"])  # looked at in the end


def test_the_same_command_again_is_refused_and_resume_finds_it_finished(shared, finished):
    workdir, _ = finished
    before = (workdir / "metrics.jsonl").read_text()
    assert "pass --resume" in overlap(shared, workdir, expect=1)
    overlap(shared, workdir, "--resume")
    assert (workdir / "metrics.jsonl").read_text() == before


def test_runs_are_compared_side_by_side(shared, finished, tmp_path):
    other = tmp_path / "other"
    overlap(shared, other, "--config.seed=1")
    out = tmp_path / "compare.png"
    output = run(shared, "compare", finished[0], other, f"--out={out}")
    for workdir in (finished[0], other):
        assert workdir.name in output and f"{final(workdir)['nelbo']:.3f} ±" in output
    assert out.stat().st_size > 5_000
    assert (tmp_path / "compare-samples.png").stat().st_size > 5_000
    output = run(shared, "compare", tmp_path, other, f"--out={out}", expect=1)
    assert "not a finished run" in output and "Traceback" not in output


def test_a_finished_run_is_measured_again_to_the_same_numbers(shared, finished):
    workdir, _ = finished
    before = final(workdir)
    (workdir / "final.json").write_text(json.dumps(before | {"nelbo": 0.0, "generation": {}}))
    output = run(shared, "evaluate", workdir)
    assert final(workdir) == before and f"{before['nelbo']:.3f} ±" in output


def test_refined_boxes_are_measured_beside_the_amortised_ones(shared, finished):
    workdir, _ = finished
    before = final(workdir)
    output = run(shared, "evaluate", "--refine=2", workdir)
    after = final(workdir)
    (workdir / "final.json").write_text(json.dumps(before))
    assert after["refine_steps"] == 2 and after["nelbo"] == pytest.approx(before["nelbo"])
    for name in ("nelbo", "se", "miou", "F1"):
        assert np.isfinite(after[f"{name}_refined"]) and f"{name}_refined_stderr" in after
    assert "nelbo_refined" in output and f"{after['nelbo_refined']:.3f} ±" in output


def test_exported_parameters_are_measured_to_what_is_on_record(shared, finished, tmp_path):
    where = ("--folder", tmp_path)
    output = run(shared, "export", "--workdir", finished[0], "--name=tiny", *where)
    assert "as kept" in output and (tmp_path / "tiny.npz").stat().st_size < 1e6
    record = asr_jax.load_pretrained("tiny", tmp_path).final
    full = final(finished[0])
    assert record["nelbo"] == pytest.approx(full["nelbo"], rel=1e-2)
    assert record["nelbo"] != full["nelbo"]  # that of the rounded parameters
    output = run(shared, "evaluate", "--pretrained=tiny", *where)
    measured, on_record = output.splitlines()[-2:]
    assert measured.startswith("measured") and on_record.startswith("on record")
    assert measured.split()[1:] == on_record.split()[2:]
    output = run(shared, "evaluate", "--pretrained=huge", *where, expect=1)
    assert output == "error: no pretrained parameters are called 'huge': there are tiny\n"


def test_scenes_are_sampled_from_a_finished_run(shared, finished, tmp_path):
    workdir, _ = finished
    arguments = (f"--workdir={workdir}", "--num=6")
    run(shared, "sample", *arguments, f"--out={tmp_path / 'grid.png'}")
    assert (tmp_path / "grid.png").stat().st_size > 5_000
    scenes = [tmp_path / f"{seed}.npz" for seed in (0, 0, 1)]
    for seed, file in zip((0, 0, 1), scenes, strict=True):
        run(shared, "sample", *arguments, f"--seed={seed}", f"--out={file}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an untrained prior dreams of boxes beyond the edges
        first, again, other = (user_scenes.load(file) for file in scenes)
    assert first.image.shape == (6, 32, 32) and first.count.tolist() == [2] * 6
    np.testing.assert_array_equal(first.image, again.image)
    assert (first.image != other.image).any()


def test_a_checkpoint_without_the_prior_that_its_config_names_is_refused(shared, air, tmp_path):
    workdir = shutil.copytree(air, tmp_path / "run")
    config = json.loads((workdir / "config.json").read_text())
    config["model"]["prior"] = "learned"
    (workdir / "config.json").write_text(json.dumps(config))
    output = run(shared, "sample", f"--workdir={workdir}", f"--out={tmp_path / 'x.png'}", expect=1)
    assert "belongs to another model: params/prior" in output and "Traceback" not in output


@pytest.mark.parametrize("method", ["air", "pprior", "asr"])
def test_the_other_methods_run(shared, air, tmp_path, method):
    workdir = air if method == "air" else tmp_path / "run"
    if method != "air":
        overlap(shared, workdir, config=f"mnist3.py:{method}")
    results = final(workdir)
    assert np.isfinite(results["nelbo"]) and np.isfinite(results["F1"])
    assert (results["penalty"] > 0) == (method == "asr")


def test_a_loss_that_is_not_finite_stops_the_run_and_saves_the_last_good_state(shared, tmp_path):
    # A gradient that is infinite once its ramp begins, in the third of four dispatches.
    arguments = (
        "--config.constraints.weights.tight=9e37",
        "--config.constraints.ramps.tight=(0.5,0.9)",
    )
    workdir = tmp_path / "nan"
    output = overlap(shared, workdir, *arguments, config="mnist3.py:asr,fixed", expect=1)
    assert "is not finite at step 10; the state after step 8 is saved" in output
    assert "lower config.optimizer.learning_rate" in output
    saved = [int(folder.name) for folder in (workdir / "checkpoints").iterdir()]
    assert max(saved) == metrics(workdir)[-1]["step"] == 8
    # To go on with it would end the same way: it says so at once.
    arguments += ("--resume",)
    again = overlap(shared, workdir, *arguments, config="mnist3.py:asr,fixed", expect=1)
    assert again.splitlines()[-1] == output.splitlines()[-1] and "steps/s" not in again


def test_images_of_your_own(shared, tmp_path):
    """Without counts and boxes there is no accuracy and no IoU, and everything else."""
    rng = np.random.default_rng(0)
    image = rng.random((60, 24, 32)) * (rng.random((60, 24, 32)) < 0.2)
    np.savez(tmp_path / "mine.npz", image=image.astype(np.float32))
    data = (f"--config.data.path={tmp_path / 'mine.npz'}", "--config.data.test_size=10")
    output = overlap(shared, tmp_path / "run", *data, "--config.evaluate.iwae_samples=0")
    results = final(tmp_path / "run")
    assert np.isfinite(results["nelbo"]) and "miou" not in results and "acc" not in results
    assert {"held_out_nelbo", "held_out_se"} < set(metrics(tmp_path / "run")[-1])
    assert f"{tmp_path / 'mine.npz'}: data.objects, data.counts, data.canvas, data.lay" in output


def assert_refused(output, message):
    """One line that says what is wrong."""
    (line,) = output.splitlines()
    assert line.startswith("error: ") and message in line


BAD = {
    "method": ("mnist3.py:vae", (), "unknown method or preset 'vae': methods are asr, air, pprior"),
    "file": ("nosuch.py", (), "configs/nosuch.py"),
    "field": ("", ["--config.model.lstn=3"], "has no field 'lstn': did you mean 'lstm'?"),
    "epoch": ("", ["--config.train.epoch=3"], "has no field 'epoch': did you mean 'epochs'?"),
    "type": ("", ["--config.train.epochs=many"], "--config.train.epochs"),
    "steps": ("", ["--config.model.max_objects=1", "--config.model.count=1"], "K must be at least"),
    "batch": ("", ["--config.train.batch_size=100"], "batch_size=100 is larger than the 32 train"),
    "encoder": ("", ["--config.model.encoder=x"], "encoder must be one of attention, patches, raw"),
    "npz": ("", ["--config.data.path=nothing.npz"], "nothing.npz does not exist"),
    "idx": ("", ["--config.data.digits_dir=/nowhere"], "must hold train-images-idx3-ubyte"),
    "scenes": ("", ["--config.data.test_size=1"], "at least 2 test scenes, got 1"),
    "workdir": ("", ["--workdir=gs://bucket/x"], "--workdir=gs://bucket/x: only paths of this mac"),
    "data_dir": ("", ["--config.data.data_dir=gs://x"], "config.data.data_dir=gs://x: only paths"),
}


@pytest.mark.parametrize("config, arguments, message", BAD.values(), ids=BAD.keys())
def test_bad_input_ends_in_one_clear_error_before_anything_is_written(
    shared, tmp_path, config, arguments, message
):
    config = config or "mnist3.py"
    output = overlap(shared, tmp_path / "run", *arguments, config=config, expect=1)
    *bars, last = output.splitlines()  # scenes are built with a bar each
    assert_refused(last, message)
    assert all("scenes" in bar for bar in bars if bar)
    assert not list(tmp_path.iterdir())


BEFORE = {  # arguments of commands that would take minutes to say it
    "compare": ("compare", ["--out=/nowhere/x.png", "RUN"], "there is no folder /nowhere"),
    "sample": ("sample", ["--workdir=RUN", "--out=/nowhere/x.npz"], "there is no folder /nowhere"),
    "export": ("export", ["--workdir=RUN", "--name=new", "--folder=/nowhere"], "no folder /nowhe"),
    "name": ("export", ["--workdir=RUN", "--name=a/b"], "no folder"),
    "ending": ("sample", ["--workdir=RUN", "--out=x.txt"], "one of .png, .pdf, .svg, .npz, got x"),
    "scenes": ("compare", ["--scenes=0", "RUN"], "--scenes=0"),
    "num": ("sample", ["--workdir=RUN", "--num=-1"], "--num=-1"),
    "no run": ("sample", ["--workdir=/tmp"], "not a finished run: /tmp"),
    "nothing": ("compare", [], "not a finished run: (none given)"),
    "page": ("tables", ["--collect", "--out=/nowhere/R.md"], "--out=/nowhere/R.md: there is no"),
}


@pytest.mark.parametrize("module, arguments, message", BEFORE.values(), ids=BEFORE.keys())
def test_what_cannot_be_written_or_read_is_said_before_any_work(
    shared, finished, module, arguments, message
):
    workdir = str(finished[0])
    output = run(shared, module, *(a.replace("RUN", workdir) for a in arguments), expect=1)
    assert_refused(output, message)
