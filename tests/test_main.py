"""What the commands say, and what they keep to themselves."""

import gc
import sys
import warnings

from experiments.command import quiet_failed_saves


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
        quiet_failed_saves()
        save()
        Raises("Event loop is closed")
        Raises("another error")
        warnings.warn("another warning", RuntimeWarning, stacklevel=1)
        gc.collect()
    assert said == ["another error"]
    assert [str(warning.message) for warning in warned] == ["another warning"]
