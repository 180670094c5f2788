"""Configurations by name: a file that is there, or else one of configs/."""

from pathlib import Path

import pytest
from absl import flags

from configs import mnist3, mnist13
from experiments.run import named

CONFIGS = Path(named.__file__).parents[2] / "configs"


def test_a_name_is_the_file_of_configs_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    parse = named.Parser("config").parse
    assert parse("mnist3:air,quick").to_json() == mnist3.get_config("air,quick").to_json()
    assert parse("mnist13").to_json() == mnist13.get_config().to_json()


def test_a_file_that_is_there_is_what_it_says(tmp_path, monkeypatch):
    """Also where it has the name of one of ours; a folder of that name is no file."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mnist13").mkdir()
    (tmp_path / "mnist3").write_text("def get_config(argument='nothing'):\n    return argument\n")
    assert named.file("mnist13:air") == f"{CONFIGS / 'mnist13.py'}:air"
    assert named.file("mnist3:a:b") == "mnist3:a:b"
    path = f"{CONFIGS / 'mnist3.py'}"
    assert named.file(path) == path and named.file(f"{path}:air") == f"{path}:air"


@pytest.mark.parametrize("value", ["mnist31:air", "configs/mnist3.py", "base", "__init__", ""])
def test_what_is_neither_is_an_error_that_lists_the_names(tmp_path, monkeypatch, value):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError) as error:
        named.file(value)
    message, names = str(error.value), sorted(path.stem for path in CONFIGS.glob("*.py"))
    assert repr(value.partition(":")[0]) in message
    listed = message.partition("or one of ")[2].split(", ")
    assert listed == [name for name in names if name not in ("__init__", *named.SHARED)]


def test_the_flag_of_the_experiments_takes_names():
    from experiments.run import experiment  # defines flags

    assert isinstance(flags.FLAGS[experiment.CONFIG.name].parser, named.Parser)
