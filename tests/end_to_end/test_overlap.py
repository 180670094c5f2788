"""Real runs of `python -m experiments.overlap`, tiny, each in a process of its own."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

ROOT = Path(__file__).parents[2]
TINY = (
    "--config.data.train_size=64",
    "--config.data.test_size=20",
    "--config.data.digits_dir=embedded",
    "--config.train.batch_size=16",
    "--config.train.epochs=4",
    "--config.train.log_every=4",
    "--config.train.checkpoint_every=8",
    "--config.model.lstm=16",
    "--config.model.hidden=(32,16)",
)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return tmp_path_factory.mktemp("scenes")


def command(scenes, *arguments):
    environment = os.environ | {"ASR_DATA_DIR": str(scenes), "JAX_PLATFORMS": "cpu"}
    arguments = [sys.executable, "-m", "experiments.overlap", *arguments]
    return dict(
        args=arguments,
        cwd=ROOT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def run(scenes, *arguments, expect=0):
    done = subprocess.run(**command(scenes, *arguments))
    assert (done.returncode == 0) == (expect == 0), done.stdout[-3000:]
    return done.stdout


def run_tiny(scenes, workdir, *arguments, config="configs/mnist3.py", **keywords):
    return run(scenes, f"--config={config}", f"--workdir={workdir}", *TINY, *arguments, **keywords)


@pytest.fixture(scope="module")
def finished(scenes, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "asr"
    return workdir, run_tiny(scenes, workdir)


def test_a_run_leaves_what_it_promises(finished):
    workdir, output = finished
    final = json.loads((workdir / "final.json").read_text())
    assert final["method"] == "asr" and final["steps"] == 16 and final["images"] == 20
    assert final["seconds"] >= final["compile_seconds"] > 0 and final["steps_per_second"] > 0
    assert "embedded" in final["data"] and final["seed"] == 0 and final["acc"] == 1.0
    for name in ("nelbo", "se", "acc", "miou", "penalty", *(f"F{i}" for i in range(1, 8))):
        assert np.isfinite(final[name]) and final[f"{name}_stderr"] >= 0
    assert all(not isinstance(value, dict | list) for value in final.values())  # flat
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [4, 8, 12, 16]
    for name in ("reconstructions", "samples", "learning_curves"):
        assert (workdir / "figures" / f"{name}.png").stat().st_size > 5_000
    assert list((workdir / "tensorboard").glob("events*"))
    assert (workdir / "checkpoints" / "16").is_dir()
    assert "337.3 ± 55.1" in output and "mnist3-asr, 20 test scenes" in output
    assert "embedded MNIST subset" in output and "steps/s" in output


def test_a_run_of_one_dispatch_has_a_time_and_no_rate(scenes, tmp_path):
    run_tiny(scenes, tmp_path / "run", "--config.train.log_every=50")
    final = json.loads((tmp_path / "run" / "final.json").read_text())
    assert final["seconds"] == final["compile_seconds"] > 0
    assert final["steps_per_second"] is None


def test_the_same_command_again_is_refused_and_resume_finds_it_finished(scenes, finished):
    workdir, _ = finished
    before = (workdir / "metrics.jsonl").read_text()
    assert "pass --resume" in run_tiny(scenes, workdir, expect=1)
    run_tiny(scenes, workdir, "--resume")
    assert (workdir / "metrics.jsonl").read_text() == before


LONGER = ("--config.train.epochs=100", "--config.train.checkpoint_every=40")  # 400 steps


def test_a_killed_run_ends_where_an_uninterrupted_one_does(scenes, tmp_path):
    """SIGKILL in the middle, then --resume: the same metrics and parameters, bit for bit."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    run_tiny(scenes, whole, *LONGER)
    arguments = ("--config=configs/mnist3.py", f"--workdir={killed}", *TINY, *LONGER)
    process = subprocess.Popen(**command(scenes, *arguments))
    while not (killed / "checkpoints" / "40").exists() and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    process.communicate()
    assert (killed / "checkpoints" / "40").exists() and not (
        killed / "checkpoints" / "400"
    ).exists()
    run_tiny(scenes, killed, *LONGER, "--resume")
    assert (killed / "metrics.jsonl").read_text() == (whole / "metrics.jsonl").read_text()
    a, b = (state_of(folder / "checkpoints" / "400") for folder in (killed, whole))
    assert len(a) > 50 and all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
    timings = ("seconds", "steps_per_second", "compile_seconds")
    a, b = (json.loads((folder / "final.json").read_text()) for folder in (killed, whole))
    assert {k: a[k] for k in a if k not in timings} == {k: b[k] for k in b if k not in timings}


