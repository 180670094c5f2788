"""Paths that a user writes, in a setting, a flag or an environment variable."""

import os
import re
from pathlib import Path

FIGURES = (".png", ".pdf", ".svg")  # endings of files that matplotlib writes
SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")  # gs://, file://, also as a Path shortens them


def user_path(name: str | Path, what: str) -> Path:
    """The path that `name` means: ~ and ~user are expanded.

    Args:
      name: as it was written.
      what: the setting that holds it, for messages.

    Raises:
      ValueError: nothing, an address with a scheme, or an unknown home.
    """
    if not str(name):
        raise ValueError(f"{what} must name a file or folder, got nothing")
    if SCHEME.match(str(name)):
        raise ValueError(
            f"{what}={name}: only paths of this machine's file systems are read and written: copy "
            "it to one, or mount it"
        )
    try:
        return Path(name).expanduser()
    except RuntimeError:  # what follows ~ is no user, or this one has no home
        raise ValueError(f"{what}={name}: there is no such home: write the path in full") from None


def output(name: str | Path, what: str, endings: tuple[str, ...] = ()) -> Path:
    """The path of a file to write, once it can be written; comes before any work.

    Args:
      name, what: see `user_path`.
      endings: those that the file may have, such as ".png"; none: any.

    Raises:
      ValueError: what `user_path` raises, another ending, a folder, or one that is not there or
        cannot be written.
    """
    path = user_path(name, what)
    if endings and path.suffix.lower() not in endings:
        raise ValueError(f"{what} must end in one of {', '.join(endings)}, got {name}")
    if path.is_dir():
        raise ValueError(f"{what}={name} is a folder: name a file in it")
    if not path.parent.is_dir():
        raise ValueError(f"{what}={name}: there is no folder {path.parent}: make it first")
    if not os.access(path.parent, os.W_OK):
        raise ValueError(f"{what}={name}: {path.parent} cannot be written: name another folder")
    return path


def new_folder(name: str | Path, what: str) -> Path:
    """The path of a folder to make, once it can be made; comes before any work.

    Args:
      name, what: see `user_path`.

    Raises:
      ValueError: what `user_path` raises, something that is there already, or a folder above it
        that is not there or cannot be written.
    """
    path = user_path(name, what)
    if path.exists():
        raise ValueError(
            f"{what}={name} is there already, and nothing is overwritten: name another folder, or "
            "remove it"
        )
    return output(path, what)
