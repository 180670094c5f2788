"""The results' page: which run is next, what is kept, and what the page says of it."""

import json
import re
import shlex
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from absl import flags
from matplotlib.figure import Figure
from ml_collections import config_flags

import asr_jax
from experiments import collect, page, pictures, rows
from experiments.paper import PAPER

ROOT = Path(__file__).parents[1]
ASR = rows.Row("AIR-ASR", "mnist13", "asr")
AIR = rows.Row("AIR", "mnist13", "air")
KNOWN = rows.Row("AIR, known counts", "mnist13", "air,known")
TABLE = rows.Table("mnist13", "1 or 3 digits", (AIR, KNOWN, ASR))


def leave(folder, row, seed, final=None, failed=None, **changes):
    """A run's folder as the training command leaves it; neither final nor failed: under way."""
    folder.mkdir(parents=True)
    config = row.config(seed)
    config.update_from_flattened_dict(changes)
    settings = json.loads(config.to_json()) | {"scenes": "abc", "canvas": [50, 50]}
    (folder / "config.json").write_text(json.dumps(settings))
    lines = [json.dumps({"step": 50 * i, "nelbo": 400.0 - i}) for i in range(1, 151)]
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    if final is not None:
        (folder / "final.json").write_text(json.dumps(final))
    if failed is not None:
        (folder / "failed.json").write_text(json.dumps({"error": failed}))
    return folder


def result(nelbo, acc, se, miou, **more):
    shared = {"seconds": 600.0, "hardware": "2 CPU cores", "steps": 7500, "data": "digits in /here"}
    return dict(nelbo=nelbo, acc=acc, se=se, miou=miou, **shared, **more)


def test_every_row_has_a_configuration_and_a_name_of_its_own():
    every = [row for part in rows.TABLES.values() for table in part for row in table.rows]
    assert len(every) == 3 * 4 + 2 * 3 + 8 + 3
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


def test_missing_seeds_are_one_command_and_what_was_stopped_goes_on(tmp_path):
    runs, results = tmp_path / "runs", tmp_path / "results"
    workdir, command = collect.next_run(ASR, 3, runs, results)
    assert workdir == runs / "mnist13-asr-seeds0-2"
    assert command[:3] == ["-m", "experiments.number", "--config=configs/mnist13.py:asr"]
    assert command[3:] == ["--config.seed=0", "--config.seeds=3", f"--workdir={workdir}"]
    # Seed 1 has its results: 0 and 2 are two commands.
    leave(collect.folder(results, ASR, 1), ASR, 1, final=result(1, 1, 1, 1))
    assert collect.next_run(ASR, 3, runs, results)[0] == runs / "mnist13-asr-seed0"
    leave(runs / "mnist13-asr-seed2", ASR, 2)
    workdir, command = collect.next_run(ASR, 3, runs, results)
    assert workdir == runs / "mnist13-asr-seed2" and command[-1] == "--resume"
    # A failure is a result.
    leave(collect.folder(results, ASR, 2), ASR, 2, failed="nelbo is not finite at step 7")
    leave(collect.folder(results, ASR, 0), ASR, 0, final=result(1, 1, 1, 1))
    assert collect.next_run(ASR, 3, runs, results) is None
    # Nothing of that belongs to the row whose name begins alike.
    assert collect.next_run(KNOWN, 1, runs, results)[0] == runs / "mnist13-air-known-seed0"
    leave(runs / "mnist13-air-known-seed0", KNOWN, 0, final=result(1, 1, 1, 1))
    assert collect.ended_runs(AIR, runs) == {}


