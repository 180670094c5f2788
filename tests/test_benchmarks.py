"""The benchmarks: other implementations do the same work, and tables say what they should."""

import json
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from asr_jax import spatial
from benchmarks import gather, growth, inference, run, training
from benchmarks.cases import Case
from experiments.run.from_config import from_config


@pytest.fixture
def boxes():
    """Centres and sides of 5 boxes, some of them beyond the canvas's edges."""
    keys = jax.random.split(jax.random.key(0), 2)
    centre = jax.random.uniform(keys[0], (5, 2), minval=-1, maxval=1)
    return centre, jax.random.uniform(keys[1], (5, 1), minval=0.2, maxval=0.7)


def test_gathers_read_what_matrix_products_read(boxes):
    images = np.random.default_rng(0).random((5, 9, 12), np.float32)
    expected = spatial.read(images, *boxes, 6)
    np.testing.assert_allclose(gather.read(images, *boxes, 6), expected, atol=1e-5)


def test_gathers_write_what_matrix_products_write(boxes):
    windows = np.random.default_rng(0).random((5, 6, 6), np.float32)
    expected = spatial.write(windows, *boxes, (9, 12))
    np.testing.assert_allclose(gather.write(windows, *boxes, (9, 12)), expected, atol=1e-5)


def test_every_case_has_a_configuration_that_makes_a_run():
    cases = [case for module in run.SECTIONS.values() for case in module.cases(False).values()]
    cases = [case[0] if isinstance(case, tuple) else case for case in cases]
    cases = [case for case in cases if isinstance(case, Case)]
    assert len({from_config(case.load()).model for case in cases}) > 10


@pytest.mark.parametrize("section", [inference, training], ids=lambda s: s.__name__)
def test_sections_measure_all_that_they_name(section):
    small = dict(lstm=8, hidden=(16, 8), window=8, head=8, appearance=4)
    case = Case("mnist3", batch=8, model=(*small.items(), ("max_objects", 2), ("count", 2)))
    found = section.measure((case, 1) if section is training else case, quick=True)
    assert len(found) >= 7 and all(np.isfinite(value) for value in found.values())
    assert min(found.values()) > 0


def test_growth_fits_the_exponent_of_a_power_law():
    rows = [
        {"case": f"side = {size}", "ms/step": 3.0 * size**1.5, "GFLOP/step": 2.0 * size**2}
        for size in (50, 64, 128)
    ]
    assert growth.summary(rows) == ["side: ms ~ size^1.50, FLOP ~ size^2.00"]


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
    assert "error: --only=nothing: the sections are start, training" in done.stderr


def test_quick_benchmarks_write_their_table_and_json(tmp_path):
    out = tmp_path / "b.json"
    done = command("run", "--quick", "--only=parts", f"--out={out}")
    assert done.returncode == 0, done.stderr
    result = json.loads(out.read_text())
    ((section, case, *parts),) = (row.items() for row in result["rows"])
    assert (section, case) == (("section", "parts"), ("case", "mnist3")) and len(parts) == 9
    assert all(value > 0 for name, value in parts if name != "backward ms")  # a difference
    assert "likelihood ms" in done.stdout and result["machine"]["platform"] == "cpu"
