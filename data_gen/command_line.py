"""Command lines that end in one line where a user's setting or file is wrong."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Callable, Iterator

from absl import app, flags

REFUSED = (ValueError, OSError, FloatingPointError)  # what a command says no with


def run(main: Callable[[list[str]], None], frame: Callable = contextlib.nullcontext) -> None:
    """Runs `main` of the arguments that are no flags; what is refused is `error: ...`, status 1.

    `frame()` is a context around it, for what else a command may raise.
    """

    def framed(arguments: list[str]) -> None:
        with one_line(), frame():
            main(arguments)

    app.run(framed, flags_parser=parse)


@contextlib.contextmanager
def one_line() -> Iterator[None]:
    try:
        yield
    except REFUSED as error:
        sys.exit(f"error: {line(error)}")


def parse(arguments: list[str]) -> list[str]:
    """Flags as absl has them; what is wrong with one, or with a configuration, is one line."""
    try:
        return flags.FLAGS(arguments)
    except (AttributeError, KeyError) as error:  # a field that the configuration does not have
        field = re.search(r"\w+", str(error))[0]
        near = re.search(r'mean "(\w+)"', str(error))
        flag = next((f for f in arguments if re.search(rf"\.{field}(=|$)", f)), "--config")
        hint = f": did you mean {near[1]!r}?" if near else ""
        sys.exit(f"error: {flag}: the config has no field {field!r}{hint}")
    except (flags.Error, ImportError, SyntaxError, TypeError, *REFUSED) as error:
        sys.exit(f"error: {line(error)}")


def line(error: object) -> str:
    """What an error says, on one line; of a traceback in it, the last."""
    said = str(error).strip()
    if "Traceback (most recent" in said:
        said = said.splitlines()[-1].partition("Error: ")[2]
    if "Failed loading config file" in said:  # and where it was looked for
        said = f"--config: {said.splitlines()[-1].partition('] ')[2] or said}"
    return " ".join(filter(None, map(str.strip, said.splitlines())))