def test_a_seed_of_several_is_kept_once_it_has_ended(tmp_path):
    runs, results = tmp_path / "runs", tmp_path / "results"
    leave(runs / "mnist13-asr-seeds0-1", ASR, 0)
    seed = leave(runs / "mnist13-asr-seeds0-1" / "seed1", ASR, 1, final=result(2, 1, 1, 1))
    collect.keep(ASR, runs, results)
    found = collect.read(results, ASR)
    assert list(found.finals) == [1] and found.finals[1]["nelbo"] == 2 and not found.failed
    assert found.finals[1]["data"] == "digits"  # no folder of this machine
    (seed / "final.json").write_text(json.dumps(result(3, 1, 1, 1)))
    collect.keep(ASR, runs, results)  # never overwritten
    assert collect.read(results, ASR).finals[1]["nelbo"] == 2
    kept = json.loads((results / "mnist13-asr-seed1" / "curve.json").read_text())
    assert len(kept["step"]) == 60 and kept["step"] == sorted(kept["step"])
    # 150 lines in 60 parts: the first 30 have 3 lines, the others 2.
    assert kept["nelbo"][0] == 398.0 and kept["nelbo"][-1] == pytest.approx(250.5)


def test_a_result_of_another_configuration_is_refused(tmp_path):
    leave(collect.folder(tmp_path, ASR, 0), ASR, 0, result(1, 1, 1, 1), **{"train.epochs": 7})
    with pytest.raises(ValueError, match="train.epochs is 7 there and 12 here.*move it"):
        collect.read(tmp_path, ASR)
    # A field that is newer than the run has its default there, and where it differs, it counts.
    config = collect.folder(tmp_path, ASR, 0) / "config.json"
    settings = json.loads(ASR.config(0).to_json())
    del settings["model"]["scale_glimpse"]
    config.write_text(json.dumps(settings))
    collect.check(config.parent, ASR, 0)
    newer = ASR._replace(settings=(("model.scale_glimpse", 1.3),))
    with pytest.raises(ValueError, match="model.scale_glimpse is 0.0 there and 1.3 here"):
        collect.check(config.parent, newer, 0)


def test_a_run_that_fails_at_once_is_kept_without_what_is_of_this_machine(tmp_path):
    runs, results = tmp_path / "runs", tmp_path / "results"
    why = "nelbo is not finite at step 1; the state after step 0 is saved in /home/me: start again"
    run = leave(runs / "mnist13-asr-seed0", ASR, 0, failed=why, **{"data.digits_dir": "/home/me"})
    (run / "metrics.jsonl").write_text("")
    collect.keep(ASR, runs, results)
    assert collect.read(results, ASR) == ({}, {0: "nelbo is not finite at step 1"})
    kept = collect.folder(results, ASR, 0)
    assert json.loads((kept / "curve.json").read_text()) == {"step": [], "nelbo": []}
    assert not any("/home/me" in file.read_text() for file in kept.iterdir())


def test_runs_on_other_scenes_are_refused(tmp_path):
    runs, results = tmp_path / "runs", tmp_path / "results"
    leave(collect.folder(results, AIR, 0), AIR, 0, result(1, 1, 1, 1))
    run = leave(runs / "mnist13-asr-seed0", ASR, 0, result(1, 1, 1, 1))
    collect.check_scenes(run, ASR, results)
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(config | {"scenes": "xyz"}))
    message = (
        "has scenes xyz for mnist13-asr, and .*mnist13-air-seed0 was run on abc.*ASR_MNIST_DIR"
    )
    with pytest.raises(ValueError, match=message):
        collect.keep(ASR, runs, results)
    assert not collect.kept(results, ASR, 0)
    # What has other data on purpose is no measure.
    kept = collect.folder(results, AIR, 0) / "config.json"
    config["data"]["test_size"] = 7
    kept.write_text(json.dumps(config))
    collect.keep(ASR, runs, results)
    assert collect.kept(results, ASR, 0)


def test_cells_are_mean_and_standard_deviation():
    assert page.cell([1.0, 2.0, 6.0], 2) == f"3.00 ± {np.sqrt((4 + 1 + 9) / 2):.2f}"
    assert page.cell([1.25], 1) == "1.2" and page.cell([], 1) == ""


