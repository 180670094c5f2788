"""The frame of every command: flags, compiled programs kept, errors in one line."""

from __future__ import annotations

import os
import re
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

from absl import app, flags, logging

from asr_jax import processes
from asr_jax.config import RENAMED
from data_gen.paths import user_path
from experiments.run import jax_settings

TRACEBACK = flags.DEFINE_bool("traceback", False, "Shows where an error was raised.")


class Stopped(Exception):
    """A signal ended the run early; its state is saved."""


def main(command: Callable[[list[str]], None]) -> None:
    """Runs a command of the arguments that are no flags.

    What it refuses, a ValueError or OSError, ends it in one line; so does a loss that is not
    finite. What cannot be printed, or is printed to a pipe that has closed, ends nothing.
    """
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")
    sys.stdout = _Tolerant(sys.stdout)
    warnings.showwarning = lambda message, *_: print(f"warning: {message}", file=sys.stderr)
    _quiet_orbax()
    jax_settings.keep_programs()
    sys.argv[:] = map(_renamed, sys.argv)
    app.run(lambda arguments: _run(command, arguments), flags_parser=_parse)


def _run(command: Callable[[list[str]], None], arguments: list[str]) -> None:
    try:
        command(arguments)
    except Stopped as stopped:
        _end(str(stopped))
    except (ValueError, OSError, FloatingPointError) as error:
        if TRACEBACK.value:
            raise
        _end(f"error: {_line(error)}")
    except (RuntimeError, AssertionError) as error:
        *_, (frame, _) = traceback.walk_tb(error.__traceback__)
        if TRACEBACK.value or not frame.f_code.co_filename.endswith("xla_bridge.py"):
            raise
        wanted = os.environ.get("JAX_PLATFORMS")
        _end(
            f"error: JAX finds no device for JAX_PLATFORMS={wanted!r} ({_line(error) or 'none'}): "
            "set it to cpu, or unset it"
        )


def _parse(arguments: list[str]) -> list[str]:
    """Flags as absl has them; what is wrong with one, or with a config, is one line."""
    try:
        return flags.FLAGS(arguments)
    except (AttributeError, KeyError) as error:  # a field that the config does not have
        field = re.search(r"\w+", str(error))[0]
        near = re.search(r'mean "(\w+)"', str(error))
        flag = next((f for f in arguments if re.search(rf"\.{field}(=|$)", f)), "--config")
        sys.exit(
            f"error: {flag}: the config has no field {field!r}"
            + (f": did you mean {near[1]!r}?" if near else "")
        )
    except (flags.Error, ValueError, TypeError, OSError, ImportError) as error:
        sys.exit(f"error: {_line(error)}")


def _renamed(argument: str) -> str:
    """A flag by the name that its field has now."""
    name, equals, value = argument.partition("=")
    section, dot, field = name.rpartition(".")
    return f"{section}{dot}{RENAMED.get(field, field)}{equals}{value}" if dot else argument


def _end(message: str) -> None:
    sys.exit(message if _is_primary() else 1)


def _is_primary() -> bool:
    try:
        return processes.is_primary()
    except (RuntimeError, AssertionError):  # JAX finds no device
        return True


def _line(error: object) -> str:
    """What an error says, on one line; of a traceback in it, the last."""
    said = str(error)
    if "Traceback (most recent" in said:
        said = said.strip().splitlines()[-1].partition("Error: ")[2]
    return " ".join(filter(None, map(str.strip, said.splitlines())))


def output(name: str, what: str, endings: tuple[str, ...] = ()) -> Path:
    """The path of a file to write, once it can be written; comes before any work.

    Raises:
      ValueError: another ending, a folder that is not there or lets nobody write.
    """
    path = user_path(name, what)
    if endings and path.suffix not in endings:
        raise ValueError(f"{what} must end in one of {', '.join(endings)}, got {name}")
    if path.is_dir():
        raise ValueError(f"{what}={name} is a folder: name a file in it")
    if not path.parent.is_dir():
        raise ValueError(
            f"{what}={name}: there is no folder {path.parent}: make it, or name another"
        )
    if not os.access(path.parent, os.W_OK):
        raise ValueError(f"{what}={name}: {path.parent} cannot be written: name another folder")
    return path


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
