"""The frame of every command: flags, compiled programs kept, errors in one line."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator

from absl import flags, logging

from asr_jax import processes
from data_gen import command_line
from experiments.run import jax_settings

TRACEBACK = flags.DEFINE_bool("traceback", False, "Shows where an error was raised.")


class Stopped(Exception):
    """A signal ended the run early; its state is saved."""


def main(command: Callable[[list[str]], None], words: bool = False) -> None:
    """Runs a command; with `words`, of arguments that are no flags.

    What it refuses, a ValueError or OSError, ends it in one line; so does a loss that is not
    finite. What cannot be printed, or is printed to a pipe that has closed, ends nothing.
    """
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")
    sys.stdout, sys.stderr = _Tolerant(sys.stdout), _Tolerant(sys.stderr)
    said = set()  # images are looked at more than once, and what is odd is said once

    def show(message, *_):
        if str(message) not in said:
            said.add(str(message))
            print(f"warning: {message}", file=sys.stderr)

    warnings.showwarning = show
    _quiet_orbax()
    jax_settings.keep_programs()
    command_line.run(command, _frame, words)


@contextlib.contextmanager
def _frame() -> Iterator[None]:
    """What a command may raise beside what it refuses."""
    try:
        yield
    except Stopped as stopped:
        _end(str(stopped))
    except command_line.REFUSED as error:
        if TRACEBACK.value:
            traceback.print_exc()
        _end(f"error: {command_line.line(error)}")
    except (RuntimeError, AssertionError) as error:
        *_, (frame, _) = traceback.walk_tb(error.__traceback__)
        if TRACEBACK.value or not frame.f_code.co_filename.endswith("xla_bridge.py"):
            raise
        wanted, said = os.environ.get("JAX_PLATFORMS"), command_line.line(error) or "none is here"
        _end(
            f"error: JAX finds no device for JAX_PLATFORMS={wanted!r} ({said}): set it to cpu, or "
            "unset it"
        )


def _end(message: str) -> None:
    sys.exit(message if _is_primary() else 1)


def _is_primary() -> bool:
    try:
        return processes.is_primary()
    except (RuntimeError, AssertionError):  # JAX finds no device
        return True


class _Tolerant:
    """A stream that goes silent where nobody reads it any more, or its disk is full."""

    def __init__(self, stream):
        self._stream = stream

    def write(self, text: str) -> int:
        return self._try(self._stream.write, text) or len(text)

    def flush(self) -> None:
        self._try(self._stream.flush)

    def _try(self, function, *arguments):
        try:
            return function(*arguments)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())

    def __getattr__(self, name):
        return getattr(self._stream, name)


def _quiet_orbax() -> None:
    """What orbax logs, it raises as well; what its threads say after it, nobody needs.

    Once a save has failed, the event loop is closed that threads report each array to, or that
    coroutines would have run on.
    """
    logging.set_verbosity(logging.WARNING)
    logging.get_absl_logger().addFilter(lambda record: "orbax" not in record.pathname)
    warnings.filterwarnings("ignore", ".* was never awaited", RuntimeWarning)
    hook = sys.unraisablehook

    def show(unraisable):
        if str(unraisable.exc_value) != "Event loop is closed":
            hook(unraisable)

    sys.unraisablehook = show
