"""Real runs of `python -m experiments.overlap`, tiny, each in a process of its own."""

import json
import signal
import subprocess
import time

import numpy as np
import pytest

import asr_jax
from data_gen import user_scenes
from tests.end_to_end.runs import (
    assert_same_run,
    final,
    metrics,
    run,
    run_tiny,
    tiny,
)


def overlap(shared, workdir, *arguments, config="mnist3.py", **keywords):
    return run_tiny(shared, "overlap", config, workdir, *arguments, **keywords)


@pytest.fixture(scope="module")
def finished(shared, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "asr"
    return workdir, overlap(shared, workdir)


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
    assert "337.3 ± 55.1" in output and "mnist3-asr, 20 test scenes" in output
    assert "embedded MNIST subset" in output and "steps/s" in output


def test_a_run_of_one_dispatch_has_a_time_and_no_rate(shared, tmp_path):
    overlap(shared, tmp_path / "run", "--config.train.log_every=50")
    final = json.loads((tmp_path / "run" / "final.json").read_text())
    assert final["seconds"] == final["compile_seconds"] > 0
    assert final["steps_per_second"] is None


def test_the_same_command_again_is_refused_and_resume_finds_it_finished(shared, finished):
    workdir, _ = finished
    before = (workdir / "metrics.jsonl").read_text()
    assert "pass --resume" in overlap(shared, workdir, expect=1)
    overlap(shared, workdir, "--resume")
    assert (workdir / "metrics.jsonl").read_text() == before


LONGER = "--config.train.epochs=40"  # 160 steps


@pytest.fixture(scope="module")
def whole(shared, tmp_path_factory):
    """A longer run that nothing interrupted."""
    workdir = tmp_path_factory.mktemp("runs") / "whole"
    overlap(shared, workdir, LONGER)
    return workdir


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_told_to_stop_saves_and_goes_on_where_it_was(shared, whole, tmp_path, number):
    stopped = tmp_path / "stopped"
    process = subprocess.Popen(**tiny(shared, "overlap", "mnist3.py", stopped, LONGER))
    while not (stopped / "metrics.jsonl").exists() or not metrics(stopped):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(number)
    output, _ = process.communicate()
    last = metrics(stopped)[-1]["step"]
    assert f"stopped by {number.name} at step {last} of 160, which is saved" in output
    assert "--resume" in output and "Traceback" not in output and process.returncode == 1
    assert (stopped / "checkpoints" / str(last)).is_dir() and last < 160
    overlap(shared, stopped, LONGER, "--resume")
    assert_same_run(stopped, whole, 160)


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
    first, again, other = (user_scenes.load_npz(str(file)) for file in scenes)
    assert first.image.shape == (6, 50, 50, 1) and first.count.tolist() == [3] * 6
    np.testing.assert_array_equal(first.image, again.image)
    assert (first.image != other.image).any()


def test_a_checkpoint_without_the_prior_that_its_config_names_is_refused(shared, tmp_path):
    workdir = tmp_path / "run"
    overlap(shared, workdir, config="mnist3.py:air")
    config = json.loads((workdir / "config.json").read_text())
    config["model"]["prior"] = "learned"
    (workdir / "config.json").write_text(json.dumps(config))
    output = run(shared, "sample", f"--workdir={workdir}", expect=1)
    assert "belongs to another model: params/prior" in output and "Traceback" not in output
    output = run(shared, "sample", f"--workdir={tmp_path}", expect=1)
    assert "not a finished run" in output and "Traceback" not in output
    output = run(shared, "sample", f"--workdir={workdir}", "--out=samples.txt", expect=1)
    assert "--out must end in one of .png, .pdf, .svg, .npz, got samples.txt" in output


def test_a_loss_that_is_not_finite_stops_the_run_and_saves_the_last_good_state(shared, tmp_path):
    arguments = (
        "--config.optimizer.learning_rate=1e30",
        "--config.optimizer.clip=0.0",
        "--config.optimizer.warmup=5",
    )
    workdir = tmp_path / "nan"
    output = overlap(shared, workdir, *arguments, expect=1)
    assert "is not finite at step" in output and "lower config.optimizer.learning_rate" in output
    saved = [int(folder.name) for folder in (workdir / "checkpoints").iterdir()]
    assert f"the state after step {max(saved)} is saved" in output
    # To go on with it would end the same way: it says so at once.
    again = overlap(shared, workdir, *arguments, "--resume", expect=1)
    assert again.splitlines()[-1] == output.splitlines()[-1] and "steps/s" not in again


@pytest.mark.parametrize("method", ["air", "pprior", "asr,tight"])
def test_the_other_methods_run(shared, tmp_path, method):
    overlap(shared, tmp_path / "run", config=f"mnist3.py:{method}")
    results = final(tmp_path / "run")
    assert np.isfinite(results["nelbo"]) and np.isfinite(results["F1"])
    assert (results["penalty"] > 0) == (method == "asr,tight")


def test_images_of_your_own(shared, tmp_path):
    """Without counts and boxes there is no accuracy and no IoU, and everything else."""
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "mine.npz", image=rng.random((60, 24, 32)).astype(np.float32))
    data = (f"--config.data.path={tmp_path / 'mine.npz'}", "--config.data.test_size=10")
    overlap(shared, tmp_path / "run", *data)
    results = final(tmp_path / "run")
    assert np.isfinite(results["nelbo"]) and "miou" not in results and "acc" not in results


FLAGS = ("unknown method", "lstn")
BAD = {
    "method": (["--config=configs/mnist3.py:vae"], "unknown method or preset 'vae'"),
    "steps": (["--config.model.max_objects=2", "--config.model.count=2"], "K must be at least"),
    "count": (["--config.model.count=4"], "config.model.count=4 says that every scene has 4"),
    "batch": (["--config.train.batch_size=100"], "train.batch_size=100 is larger than the 64"),
    "encoder": (["--config.model.encoder=conv"], "model.encoder must be one of patches, raw"),
    "npz": (["--config.data.path=nothing.npz"], "nothing.npz does not exist"),
    "idx": (["--config.data.digits_dir=/nowhere"], "must hold train-images-idx3-ubyte"),
    "split": (["--config.data.split=dev"], "data.split must be test or validation"),
    "layout": (["--config.data.layout=grid"], "layout must be one of"),
    "field": (["--config.model.lstn=3"], "lstn"),
    "schedule": (["--config.optimizer.schedule=step"], "optimizer.schedule must be one of"),
    "epochs": (["--config.train.epochs=0"], "train.epochs must be at least 1, got 0"),
    "parallel": (["--config.train.parallel=mpi"], "parallel must be one of auto, pmap"),
    "objects": (["--config.data.objects=cars"], "data.objects must be one of mnist, dsprites"),
    "scale": (["--config.data.scale=0.0"], "scale must be above 0, got 0.0"),
    "samples": (["--config.evaluate.generated=-1"], "evaluate.generated must be at least 0"),
    "one image": (["--config.data.test_size=1"], "at least 2 test scenes, got 1"),
}


@pytest.mark.parametrize("arguments, message", BAD.values(), ids=BAD.keys())
def test_bad_input_ends_in_one_clear_error_before_anything_is_written(
    shared, tmp_path, arguments, message
):
    output = overlap(shared, tmp_path / "run", *arguments, expect=1)
    assert message in output
    if not message.startswith(FLAGS):  # absl prints a traceback for those before the message
        assert "Traceback" not in output
    assert not (tmp_path / "run").exists()
