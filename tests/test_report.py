"""What is said of a finished run, and of several seeds of it."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import colour_dsprites, mnist3, mnist13
from experiments.run import drawings, evaluation, multipliers, printed, report
from experiments.run.from_config import from_config
from experiments.run.train import Trained
from tests.test_data import scenes_of

# Five images of one or two objects, with K = 3; images 1 and 4 are got wrong.
TRUE = np.array([1, 1, 2, 2, 2])
VALUES = {
    "count": np.array([1, 3, 2, 2, 0]),
    "acc": np.array([1.0, 0.0, 1.0, 1.0, 0.0]),
    "count_elbo": np.array([1, 1, 3, 2, 2]),
    "acc_elbo": np.array([1.0, 1.0, 0.0, 1.0, 1.0]),
    "nelbo": np.array([10.0, 30.0, 20.0, 21.0, 25.0]),
    "F1": np.array([9.0, 9.0, 9.0, 9.0, 9.0]),  # not a column
}
PROBS = np.array(
    [
        [0.1, 0.7, 0.2, 0.0],
        [0.0, 0.3, 0.1, 0.6],
        [0.0, 0.0, 1.0, 0.0],
        [0.2, 0.1, 0.6, 0.1],
        [0.7, 0.2, 0.1, 0.0],
    ]
)


def test_by_count_is_a_row_of_the_confusion_matrix_and_the_mean_posterior():
    result = evaluation.by_count(VALUES, PROBS, TRUE)
    assert list(result) == ["1", "2"]
    one, two = result["1"], result["2"]
    assert one["images"] == 2 and two["images"] == 3
    assert one["inferred"] == [0, 1, 0, 1] and two["inferred"] == [1, 0, 2, 0]
    assert one["inferred_elbo"] == [0, 2, 0, 0] and two["inferred_elbo"] == [0, 0, 2, 1]
    assert (one["acc_elbo"], two["acc_elbo"]) == (1.0, pytest.approx(2 / 3))
    np.testing.assert_allclose(one["posterior"], [0.05, 0.5, 0.15, 0.3], atol=1e-12)
    np.testing.assert_allclose(two["posterior"], [0.3, 0.1, 1.7 / 3, 0.1 / 3], atol=1e-12)
    assert (one["acc"], one["nelbo"]) == (0.5, 20.0)
    assert (two["acc"], two["nelbo"]) == (pytest.approx(2 / 3), 22.0)
    names = {"images", "acc", "acc_elbo", "nelbo", "inferred", "inferred_elbo", "posterior"}
    assert set(one) == names
    json.dumps(result)  # numbers of Python, not of numpy


def test_columns_are_aligned_and_a_missing_cell_is_a_dash():
    rows = {"this run": {"acc": "0.98", "nelbo": "205.6 ± 1.6"}, "paper": {"nelbo": "337.3"}}
    assert printed.columns(rows).splitlines() == [
        "          nelbo        acc ",
        "this run  205.6 ± 1.6  0.98",
        "paper     337.3        –   ",
    ]


def test_refined_metrics_stand_beside_the_amortised_ones():
    final = {name: 1.0 for name in ("tidy", "miou_refined", "nelbo", "nelbo_refined", "F1_refined")}
    cells = printed.cells(final | {f"{name}_stderr": 0.5 for name in final})
    assert list(cells) == ["nelbo", "nelbo_refined", "miou_refined", "tidy"]
    more = VALUES | {"nelbo_refined": VALUES["nelbo"] - 1}
    assert evaluation.by_count(more, PROBS, TRUE)["1"]["nelbo_refined"] == 19.0


def test_the_table_says_what_was_inferred_for_each_true_count():
    final = {"name": "mnist13-asr", "images": 5, "split": "test", "acc": 0.6, "acc_stderr": 0.2}
    final["counts"] = evaluation.by_count(VALUES, PROBS, TRUE)
    lines = printed.table(final, {"acc": "0.96 ± 0.00"}).splitlines()
    assert lines[1] == "mnist13-asr, 5 test scenes"
    assert lines[3] == "this run  0.600 ± 0.200" and lines[4] == "paper     0.96 ± 0.00  "
    assert lines[-2] == "2 scenes of 1: nelbo 20.000, acc 0.500; inferred {1: 1, 3: 1}"
    assert lines[-1] == "3 scenes of 2: nelbo 22.000, acc 0.667; inferred {0: 1, 2: 2}"


@pytest.fixture
def finish(monkeypatch, tmp_path):
    """`report.finish` of a run of a small model, whose results are made up."""

    def go(steps=1, **changes):
        monkeypatch.setattr(report, "measure", lambda *_: {"nelbo": 300.0, "nelbo_stderr": 2.0})
        config = mnist3.get_config("asr")
        config.model.update(lstm=8, hidden=(16, 8), window=6, head=8, appearance=4)
        config.update(changes)
        run = from_config(config)
        params = run.model.init(jax.random.key(0))
        row = {"step": 4, "nelbo": 310.0, "kl_shift": 1.0, "F1": 2.0, "held_out_nelbo": 320.0}
        history = [row, row | {"step": 8, "nelbo": 305.0}]
        state = run.rule.init()
        for _ in range(steps):
            seen = jax.tree.map(lambda _: jnp.float32(0), state.weights)
            seen["posterior"]["F1"] = jnp.float32(2.0)
            state = run.rule.update(state, seen)
        trained = Trained(params, state, 8, 60.0, 1.0, 7.0, history)
        scenes = scenes_of(3, 3)
        scenes.test.image[:, 10:20, 10:20] = 255
        return report.finish(run, scenes, trained, 0, tmp_path, {})

    return go


def test_samples_that_are_tidy_because_they_are_hardly_there_are_warned_of(recwarn):
    for ours, theirs in ((12.0, 12.5), (19.0, 13.4), (9.0, 13.4), (None, 13.4), (0.8, None)):
        evaluation.warn_of_sides(ours, theirs)
    assert not recwarn
    for ours in (0.8, 20.0):
        with pytest.warns(match=f"sides of {ours} pixels on average, and held-out scenes 12.5: th"):
            evaluation.warn_of_sides(ours, 12.5)


def test_a_figure_that_cannot_be_drawn_is_a_warning_and_costs_no_result(
    finish, monkeypatch, tmp_path, capsys
):
    def broken(*_, **__):
        raise RuntimeError("no glyph")

    monkeypatch.setattr("asr_jax.charts.learning_curves", broken)
    with pytest.warns(match=r"^figures could not be drawn \(no glyph\)"):
        final = finish()
    assert json.loads((tmp_path / "final.json").read_text()) == final
    assert final["nelbo"] == 300.0 and "300.000 ± 2.000" in capsys.readouterr().out


def test_the_result_is_written_before_it_is_drawn(finish, monkeypatch, tmp_path):
    def killed(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("asr_jax.plots.reconstructions", killed)
    with pytest.raises(KeyboardInterrupt):
        finish()
    assert json.loads((tmp_path / "final.json").read_text())["nelbo"] == 300.0


def test_multipliers_are_in_the_result_and_weigh_what_is_measured(finish):
    final = finish(steps=100)["multipliers"]
    assert set(final["posterior"]) == {*(f"F{i}" for i in range(1, 8)), "side"}
    assert set(final["prior"]) == {f"F{i}" for i in range(1, 6)}
    f1 = final["posterior"]["F1"]
    assert f1["violation"] == pytest.approx(2.0, abs=0.02) and f1["tolerance"] == 0.3
    assert f1["multiplier"] > 1 > final["posterior"]["F2"]["multiplier"]
    run = multipliers.with_found(from_config(mnist3.get_config("asr")), final)
    assert run.weights == {name: row["multiplier"] for name, row in final["posterior"].items()}
    by_hand = from_config(mnist3.get_config("fixed"))
    assert multipliers.with_found(by_hand, None) is by_hand


def test_a_constraint_that_cannot_be_met_is_named(finish):
    with pytest.warns(
        match="^F1 cannot be met on posterior: its multiplier is at its limit of 1000 and the "
        "violation stays at 2 where config.constraints.tolerances.F1=0.3 is allowed: allow more"
    ):
        finish(steps=1_000)


def test_a_violation_that_falls_is_not_given_up(recwarn):
    row = {"multiplier": 1e3, "violation": 1.0, "tolerance": 0.1, "falls": True}
    multipliers.warn_of_unmet({"posterior": {"F1": row}, "prior": {}}, 1000.0)
    multipliers.warn_of_unmet({"posterior": {}, "prior": {"F1": row | {"violation": 0.05}}}, 1000.0)
    assert not recwarn
    with pytest.warns(match=r"^F1 cannot be met on prior: .*constraints.prior_tolerances.F1="):
        row |= {"falls": False}
        multipliers.warn_of_unmet({"posterior": {}, "prior": {"F1": row}}, 1000.0)


def test_whether_a_violation_falls_is_seen_from_two_means():
    run = from_config(mnist3.get_config("asr"))
    for course, falls in (((2.0, 1.0), True), ((1.0, 2.0), False), ((1.0, 1.0), False)):
        state = run.rule.init()
        for violation in np.repeat(course, [100, 15]):
            state = run.rule.update(
                state, jax.tree.map(lambda _, v=violation: jnp.float32(v), state.violation)
            )
        found = multipliers.found(run, state)
        assert {row["falls"] for of in found.values() for row in of.values()} == {falls}


def test_a_name_that_looks_like_a_formula_is_drawn_as_it_is(finish, recwarn, tmp_path):
    finish(name="cost$_{$x")
    names = {"reconstructions.png", "samples.png", "learning_curves.png"}
    assert {file.name for file in (tmp_path / "figures").iterdir()} == names and not recwarn


def test_learning_curves_show_held_out_scenes_beside_training():
    history = [{"step": 4, "nelbo": 1.0, "kl_count": 1.0, "kl_scale": 1.0, "number": 1.0}]
    run = from_config(mnist13.get_config("asr"))
    assert drawings.panels(run, history) == {
        "negative ELBO (nats)": ["nelbo"],
        "KL (nats)": ["kl_count", "kl_scale"],
        "F of counts (nats)": ["number"],
    }
    history[0] |= {"held_out_nelbo": 1.0, "held_out_miou": 0.5, "held_out_acc": 1.0}
    shown = drawings.panels(run, history)
    assert shown["negative ELBO (nats)"] == ["nelbo", "held_out_nelbo"]
    assert shown[drawings.SHARES] == ["held_out_acc", "held_out_miou"]
    history[0] |= {"held_out_acc_elbo": 1.0, "count_gap": 0.0}
    for weight in (0.0, 2.0):  # what is not trained with is 0 all the time
        config = mnist13.get_config("asr")
        config.model.count_gap_weight = weight
        shown = drawings.panels(from_config(config), history)
        assert shown[drawings.SHARES] == ["held_out_acc", "held_out_acc_elbo", "held_out_miou"]
        assert ("count_gap" in shown["KL (nats)"]) == (weight > 0)


NELBO, SE = (360.5, 371.0, 352.25), (28.0, 30.5, 29.0)


def seeds(workdir, finished, failed=(), **changes):
    """The folders of seeds as a run leaves them, and what is made of them."""
    folders = {seed: workdir / f"seed{seed}" for seed in (*finished, *failed)}
    for seed, folder in folders.items():
        folder.mkdir()
        if seed in failed:
            (folder / "failed.json").write_text('{"error": "nelbo is not finite at step 7"}')
            continue
        final = {
            "name": "mnist13-asr",
            "method": "asr",
            "data": "embedded",
            "split": "test",
            "images": 20,
            "seed": seed,
            "steps": 16,
            "parameters": 300,
            "nelbo": NELBO[seed],
            "nelbo_stderr": 2.0,
            "se": SE[seed],
            "se_stderr": 0.5,
            "counts": {"1": {"acc": 1.0}},
        }
        (folder / "final.json").write_text(json.dumps(final | changes))
    paper = {"nelbo": "360.20 ± 19.67"}
    return report.finish_seeds("mnist13-asr", dict(sorted(folders.items())), workdir, paper)


def line(output, start):
    """What follows on the one line that starts so, a blank between its cells."""
    (found,) = (line for line in output.splitlines() if line.startswith(start))
    return " ".join(found.removeprefix(start).split())


def test_seeds_are_averaged_and_the_failed_are_counted(tmp_path, capsys):
    final = seeds(tmp_path, finished=(0, 1, 2), failed=(3,))
    assert final["seeds"] == [0, 1, 2, 3] and final["failed"] == [3]
    for name, values in (("nelbo", NELBO), ("se", SE)):
        assert final[name] == pytest.approx(np.mean(values))
        assert final[f"{name}_std"] == pytest.approx(np.std(values, ddof=1))
    assert final["method"] == "asr" and final["steps"] == 16 and final["images"] == 20
    # A mean of seeds, of standard errors or of counts of parameters would say nothing.
    assert not {"seed", "seed_std", "nelbo_stderr", "parameters", "counts"} & set(final)
    saved = json.loads((tmp_path / "final.json").read_text())
    rows = saved.pop("rows")
    assert {name: saved[name] for name in saved} == {name: final[name] for name in saved}
    assert [row["seed"] for row in rows] == [0, 1, 2] and rows[1]["nelbo"] == NELBO[1]
    output = capsys.readouterr().out
    assert "mnist13-asr, 4 seeds, 1 failed" in output
    assert line(output, "seed 1") == "371.000 ± 2.000 30.500 ± 0.500"
    assert line(output, "seed 3") == "failed –"
    # nELBO: the deviations from 361.25 are -0.75, 9.75, -9; half of their squares is 88.3125.
    assert line(output, "mean of seeds") == "361.250 ± 9.397 29.167 ± 1.258"
    assert line(output, "paper") == "360.20 ± 19.67 –"


def test_one_seed_that_finished_has_no_standard_deviation(tmp_path, capsys):
    final = seeds(tmp_path, finished=(1,), failed=(0,))
    assert final["failed"] == [0] and final["nelbo"] == NELBO[1] and final["nelbo_std"] is None
    output = capsys.readouterr().out
    assert "2 seeds, 1 failed" in output and "±" not in line(output, "mean of seeds")


def test_seeds_that_all_failed_are_a_result(tmp_path, capsys):
    final = seeds(tmp_path, finished=(), failed=(0, 1))
    assert final["failed"] == [0, 1] and "nelbo" not in final
    assert json.loads((tmp_path / "final.json").read_text())["rows"] == []
    assert "2 seeds, 2 failed" in capsys.readouterr().out


def test_seeds_that_agree_have_a_standard_deviation_of_0(tmp_path, capsys):
    final = seeds(tmp_path, finished=(0, 1), acc=1.0, acc_stderr=0.0)
    assert (final["acc"], final["acc_std"]) == (1.0, 0.0)
    assert line(capsys.readouterr().out, "mean of seeds").endswith("1.000 ± 0.000")


@pytest.mark.parametrize("without", [0, 1])
def test_a_rate_that_one_seed_does_not_have_is_that_of_the_other(tmp_path, without):
    """A seed that was resumed for its last dispatch has no rate."""
    seeds(tmp_path, finished=(0, 1), steps_per_second=30.0)
    file = tmp_path / f"seed{without}" / "final.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"steps_per_second": None}))
    folders = {seed: tmp_path / f"seed{seed}" for seed in (0, 1)}
    final = report.finish_seeds("mnist13-asr", folders, tmp_path, {})
    assert final["steps_per_second"] == 30.0 and final["steps_per_second_std"] is None


def test_a_seed_that_finds_nothing_has_no_median_of_centres(tmp_path):
    seeds(tmp_path, finished=(0, 1), centre=0.5, centre_off=0.25)
    file = tmp_path / "seed0" / "final.json"
    final = json.loads(file.read_text())
    file.write_text(json.dumps(final | {"centre": None, "centre_off": 1.0}))
    folders = {seed: tmp_path / f"seed{seed}" for seed in (0, 1)}
    final = report.finish_seeds("mnist13-asr", folders, tmp_path, {})
    assert (final["centre"], final["centre_std"], final["centre_off"]) == (0.5, None, 0.625)


def test_a_panel_shows_constraints_of_one_unit():
    run = from_config(colour_dsprites.get_config("asr"))
    history = [{"step": 4} | {constraint.name: 1.0 for constraint in run.constraints}]
    assert drawings.panels(run, history) == {
        "F of counts (nats)": ["number", "balance", "possible"],
        "F of boxes (pixels)": ["F6", "side"],
        "F of what boxes show (objects)": ["visible"],
    }


def test_how_far_centres_are_off_is_of_all_objects_by_hand():
    distances = np.array([[0.5, np.inf, -1], [1.0, 3.0, 0.25]])  # -1: no object
    assert evaluation.off_centre(distances) == {"centre": 1.0, "centre_off": 0.4}
    assert evaluation.off_centre(np.full((3, 1), np.inf)) == {"centre": None, "centre_off": 1.0}
    assert evaluation.off_centre(np.full((3, 1), -1.0)) == {}
