"""The benchmarks: other implementations do the same work, and tables say what they should."""

import json
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from asr_jax import spatial
from benchmarks import gather, growth, run


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


def test_a_section_that_there_is_not_is_refused(tmp_path):
    call = [sys.executable, "-m", "benchmarks.run", "--only=nothing", f"--out={tmp_path / 'x'}"]
    root = Path(__file__).parents[1]
    done = subprocess.run(call, cwd=root, capture_output=True, text=True)
    assert done.returncode == 1 and not list(tmp_path.iterdir())
    assert "error: --only=nothing: the sections are start, training" in done.stderr


def test_quick_benchmarks_write_their_table_and_json(tmp_path):
    out = tmp_path / "b.json"
    call = [sys.executable, "-m", "benchmarks.run", "--quick", "--only=choices", f"--out={out}"]
    root = Path(__file__).parents[1]
    done = subprocess.run(call, cwd=root, capture_output=True, text=True, check=True)
    result = json.loads(out.read_text())
    assert [row["section"] for row in result["rows"]] == ["choices", "choices"]
    assert all(row["ms"] > 0 and row["ratio"] > 0 for row in result["rows"])
    assert "separable" in done.stdout and result["machine"]["platform"] == "cpu"
