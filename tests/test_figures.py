"""Figures of what is kept."""

import json
import shutil

import pytest
from matplotlib.figure import Figure

import asr_jax
from experiments.results import figures, rows, store
from experiments.run import finished
from experiments.run.from_config import from_config
from tests.kept import AIR, ASR, KNOWN, TABLE, leave, result


@pytest.fixture
def drawn(tmp_path):
    """Kept results of AIR-ASR (seeds 0, 1) and AIR (1, 2; seed 0 failed), and their runs."""
    counts = {"1": {"inferred": [0, 5, 0]}, "3": {"inferred": [0, 1, 4]}}
    for row, seed in ((ASR, 0), (ASR, 1), (AIR, 1), (AIR, 2)):
        final = result(245.0, 1.0, 22.0, 0.8, counts=counts) | {"seconds": 600.0 + seed}
        leave(tmp_path / "runs" / f"{row.name}-seed{seed}", row, seed, final)
    leave(tmp_path / "runs" / "mnist13-air-seed0", AIR, 0, failed="nelbo is not finite")
    for row in TABLE.rows:
        store.keep(row, tmp_path / "runs", tmp_path / "results")
    return tmp_path


def test_figures_of_what_is_kept(drawn):
    out = drawn / "figures"
    table = TABLE._replace(rows=(AIR, KNOWN))
    figures.draw(table, drawn / "elsewhere", drawn / "results", out)
    # There are no counts of seed 0.
    assert [file.name for file in out.iterdir()] == ["mnist13-curves.png"]
    table = table._replace(rows=(AIR, ASR))
    (out / "mnist13.png").write_bytes(b"with AIR, whose runs are gone")
    figures.draw(table, drawn / "elsewhere", drawn / "results", out)
    names = {"mnist13-curves.png", "mnist13-counts.png", "mnist13.png"}
    assert {file.name for file in out.iterdir()} == names
    assert (out / "mnist13.png").read_bytes() == b"with AIR, whose runs are gone"


def test_a_figure_shows_what_comes_with_the_package_or_the_first_run_that_is_here(
    drawn, monkeypatch
):
    shown = {}

    def side_by_side(loaded):
        shown.update(loaded)
        return Figure(), Figure()

    monkeypatch.setattr(figures, "side_by_side", side_by_side)
    run = drawn / "runs" / "mnist13-air-seed2"
    loaded = finished.Finished(from_config(AIR.config(2)), 2, "abc", None, {})
    monkeypatch.setattr(finished, "load", {run: loaded}.get)
    # AIR's seed 1 was run again since: it is not what was kept. AIR-ASR's seed 0 was exported.
    seconds = json.dumps({"seconds": 1.0})
    (drawn / "runs" / "mnist13-air-seed1" / "final.json").write_text(seconds)
    shutil.rmtree(drawn / "runs" / "mnist13-asr-seed0")
    kept = drawn / "results" / "mnist13-asr-seed0" / "final.json"
    kept.write_text(json.dumps(asr_jax.load_pretrained("mnist13").final))
    figures.draw(TABLE, drawn / "runs", drawn / "results", drawn / "figures")
    assert list(shown) == ["AIR (seed\N{NO-BREAK SPACE}2)", "AIR-ASR"]
    assert shown["AIR-ASR"].run.name == "mnist13-asr" and shown["AIR-ASR"].seed == 0
    assert (drawn / "figures" / "mnist13-samples.png").exists()


def test_objects_in_colour_are_taken_apart_and_rows_on_the_same_scenes_compared(
    tmp_path, monkeypatch
):
    table = next(table for table in rows.TABLES["colour"] if table.name == "colour_mnist")
    asr, noise, grid = table.rows
    for row in (asr, noise):
        final = result(-8000.0, 1.0, 22.0, 0.8)
        leave(tmp_path / "runs" / f"{row.name}-seed0", row, 0, final)
        store.keep(row, tmp_path / "runs", tmp_path / "results")
    compared, apart = [], []
    monkeypatch.setattr(
        finished,
        "load",
        lambda run: finished.Finished(
            from_config((asr if "noise" not in run.name else noise).config(0)), 0, "abc", None, {}
        ),
    )
    monkeypatch.setattr(
        figures, "side_by_side", lambda loaded: compared.append([*loaded]) or (Figure(), Figure())
    )
    monkeypatch.setattr(
        figures, "taken_apart", lambda one, row: apart.append(row.label) or Figure()
    )
    figures.draw(table, tmp_path / "runs", tmp_path / "results", tmp_path / "figures")
    assert compared == [["AIR-ASR"]] and apart == ["AIR-ASR", "AIR-ASR, noise"]
    names = {file.name for file in (tmp_path / "figures").iterdir()}
    assert {"colour-mnist-asr-apart.png", "colour-mnist-asr-noise-apart.png"} <= names


def test_a_figure_that_cannot_be_drawn_stays_as_it_is(drawn, capsys):
    out = drawn / "figures"
    out.mkdir()
    (out / "mnist13.png").write_bytes(b"as it was")
    figures.draw(TABLE, drawn / "runs", drawn / "results", out)  # runs without checkpoints
    assert "mnist13.png stays as it is" in capsys.readouterr().err
    assert (out / "mnist13.png").read_bytes() == b"as it was"
    assert (out / "mnist13-counts.png").exists()