def finals(*rows_of_values):
    return collect.Results({seed: result(*v) for seed, v in enumerate(rows_of_values)}, {})


NONE = collect.Results({}, {})


def test_the_verdict_names_every_column_that_is_lost():
    columns = ("nelbo", "acc", "se", "miou")
    ahead = {ASR: finals((245, 1.0, 22, 0.8), (247, 1.0, 24, 0.8)), AIR: NONE, KNOWN: NONE}
    (text,) = page.verdict(TABLE, ahead, columns)
    assert text == "Our AIR-ASR is ahead of the paper's in every column.\n"
    ahead[AIR] = finals((300, 0.6, 21, 0.85))  # its SE and its mean IoU are better
    (text,) = page.verdict(TABLE, ahead, columns)
    assert "AIR is ahead of our AIR-ASR in SE and mean IoU." in text
    assert "No baseline" not in text
    ahead[AIR] = finals((300, 0.6, 25, 0.7))
    (text,) = page.verdict(TABLE, ahead, columns)
    assert "No baseline" not in text  # while one is not yet run
    ahead[KNOWN] = finals((300, 0.6, 25, 0.7))
    (text,) = page.verdict(TABLE, ahead, columns)
    assert "No baseline of ours is ahead of our AIR-ASR in ACC and mean IoU." in text
    # The paper's: 360.20, 0.96, 28.84, 0.61. Equal is not ahead.
    behind = ahead | {ASR: finals((361, 0.96, 28.0, 0.60))}
    (text,) = page.verdict(TABLE, behind, columns)
    assert "not ahead of the paper's in nELBO (nats), ACC and mean IoU." in text
    assert page.verdict(TABLE, {row: NONE for row in TABLE.rows}, columns) == []


def test_the_page_shows_ours_beside_the_papers_every_seed_and_every_failure(tmp_path):
    results = {row: NONE for part in rows.TABLES.values() for table in part for row in table.rows}
    results[AIR] = finals((300.0, 0.6, 24.0, 0.7))
    results[ASR] = collect.Results(
        {0: result(244.0, 1.0, 22.0, 0.8, tidy=0.5), 2: result(246.0, 1.0, 23.0, 0.9)},
        {1: "nelbo is not finite at step 7"},
    )
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "mnist13-curves.png").touch()
    text = page.page(
        rows.TABLES, results, tmp_path / "results", tmp_path / "figures", beside=tmp_path
    )
    assert not re.search(r"\{\w*\}", text)
    line = next(line for line in text.splitlines() if line.startswith("| AIR-ASR | 2, 1 failed"))
    ours = "**245.0 ± 1.4** | *360.20 ± 19.67* | **1.000 ± 0.000** | *0.96 ± 0.00*"
    assert f"| 12 | 10 min, 2 CPU cores | {ours} |" in line
    assert "| AIR | 1 | 12 | 10 min, 2 CPU cores | 300.0 | *404.41 ± 4.58* | 0.600 |" in text
    assert "| AIR-ASR | 1 | failed: nelbo is not finite at step 7 |" in text
    assert (
        "| AIR-ASR | 0 | 244.0 | 1.000 | 22.0 | 0.800 |  | 0.500 | 7500 | 10 | 2 CPU cores |"
        in text
    )
    assert "| AIR-pPrior | not yet run | 12 |" in text and "| without F3 | not yet run |" in text
    assert "](figures/mnist13-curves.png)" in text and "mnist14-curves" not in text
    assert "configs/mnist13.py:air,known --config.seeds=3" in text and "`results/`" in text


def test_the_papers_cells():
    assert PAPER["mnist24", "pprior"] == {
        "nelbo": "643.28 ± 8.67",
        "acc": "0.00 ± 0.00",
        "se": "83.35 ± 0.44",
        "miou": "0.10 ± 0.00",
    }
    assert PAPER["dsprites3", "asr"] == {
        "nelbo": "271.8 ± 18.8",
        "se": "20.9 ± 2.1",
        "miou": "0.61 ± 0.03",
    }
    assert len(PAPER) == 15


