"""What a run survives: kills at any moment, damaged checkpoints, a full disk, a read-only one."""

import os
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest

from tests.end_to_end.runs import (
    assert_same_run,
    metrics,
    run,
    run_killed,
    run_tiny,
    tiny,
)

STEPS = 80
RUN = ("overlap", "mnist3.py")
LONGER = f"--config.train.epochs={STEPS // 4}"
KILLS = 5


@pytest.fixture(scope="module")
def whole(shared, tmp_path_factory):
    """A run that nothing interrupted."""
    workdir = tmp_path_factory.mktemp("runs") / "whole"
    run_tiny(shared, *RUN, workdir, LONGER)
    return workdir


@pytest.fixture(scope="module")
def killed(shared, tmp_path_factory):
    """A run that was killed after step 24, with the checkpoints 16 and 24 at least."""
    workdir = tmp_path_factory.mktemp("runs") / "killed"
    run_killed(shared, *RUN, workdir, LONGER, once=workdir / "checkpoints" / "24")
    return workdir


def resume(shared, workdir, *arguments, **keywords):
    return run_tiny(shared, *RUN, workdir, LONGER, "--resume", *arguments, **keywords)


def checkpoints(workdir):
    """The steps that are saved."""
    folders = (workdir / "checkpoints").iterdir()
    return sorted(int(folder.name) for folder in folders if folder.name.isdigit())


def saving(workdir):
    return bool(list((workdir / "checkpoints").glob("*.orbax-checkpoint-tmp")))


def written(workdir):
    """The last step in metrics.jsonl, which may be half-way through a line."""
    file = workdir / "metrics.jsonl"
    return file.read_text().count("\n") * 4 if file.exists() else 0


