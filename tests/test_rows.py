"""The rows of the paper's tables and the commands that run them."""

import shlex
import sys
from pathlib import Path

import pytest
from absl import flags
from ml_collections import config_flags

from experiments.results import rows

ROOT = Path(__file__).parents[1]


def test_every_row_has_a_configuration_and_a_name_of_its_own():
    every = [row for part in rows.TABLES.values() for table in part for row in table.rows]
    assert len(every) == 3 * 4 + 1 + 2 * 3 + 2 * 3 + 8 + 3
    assert len({row.name for row in every}) == len(every)


@pytest.mark.parametrize(
    "row", [row for table in rows.all_tables() for row in table.rows], ids=lambda row: row.name
)
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
