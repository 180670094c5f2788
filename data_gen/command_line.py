"""Command lines that end in one line where a user's setting or file is wrong."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Callable, Iterator

from absl import app, flags

REFUSED = (ValueError, OSError, FloatingPointError)  # what a command says no with


def run(
    main: Callable[[list[str]], None],
    frame: Callable = contextlib.nullcontext,
    words: bool = False,
) -> None:
    """Runs `main` of the arguments that are no flags; what is refused is `error: ...`, status 1.

    Args:
      main: the command.
      frame: makes a context around it, for what else a command may raise.
      words: whether it takes arguments that are no flags; otherwise they are refused.
    """

    def framed(arguments: list[str]) -> None:
        with one_line(), frame():
            if arguments[1:] and not words:
                raise ValueError(
                    f"{arguments[1]!r} is no flag, and would not be looked at: quote values with "
                    'spaces, --name="(1, 3)"; --noname is what turns a flag off'
                )
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
    _refuse_twice(arguments)
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


def _refuse_twice(arguments: list[str]) -> None:
    """A tuple that is given twice would be both, one after the other."""
    given = {}
    for argument in arguments[1:]:
        name, _, value = argument.partition("=")
        if name.startswith("--config.") and name in given and "," in given[name] + value:
            sys.exit(f"error: {name} is given twice, {given[name]} and {value}: leave one out")
        given[name] = value


def line(error: object) -> str:
    """What an error says, on one line; of a traceback in it, the last."""
    said = str(error).strip()
    if "Traceback (most recent" in said:
        said = said.splitlines()[-1].partition("Error: ")[2]
    if "Failed loading config file" in said:  # and where it was looked for
        said = f"--config: {said.splitlines()[-1].partition('] ')[2] or said}"
    return " ".join(filter(None, map(str.strip, said.splitlines())))
