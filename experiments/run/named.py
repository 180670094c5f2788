"""Configurations by name: `--config=mnist3:air,quick` is the file of configs/ of that name."""

from pathlib import Path

from ml_collections.config_flags import config_flags

FOLDER = Path(__file__).parents[2] / "configs"
SHARED = ("base", "fields", "presets")  # by those that are configurations


class Parser(config_flags.ConfigFileFlagParser):
    """Of a flag whose value is a file or a name, and an argument after a colon."""

    def parse(self, value: str):
        return super().parse(file(value))


def file(value: str) -> str:
    """The file that a value means, with its argument: one that is there, or else one of ours.

    Raises:
      ValueError: there is neither.
    """
    name, colon, argument = value.partition(":")
    if Path(name).is_file():
        return value
    files = sorted(FOLDER.glob("[!_]*.py"))
    known = {path.stem: path for path in files if path.stem not in SHARED}
    if name not in known:
        raise ValueError(
            f"there is no file {name!r}, and no configuration of that name: name a file, or one of "
            f"{', '.join(known)}"
        )
    return f"{known[name]}{colon}{argument}"
