"""Command lines that end in one line where a user's setting or file is wrong."""

import contextlib
import sys
from collections.abc import Callable, Iterator

from absl import app, flags


def run(main: Callable[[list[str]], None]) -> None:
    """Runs `main` of the arguments that are no flags; what is refused is `error: ...`, status 1."""

    def refusing(arguments: list[str]) -> None:
        with _one_line():
            main(arguments)

    app.run(refusing, flags_parser=_parse)


def _parse(arguments: list[str]) -> list[str]:
    with _one_line():  # a configuration raises more than absl expects
        return flags.FLAGS(arguments)


@contextlib.contextmanager
def _one_line() -> Iterator[None]:
    try:
        yield
    except (AttributeError, KeyError) as error:  # a configuration's; the former holds the latter
        said = error.args[0]
        message = f"no such setting: {said.args[0] if isinstance(said, KeyError) else said}"
    except (flags.Error, OSError) as error:  # a configuration's, of many lines: the last says why
        message = str(error).strip().split("\n")[-1]
    except (ImportError, SyntaxError, TypeError, ValueError) as error:
        message = str(error)
    else:
        return
    sys.exit("error: " + " ".join(message.split()))