def state_of(checkpoint):
    """The arrays of a checkpoint as they lie on disk, read by orbax alone."""
    tree = ocp.StandardCheckpointer().restore(checkpoint / "state")
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree) if not is_key(leaf)]


def is_key(leaf):
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def test_runs_are_compared_side_by_side(scenes, finished, tmp_path):
    other = tmp_path / "seed1"
    run_tiny(scenes, other, "--config.seed=1")
    out = tmp_path / "compare.png"
    arguments = command(scenes, str(finished[0]), str(other), f"--out={out}")
    arguments["args"][2] = "experiments.compare"
    done = subprocess.run(**arguments)
    assert done.returncode == 0, done.stdout
    for workdir in (finished[0], other):
        nelbo = json.loads((workdir / "final.json").read_text())["nelbo"]
        assert f"{workdir.name}" in done.stdout and f"{nelbo:.3f} ±" in done.stdout
    assert out.stat().st_size > 5_000
    arguments["args"][3] = str(tmp_path)
    done = subprocess.run(**arguments)
    assert done.returncode == 1 and "not a finished run" in done.stdout


def test_a_loss_that_is_not_finite_stops_the_run_and_saves_the_last_good_state(scenes, tmp_path):
    output = run_tiny(
        scenes,
        tmp_path / "nan",
        "--config.optimizer.learning_rate=1e30",
        "--config.optimizer.clip=0.0",
        "--config.optimizer.warmup=5",
        expect=1,
    )
    assert "is not finite at step" in output and "lower config.optimizer.learning_rate" in output
    saved = [int(folder.name) for folder in (tmp_path / "nan" / "checkpoints").iterdir()]
    assert f"the state after step {max(saved)} is saved" in output


@pytest.mark.parametrize("method", ["air", "pprior", "asr,tight"])
def test_the_other_methods_run(scenes, tmp_path, method):
    run_tiny(scenes, tmp_path / "run", config=f"configs/mnist3.py:{method}")
    final = json.loads((tmp_path / "run" / "final.json").read_text())
    assert np.isfinite(final["nelbo"]) and np.isfinite(final["F1"])
    assert (final["penalty"] > 0) == (method == "asr,tight")


def test_images_of_your_own(scenes, tmp_path):
    """Without counts and boxes there is no accuracy and no IoU, and everything else."""
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "mine.npz", image=rng.random((60, 24, 32)).astype(np.float32))
    run_tiny(
        scenes,
        tmp_path / "run",
        f"--config.data.path={tmp_path / 'mine.npz'}",
        "--config.data.test_size=10",
    )
    final = json.loads((tmp_path / "run" / "final.json").read_text())
    assert np.isfinite(final["nelbo"]) and "miou" not in final and "acc" not in final


FLAGS = ("unknown method", "lstn")
BAD = {
    "method": (["--config=configs/mnist3.py:vae"], "unknown method or preset 'vae'"),
    "steps": (["--config.model.max_steps=2", "--config.model.count=2"], "K must be at least"),
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
    "one image": (["--config.data.test_size=1"], "at least 2 test scenes, got 1"),
}


@pytest.mark.parametrize("arguments, message", BAD.values(), ids=BAD.keys())
def test_bad_input_ends_in_one_clear_error_before_anything_is_written(
    scenes, tmp_path, arguments, message
):
    output = run_tiny(scenes, tmp_path / "run", *arguments, expect=1)
    assert message in output
    if not message.startswith(FLAGS):  # absl prints a traceback for those before the message
        assert "Traceback" not in output
    assert not (tmp_path / "run").exists()
