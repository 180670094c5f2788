"""The benchmarks measure what they name, and their tables say what they should."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from benchmarks import inference, run
from benchmarks.cases import Case
from experiments.run.from_config import from_config


def test_every_case_has_a_configuration_that_makes_a_run():
    cases = [case for module in run.SECTIONS.values() for case in module.cases(False).values()]
    cases = [case[0] if isinstance(case, tuple) else case for case in cases]
    cases = [case for case in cases if isinstance(case, Case)]
    assert len({from_config(case.load()).model for case in cases}) > 4


def test_inference_measures_all_that_it_names():
    small = dict(lstm=8, hidden=(16, 8), window=8, head=8, appearance=4)
    case = Case("mnist3", batch=8, model=(*small.items(), ("max_objects", 2), ("count", 2)))
    found = inference.measure(case, quick=True)
    assert len(found) >= 6 and all(np.isfinite(value) for value in found.values())
    assert min(found.values()) > 0


def test_a_case_that_fails_is_a_row_of_the_table():
    rows = [{"section": "training", "case": "one", "ms/step": 12.345}]
    rows += [{"section": "training", "case": "two", "error": "out of memory"}]
    table = run.table({"machine": {"device": "cpu"}, "rows": rows})
    assert "12.35" in table and "out of memory" in table


def command(name, *arguments):
    """A benchmark from the command line."""
    call = [sys.executable, "-m", f"benchmarks.{name}", *arguments]
    return subprocess.run(call, cwd=Path(__file__).parents[1], capture_output=True, text=True)


def test_a_section_that_there_is_not_is_refused(tmp_path):
    done = command("run", "--only=nothing", f"--out={tmp_path / 'x'}")
    assert done.returncode == 1 and not list(tmp_path.iterdir())
    assert "error: --only=nothing: the sections are training, inference" in done.stderr


def test_quick_benchmarks_write_their_table_and_json(tmp_path):
    out = tmp_path / "b.json"
    done = command("run", "--quick", "--only=training", f"--out={out}")
    assert done.returncode == 0, done.stderr
    result = json.loads(out.read_text())
    ((section, case, *figures),) = (row.items() for row in result["rows"])
    assert section == ("section", "training") and case[1].startswith("mnist3")
    assert len(figures) >= 8 and all(value > 0 for name, value in figures)
    assert "steps/s" in done.stdout and result["machine"]["platform"] == "cpu"
