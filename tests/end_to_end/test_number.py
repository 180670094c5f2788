"""Real runs of `python -m experiments.number`, tiny, of one seed and of two."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.end_to_end.runs import (
    assert_same_run,
    final,
    metrics,
    run,
    run_killed,
    run_tiny,
    tiny,
)

STEPS = 24
# Rounding differs between seeds in turn and side by side, and training at the usual rate makes
# percents of it within these steps.
LONGER = (
    "--config.train.epochs=6",
    "--config.evaluate.every=16",
    "--config.optimizer.learning_rate=1e-5",
)
TWO = ("--config.seeds=2", *LONGER)
TOGETHER = (*TWO, "--config.train.side_by_side=yes")


def number(shared, workdir, *arguments, config="mnist13.py", **keywords):
    return run_tiny(shared, "number", config, workdir, *arguments, **keywords)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def alone(shared, runs):
    """Seed 1 alone."""
    return runs / "alone", number(shared, runs / "alone", "--config.seed=1", *LONGER)


@pytest.fixture(scope="module")
def in_turn(shared, runs):
    """Seeds 0 and 1, one after the other."""
    workdir = runs / "in_turn"
    return workdir, number(shared, workdir, *TWO, "--config.train.side_by_side=no")


@pytest.fixture(scope="module")
def together(shared, runs):
    """Seeds 0 and 1, side by side."""
    return runs / "together", number(shared, runs / "together", *TOGETHER)


def test_a_run_says_what_it_makes_of_each_count(alone):
    workdir, output = alone
    results = final(workdir)
    assert results["name"] == "mnist13-asr" and results["images"] == 20
    assert set(results["counts"]) == {"1", "2"}
    for row in results["counts"].values():
        assert row["images"] == sum(row["inferred"]) == 10
        assert len(row["inferred"]) == len(row["posterior"]) == 3  # n = 0..K, K = 2
        assert sum(row["posterior"]) == pytest.approx(1, abs=1e-5)
    # Half of the images have each count, so the means of the two are the mean.
    for name in ("acc", "nelbo", "se", "miou"):
        of_counts = [row[name] for row in results["counts"].values()]
        assert np.mean(of_counts) == pytest.approx(results[name], rel=1e-5)
    for n, row in results["counts"].items():
        assert row["acc"] == pytest.approx(row["inferred"][int(n)] / 10)
    # R_num is one number for the data set, so that it has no standard error over images.
    assert np.isfinite(results["balance"]) and "balance_stderr" not in results
    assert results["number"] > 0 and results["number_stderr"] >= 0
    for name in ("reconstructions", "samples", "learning_curves", "counts"):
        assert (workdir / "figures" / f"{name}.png").stat().st_size > 5_000
    rows = metrics(workdir)
    assert [row["step"] for row in rows] == list(range(4, STEPS + 1, 4))
    for row in rows:
        names = ("number", "balance", "possible", "F6", "side")
        penalty = sum(row[f"weight_{name}"] * max(row[name], 0) for name in names)
        # The mean of products over four steps, in which a multiplier changes by a few percent.
        assert row["penalty"] == pytest.approx(penalty, rel=0.02)
    weights = {name: row["multiplier"] for name, row in results["multipliers"]["posterior"].items()}
    last = sum(weights[name] * max(results[name], 0) for name in names)
    assert results["penalty"] == pytest.approx(last, rel=1e-5)  # of what is held out
    assert "360.20 ± 19.67" in output and "0.96 ± 0.00" in output  # the paper's
    assert output.count("10 scenes of ") == 2 and "warning:" not in output


def test_seeds_in_turn_are_the_runs_that_they_are_alone(alone, in_turn):
    workdir, _ = in_turn
    assert_same_run(workdir / "seed1", alone[0], STEPS)
    seeds, single = (
        json.loads((folder / "config.json").read_text()) for folder in (workdir / "seed1", alone[0])
    )
    assert seeds["train"].pop("side_by_side") == "no"
    assert single["train"].pop("side_by_side") == "auto"
    assert seeds == single
    assert metrics(workdir / "seed0") != metrics(workdir / "seed1")


def test_seeds_side_by_side_are_those_in_turn_up_to_rounding(in_turn, together):
    for seed in ("seed0", "seed1"):
        one, other = (workdir / seed for workdir, _ in (in_turn, together))
        for a, b in zip(metrics(one), metrics(other), strict=True):
            assert a["step"] == b["step"]
            assert b["nelbo"] == pytest.approx(a["nelbo"], rel=1e-5)
            assert b["balance"] == pytest.approx(a["balance"], rel=1e-3)
        assert final(other)["nelbo"] == pytest.approx(final(one)["nelbo"], rel=1e-3)
        assert (other / "figures" / "counts.png").exists()


def test_two_seeds_end_in_their_mean_and_standard_deviation(in_turn, together):
    for workdir, output in (in_turn, together):
        results = final(workdir)
        seeds = [final(workdir / f"seed{seed}") for seed in (0, 1)]
        assert results["seeds"] == [0, 1] and results["failed"] == []
        for name in ("nelbo", "se", "number", "balance"):
            values = [row[name] for row in seeds]
            assert results[name] == pytest.approx(np.mean(values))
            assert results[f"{name}_std"] == pytest.approx(np.std(values, ddof=1))
        assert [row["seed"] for row in results["rows"]] == [0, 1]
        assert "mnist13-asr, 2 seeds, 0 failed" in output
        mean = f"{results['nelbo']:.3f} ± {results['nelbo_std']:.3f}"
        assert any(line.startswith("mean of") and mean in line for line in output.splitlines())
        assert output.count("360.20 ± 19.67") == 3  # beside each seed, and beside their mean


def test_seeds_killed_side_by_side_end_where_uninterrupted_ones_do(shared, together, tmp_path):
    """SIGKILL in the middle, then --resume: both seeds bit for bit."""
    killed = tmp_path / "killed"
    once = killed / "seed1" / "checkpoints" / "8"
    run_killed(shared, "number", "mnist13.py", killed, *TOGETHER, once=once)
    assert all(not (killed / f"seed{seed}" / "final.json").exists() for seed in (0, 1))
    assert len(metrics(killed / "seed0")) < len(metrics(together[0] / "seed0"))
    number(shared, killed, *TOGETHER, "--resume")
    for seed in ("seed0", "seed1"):
        assert_same_run(killed / seed, together[0] / seed, STEPS)
    assert final(killed)["nelbo"] == final(together[0])["nelbo"]


def test_seeds_that_diverge_are_a_result(shared, tmp_path):
    workdir = tmp_path / "nan"
    infinite = "--config.constraints.weights.number=9e37"
    output = number(shared, workdir, *TWO, infinite, config="mnist13.py:asr,fixed")
    results = final(workdir)
    assert results["failed"] == results["seeds"] == [0, 1] and results["rows"] == []
    assert "2 seeds, 2 failed" in output and "Traceback" not in output
    for seed in (0, 1):
        error = json.loads((workdir / f"seed{seed}" / "failed.json").read_text())["error"]
        assert f"error: seed {seed}: {error}" in output and "is not finite at step 1;" in error
        assert not (workdir / f"seed{seed}" / "final.json").exists()


@pytest.mark.parametrize("method", ["air", "air,known"])
def test_air_runs(shared, tmp_path, method):
    arguments = ["--config.evaluate.every=0", "--config.evaluate.iwae_samples=0"]
    if method == "air,known":
        arguments.append("--config.model.possible_counts=(1,2)")
    output = number(shared, tmp_path / "run", *arguments, config=f"mnist13.py:{method}")
    results = final(tmp_path / "run")
    assert set(results["counts"]) == {"1", "2"}
    assert ("404.41 ± 4.58" in output) == (method == "air")  # the paper has no AIR that knows
    # R_num is reported, and neither punished nor evaluated in training.
    assert np.isfinite([results[name] for name in ("nelbo", "number", "balance", "F1")]).all()
    assert results["penalty"] == 0 and "number" not in metrics(tmp_path / "run")[0]


@pytest.fixture(scope="module")
def relaxed(shared, runs):
    """Trained with relaxed presence, and with scenes that are not those that R_num is told of."""
    arguments = ("--config.estimator=concrete", "--config.data.counts=(0,2)")
    arguments += ("--config.evaluate.iwae_samples=0",)
    return runs / "relaxed", number(shared, runs / "relaxed", *arguments)


def test_the_relaxed_estimator_runs(relaxed, alone):
    results = final(relaxed[0])
    assert results["penalty"] > 0
    assert {*results, "iwae", "iwae_stderr"} == final(alone[0]).keys()
    assert set(results["counts"]) == {"0", "2"}
    for values in (results, *metrics(relaxed[0])):
        assert np.isfinite([values[name] for name in ("nelbo", "number", "balance")]).all()


def test_counts_that_do_not_fit_the_scenes_are_a_warning(relaxed):
    workdir, output = relaxed
    warnings = [line for line in output.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == 2
    assert "leaves out counts of the training scenes (16 with 0)" in warnings[0]
    assert "names [1], which no training scene has" in warnings[1]
    assert (workdir / "final.json").exists()  # and the run went on


def test_the_seeds_of_a_run_are_compared(shared, in_turn, tmp_path):
    workdir, _ = in_turn
    out = tmp_path / "compare.png"
    lines = run(shared, "compare", workdir, f"--out={out}").splitlines()
    for seed in ("seed0", "seed1"):
        (line,) = (line for line in lines if line.startswith(f"{workdir.name}/{seed} "))
        assert f"{final(workdir / seed)['nelbo']:.3f} ±" in line
    assert out.stat().st_size > 5_000


def test_seeds_that_are_measured_again_have_the_same_mean(shared, in_turn):
    workdir, _ = in_turn
    before = final(workdir)
    (workdir / "final.json").write_text(json.dumps(before | {"nelbo": 0.0, "rows": []}))
    output = run(shared, "evaluate", workdir)
    after = final(workdir)
    assert after["nelbo"] == before["nelbo"] and after["nelbo_std"] == before["nelbo_std"]
    assert [row["se"] for row in after["rows"]] == [row["se"] for row in before["rows"]]
    assert "mean of seeds" in output


ODD = {
    "PYTHONIOENCODING": "ascii",  # tables have signs and dashes that it has not
    "JAX_DEFAULT_PRNG_IMPL": "rbg",
    "MPLBACKEND": "nonsense",
}
ODD_NAME = "cost$_{$x"  # half a formula, in titles of figures


@pytest.fixture(scope="module")
def oddly(shared, together, runs):
    """Seeds 0 and 1 in an odd environment, whose output nobody reads to its end, in ~/odd."""
    call = tiny(shared, "number", "mnist13.py", "~/odd", *TOGETHER, f"--config.name={ODD_NAME}")
    cache = str(Path.home() / ".cache")  # of matplotlib's fonts, whose search takes long
    call["env"] |= {"XDG_CACHE_HOME": cache, "HOME": str(runs)} | ODD
    with (runs / "errors").open("w+") as errors:
        process = subprocess.Popen(**call | {"stderr": errors})
        process.stdout.readline()
        process.stdout.close()  # as `| head -1` does
        status = process.wait()
        errors.seek(0)
        said = errors.read()
    assert status == 0, said[-3000:]
    return runs / "odd", said


def test_an_odd_environment_changes_no_run(together, oddly):
    workdir, errors = oddly
    assert "rror" not in errors and "warning" not in errors and "disk" not in errors
    for seed in ("seed0", "seed1"):
        one, other = together[0] / seed, workdir / seed
        assert (one / "metrics.jsonl").read_text() == (other / "metrics.jsonl").read_text()
        assert final(other) == final(one) | {"name": ODD_NAME}
        figures = {file.name for file in (one / "figures").iterdir()}
        assert (
            figures == {file.name for file in (other / "figures").iterdir()} and len(figures) == 4
        )
    assert final(workdir)["failed"] == []


def test_a_run_of_an_odd_environment_is_read_in_every_other(shared, oddly, tmp_path):
    workdir = shutil.copytree(oddly[0] / "seed1", tmp_path / "run")
    before = final(workdir)
    run(shared, "evaluate", workdir)
    assert final(workdir) == before
    out = tmp_path / "x.npz"
    assert run(shared, "sample", f"--workdir={workdir}", f"--out={out}") == f"Wrote {out}\n"


BAD = {
    "seeds": (["--config.seeds=0"], "needs config.seeds of at least 1"),
    "counts": (
        ["--config.constraints.counts=(1,9)"],
        "constraints.counts must lie in 0..K=2, got (1, 9): set config.model.max_objects=9",
    ),
}


@pytest.mark.parametrize("arguments, message", BAD.values(), ids=BAD.keys())
def test_bad_input_ends_in_one_clear_error_before_anything_is_written(
    shared, tmp_path, arguments, message
):
    output = number(shared, tmp_path / "run", *arguments, expect=1)
    assert message in output and output.count("error:") == 1 and "Traceback" not in output
    assert not (tmp_path / "run").exists()
