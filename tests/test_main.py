"""The frame of the commands: what is wrong is one line, and what is printed ends nothing."""

import errno
import gc
import io
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from absl import logging

from data_gen import command_line
from experiments.run import main as frame

ROOT = Path(__file__).parents[1]


class Raises:
    """Raises an error where nobody can catch it: when it is forgotten."""

    def __init__(self, message):
        self.message = message

    def __del__(self):
        raise RuntimeError(self.message)


async def save():
    """What orbax leaves behind, not begun, when a save fails."""


def test_what_follows_a_failed_save_is_not_said_and_all_else_is(monkeypatch):
    said = []
    monkeypatch.setattr(sys, "unraisablehook", lambda about: said.append(str(about.exc_value)))
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        frame._quiet_orbax()
        save()
        Raises("Event loop is closed")
        Raises("another error")
        warnings.warn("another warning", RuntimeWarning, stacklevel=1)
        gc.collect()
    assert said == ["another error"]
    assert [str(warning.message) for warning in warned] == ["another warning"]


def test_orbax_logs_nothing_and_a_warning_of_ours_is_shown(monkeypatch, caplog):
    """Such as that TFDS could not prepare mnist, and the embedded digits are used instead."""
    logger = logging.get_absl_logger()
    monkeypatch.setattr(logger, "filters", list(logger.filters))
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    frame._quiet_orbax()
    logger.handle(logger.makeRecord("absl", 40, "/site/orbax/save.py", 1, "full", (), None))
    logging.warning("TFDS could not prepare mnist")
    assert [record.message for record in caplog.records] == ["TFDS could not prepare mnist"]


class Closed(io.TextIOBase):
    """A stream whose reader has gone."""

    def __init__(self, code):
        self.code, (self._read, self._number) = code, os.pipe()

    def write(self, text):
        raise OSError(self.code, os.strerror(self.code))

    def fileno(self):
        return self._number


@pytest.mark.parametrize("code", [errno.EPIPE, errno.ENOSPC])
def test_a_stream_that_nobody_reads_or_that_is_full_ends_nothing(code):
    closed = Closed(code)
    stream = frame._Tolerant(closed)
    assert stream.write("a line\n") == 7
    print("another", file=stream, flush=True)
    os.write(closed.fileno(), b"and so on")  # to nowhere: not EPIPE


@pytest.mark.parametrize(
    "said, line",
    [
        (ValueError("a\n  b"), "a b"),
        (ValueError("Traceback (most recent call last):\n  x\nValueError: why"), "why"),
        (
            OSError("Failed loading config file c\n  [Errno 2] No such: 'c.py'"),
            "--config: No such: 'c.py'",
        ),
    ],
)
def test_an_error_is_one_line(said, line):
    assert command_line.line(said) == line


def command_of(main, arguments, monkeypatch, **keywords):
    """What a command ends with."""
    monkeypatch.setattr("sys.argv", ["command", *arguments])
    with pytest.raises(SystemExit) as ended:
        command_line.run(main, **keywords)
    return ended.value.code


def test_words_that_nobody_looks_at_are_refused(monkeypatch):
    seen = []
    message = command_of(seen.append, ["3)"], monkeypatch)
    assert message.startswith("error: '3)' is no flag, and would not be looked at") and not seen
    assert command_of(seen.append, ["a", "b"], monkeypatch, words=True) in (None, 0)
    assert seen == [["command", "a", "b"]]


@pytest.mark.parametrize("second", ["(3,4)", "3"])
def test_a_tuple_that_is_given_twice_is_refused(second):
    given = ["command", "--config.counts=(1,2)", f"--config.counts={second}"]
    with pytest.raises(SystemExit, match=r"config.counts is given twice, \(1,2\) and "):
        command_line.parse(given)


ENVIRONMENTS = {  # -> the only line that a command ends with
    "JAX_PLATFORMS=cuda": "JAX finds no device for JAX_PLATFORMS='cuda'",
    "SLURM_STEP_NUM_TASKS=abc": "SLURM_STEP_NUM_TASKS must be a whole number, got 'abc'",
}


@pytest.mark.parametrize("setting, message", ENVIRONMENTS.items())
def test_an_environment_without_devices_or_processes_is_one_line_before_any_work(
    tmp_path, setting, message
):
    """In a notebook's environment, whose backend of matplotlib the commands do not need."""
    notebook = {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}
    done = subprocess.run(
        [sys.executable, "-m", "experiments.overlap", "--config=configs/mnist3.py"],
        cwd=ROOT,
        env=os.environ | {"ASR_DATA_DIR": str(tmp_path)} | notebook | dict([setting.split("=")]),
        text=True,
        capture_output=True,
    )
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("error: ") and message in line and done.returncode == 1
    assert done.stdout == "" and not list(tmp_path.iterdir())  # no scenes were built
