"""The rows of the paper's tables and the commands that run them."""

import shlex
import sys
from pathlib import Path

import pytest
from absl import flags
from ml_collections import config_flags

from experiments.results import rows

ROOT = Path(__file__).parents[1]
# Ten seeds of a row stand in a table of their own, and three of them beside others.
EVERY = list(dict.fromkeys(row for table in rows.all_tables() for row in table.rows))


def test_every_row_has_a_configuration_and_a_name_of_its_own():
    assert len(EVERY) == 3 * 3 + 1 + 1 + 2 * 3 + 2 * 3 + 6 + 9
    assert len({row.name for row in EVERY}) == len(EVERY)


@pytest.mark.parametrize("row", EVERY, ids=lambda row: row.name)
def test_the_command_of_a_row_sets_the_configuration_of_the_row(row, monkeypatch):
    values = flags.FlagValues()
    config = config_flags.DEFINE_config_file("config", flag_values=values)
    module = row.command()[1]
    # As if it was typed: ml_collections looks for overrides there.
    monkeypatch.setattr(sys, "argv", [*row.command()[1:], "--config.seed=2"])
    monkeypatch.chdir(ROOT)
    values(sys.argv)
    assert config.value.to_json() == row.config(seed=2).to_json()
    assert shlex.split(row.shown(seeds=3)) == ["python", *row.command(), "--config.seeds=3"]
    assert config.value.model.count == (-1 if module == "experiments.number" else 3)