def test_a_run_killed_at_random_moments_ends_where_an_uninterrupted_one_does(
    shared, whole, tmp_path
):
    """SIGKILL five times, every second time while a checkpoint is being written."""
    workdir = tmp_path / "run"
    rng = np.random.default_rng(0)
    steps = 4 * np.sort(rng.choice(np.arange(2, STEPS // 4 - 2), KILLS, replace=False))
    delays = rng.uniform(0, 0.1, KILLS)
    while_saving = 0
    for kill, (step, delay) in enumerate(zip(steps, delays, strict=True)):
        going_on = ("--resume",) if kill else ()
        process = subprocess.Popen(**tiny(shared, *RUN, workdir, LONGER, *going_on))
        waits_for_save = kill % 2 == 1
        while process.poll() is None and (
            written(workdir) < step or (waits_for_save and not saving(workdir))
        ):
            time.sleep(0.002)
        time.sleep(delay / 10 if waits_for_save else delay)
        process.kill()
        output, _ = process.communicate()
        assert process.returncode == -signal.SIGKILL, output[-3000:]
        while_saving += saving(workdir)
    assert while_saving > 0
    resume(shared, workdir)
    assert_same_run(workdir, whole, STEPS)


def test_a_run_that_is_told_to_stop_saves_and_goes_on_where_it_was(shared, whole, tmp_path):
    """A hang-up is not: whoever starts the command ignores it, as `nohup` does."""
    stopped = tmp_path / "stopped"
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # inherited
    try:
        process = subprocess.Popen(**tiny(shared, *RUN, stopped, LONGER))
    finally:
        signal.signal(signal.SIGHUP, before)
    while not written(stopped):
        assert process.poll() is None
        time.sleep(0.002)
    process.send_signal(signal.SIGHUP)
    while written(stopped) < 8:
        assert process.poll() is None
        time.sleep(0.002)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate()
    last = metrics(stopped)[-1]["step"]
    assert f"stopped by SIGTERM at step {last} of {STEPS}, which is saved" in output
    assert "--resume" in output and "Traceback" not in output and process.returncode == 1
    assert (stopped / "checkpoints" / str(last)).is_dir() and 8 <= last < STEPS
    resume(shared, stopped)
    assert_same_run(stopped, whole, STEPS)


def largest_file(folder):
    return max((f for f in folder.rglob("*") if f.is_file()), key=lambda file: file.stat().st_size)


def test_a_run_goes_on_from_the_checkpoint_before_a_damaged_one(shared, whole, killed, tmp_path):
    workdir = shutil.copytree(killed, tmp_path / "run")
    before, last = checkpoints(workdir)[-2:]
    file = largest_file(workdir / "checkpoints" / str(last))
    os.truncate(file, file.stat().st_size // 2)
    output = resume(shared, workdir)
    (line,) = (line for line in output.splitlines() if "warning: the checkpoint" in line)
    assert f"the checkpoint of step {last} in {workdir / 'checkpoints'} is damaged" in line
    assert f"the run goes on from step {before}" in line and "Traceback" not in output
    assert (workdir / "checkpoints" / f"{last}.damaged").is_dir()
    assert_same_run(workdir, whole, STEPS)


def test_a_finished_run_whose_checkpoint_is_damaged_is_not_read(shared, whole, tmp_path):
    workdir = shutil.copytree(whole, tmp_path / "run")
    (workdir / "checkpoints" / str(STEPS) / "state" / "_METADATA").unlink()
    output = run(shared, "sample", f"--workdir={workdir}", expect=1)
    assert output.startswith(f"error: the checkpoint of step {STEPS} in {workdir / 'checkpoints'}")
    assert "(state/_METADATA is missing): remove final.json beside it" in output
    assert len(output.splitlines()) == 1
    shutil.rmtree(workdir / "checkpoints" / str(STEPS))  # then the last one is another
    output = run(shared, "sample", f"--workdir={workdir}", expect=1)
    assert f"and final.json of {STEPS}: remove final.json, and train on with --resume" in output
    (workdir / "final.json").unlink()
    resume(shared, workdir)
    assert_same_run(workdir, whole, STEPS)


def run_limited(shared, size, workdir, *arguments, expect=1):
    """A run whose files may not have more than `size` bytes: more is an OSError."""
    return run_tiny(shared, *RUN, workdir, LONGER, *arguments, largest_file=size, expect=expect)


def assert_one_line(output, *parts):
    """The command ended in one line that says all, after the progress bar."""
    assert "Traceback" not in output, output[-3000:]
    *before, last = output.splitlines()
    assert last.startswith("error: ") and "go on with --resume" in last, last
    assert all(part in last for part in parts), last
    assert not any("rror" in line for line in before), output[-3000:]


FULL = {  # the largest file that there is room for, arguments
    "checkpoint": (60_000, ()),
    "metrics.jsonl": (8_000, ("--config.train.checkpoint_every=80",)),
}


@pytest.mark.parametrize("size, arguments", FULL.values(), ids=FULL.keys())
def test_a_full_disk_ends_in_one_line_and_the_run_goes_on_once_there_is_room(
    shared, whole, killed, tmp_path, size, arguments
):
    workdir = shutil.copytree(killed, tmp_path / "run")
    output = run_limited(shared, size, workdir, "--resume", *arguments)
    assert_one_line(output, str(workdir), "File too large")
    assert checkpoints(workdir) == checkpoints(killed)
    resume(shared, workdir)
    assert_same_run(workdir, whole, STEPS)


def test_a_disk_that_is_full_at_the_end_of_a_run_costs_only_its_figures(shared, whole, tmp_path):
    workdir = shutil.copytree(whole, tmp_path / "run")
    (workdir / "final.json").unlink()
    output = run_limited(shared, 30_000, workdir, "--resume", expect=0)  # a figure is larger
    assert output.count("warning: figures could not be drawn ([Errno 27] File too large") == 1
    assert_same_run(workdir, whole, STEPS)


def test_a_disk_that_is_full_from_the_start_leaves_a_folder_that_can_be_started(
    shared, whole, tmp_path
):
    # `whole` has built the scenes: it is the run's own folder that there is no room for.
    workdir = tmp_path / "run"
    output = run_limited(shared, 1_000, workdir)
    assert output.startswith(f"error: {workdir / 'config.json'} could not be written: [Errno")
    assert len(output.splitlines()) == 1
    run_tiny(shared, *RUN, workdir, LONGER)
    assert_same_run(workdir, whole, STEPS)


def test_a_read_only_run_ends_in_one_line_and_goes_on_once_it_is_writable(
    shared, whole, killed, tmp_path
):
    workdir = shutil.copytree(killed, tmp_path / "run")
    before = (workdir / "metrics.jsonl").read_text()
    workdir.chmod(0o500)
    obstacle = workdir / "metrics.jsonl.tmp"
    if os.access(workdir, os.W_OK):  # root may write everywhere, but not a folder as if a file
        obstacle.mkdir()
    output = resume(shared, workdir, expect=1)
    assert_one_line(output, str(obstacle))
    workdir.chmod(0o700)
    if obstacle.is_dir():
        obstacle.rmdir()
    assert checkpoints(workdir) == checkpoints(killed)
    assert (workdir / "metrics.jsonl").read_text() == before
    resume(shared, workdir)
    assert_same_run(workdir, whole, STEPS)


def test_a_folder_that_cannot_be_made_is_an_error_before_training(shared, tmp_path):
    (tmp_path / "file").write_text("")
    output = run_tiny(shared, *RUN, tmp_path / "file" / "run", expect=1)
    assert output.startswith("error: ") and str(tmp_path / "file") in output
    assert len(output.splitlines()) == 1