@pytest.fixture
def drawn(tmp_path):
    """Kept results of AIR-ASR (seeds 0, 1) and AIR (1, 2; seed 0 failed), and their runs."""
    counts = {"1": {"inferred": [0, 5, 0]}, "3": {"inferred": [0, 1, 4]}}
    for row, seed in ((ASR, 0), (ASR, 1), (AIR, 1), (AIR, 2)):
        final = result(245.0, 1.0, 22.0, 0.8, counts=counts) | {"seconds": 600.0 + seed}
        leave(tmp_path / "runs" / f"{row.name}-seed{seed}", row, seed, final)
    leave(tmp_path / "runs" / "mnist13-air-seed0", AIR, 0, failed="nelbo is not finite")
    for row in TABLE.rows:
        collect.keep(row, tmp_path / "runs", tmp_path / "results")
    return tmp_path


def test_figures_of_what_is_kept(drawn):
    figures = drawn / "figures"
    table = TABLE._replace(rows=(AIR, KNOWN))
    pictures.draw(table, drawn / "elsewhere", drawn / "results", figures)
    assert [file.name for file in figures.iterdir()] == [
        "mnist13-curves.png"
    ]  # no counts of seed 0
    table = table._replace(rows=(AIR, ASR))
    (figures / "mnist13.png").write_bytes(b"with AIR, whose runs are gone")
    pictures.draw(table, drawn / "elsewhere", drawn / "results", figures)
    names = {"mnist13-curves.png", "mnist13-counts.png", "mnist13.png"}
    assert {file.name for file in figures.iterdir()} == names
    assert (figures / "mnist13.png").read_bytes() == b"with AIR, whose runs are gone"


def test_a_figure_shows_what_comes_with_the_package_or_the_first_run_that_is_here(
    drawn, monkeypatch
):
    shown = {}

    def side_by_side(loaded):
        shown.update(loaded)
        return Figure(), Figure()

    monkeypatch.setattr(pictures, "side_by_side", side_by_side)
    loaded = pictures.runs.Run(AIR.config(2), None, None, {})
    monkeypatch.setattr(pictures.runs, "load", {drawn / "runs" / "mnist13-air-seed2": loaded}.get)
    # AIR's seed 1 was run again since: it is not what was kept. AIR-ASR's seed 0 was exported.
    seconds = json.dumps({"seconds": 1.0})
    (drawn / "runs" / "mnist13-air-seed1" / "final.json").write_text(seconds)
    shutil.rmtree(drawn / "runs" / "mnist13-asr-seed0")
    kept = drawn / "results" / "mnist13-asr-seed0" / "final.json"
    kept.write_text(json.dumps(asr_jax.load_pretrained("mnist13").final))
    pictures.draw(TABLE, drawn / "runs", drawn / "results", drawn / "figures")
    assert list(shown) == ["AIR (seed\N{NO-BREAK SPACE}2)", "AIR-ASR"]
    assert shown["AIR-ASR"].config.name == "mnist13-asr" and shown["AIR-ASR"].config.seed == 0
    assert (drawn / "figures" / "mnist13-samples.png").exists()


def test_a_figure_that_cannot_be_drawn_stays_as_it_is(drawn, capsys):
    figures = drawn / "figures"
    figures.mkdir()
    (figures / "mnist13.png").write_bytes(b"as it was")
    pictures.draw(TABLE, drawn / "runs", drawn / "results", figures)  # runs without checkpoints
    assert "mnist13.png stays as it is" in capsys.readouterr().err
    assert (figures / "mnist13.png").read_bytes() == b"as it was"
    assert (figures / "mnist13-counts.png").exists()
