"""Every configuration with every method and preset: it parses, and builds what it says."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict

from configs import (
    base,
    dsprites3,
    dsprites13,
    dsprites14,
    dsprites24,
    mnist3,
    mnist13,
    mnist14,
    mnist24,
)
from experiments import build
from experiments.workdir import hold, open_workdir

ROOT = Path(__file__).parents[1]
ARGUMENTS = [
    ",".join(word for word in (method, preset) if word)
    for method in base.METHODS
    for preset in ("", "quick", "paper")
] + [""]
OVERLAP = ARGUMENTS + ["asr,tight", "tight,quick"]
NUMBER = ARGUMENTS + ["air,known", "air,known,quick", "paper,known,air", "asr,small"]
CANVAS = (50, 50)
# The possible counts L of each data set of section 6.1.
NUMBERS = [(mnist13, (1, 3)), (mnist14, (1, 4)), (mnist24, (2, 4))]
NUMBERS += [(dsprites13, (1, 3)), (dsprites14, (1, 4)), (dsprites24, (2, 4))]
EVERY = [mnist3, dsprites3] + [data for data, _ in NUMBERS]


class Scenes:
    """What `build.check_counts` and `build.warnings` look at: one scene of each of the counts."""

    def __init__(self, *counts, canvas=50):
        self.image = np.zeros((len(counts), canvas, canvas, 1), np.uint8)
        self.count = np.array(counts)


def names(constraints):
    return [constraint.name for constraint in constraints]


@pytest.mark.parametrize(
    "data, argument",
    [(mnist3, argument) for argument in OVERLAP] + [(dsprites3, word) for word in ARGUMENTS],
)
def test_every_argument_builds_a_run(data, argument):
    config = data.get_config(argument)
    model = build.model(config, CANVAS)
    build.check_counts(config, Scenes(3))
    build.optimizer(config)
    constraints = build.constraints(config)
    penalised = build.penalised(config, constraints)
    assert penalised == (constraints if config.method == "asr" else ())
    assert model.config.prior == ("fixed" if config.method == "air" else "learned")
    # Shapes differ in size, digits need to be asked; the paper has no price on sides.
    tight = "tight" in argument or (data is dsprites3 and "paper" not in argument)
    expected = [f"F{i}" for i in range(1, 8)] + (["tight"] if tight else [])
    assert names(constraints) == expected


@pytest.mark.parametrize(
    "data, counts", NUMBERS, ids=lambda value: getattr(value, "__name__", None)
)
@pytest.mark.parametrize("argument", NUMBER)
def test_every_number_argument_builds_a_run(argument, data, counts):
    config, scenes = data.get_config(argument), Scenes(*counts)
    model = build.model(config, CANVAS).config
    build.check_counts(config, scenes)
    build.optimizer(config)
    constraints = build.constraints(config)
    asr = config.method == "asr"
    assert names(constraints) == ["number", "balance"] + [f"F{i}" for i in range(1, 8)]
    assert constraints[0].functional.counts == constraints[1].functional.counts == counts
    assert names(build.penalised(config, constraints)) == (["number", "balance"] if asr else [])
    assert model.prior == ("fixed" if config.method == "air" else "learned")
    assert model.count is None and config.data.counts == counts
    assert model.max_steps == (6 if "paper" in argument else max(counts) + 1)
    assert model.possible_counts == (counts if "known" in argument else ())
    assert build.warnings(config, scenes) == []


@pytest.mark.parametrize("data", EVERY, ids=lambda data: data.__name__)
def test_methods_differ_in_prior_and_constraints_only(data):
    methods = ["asr", "air", "pprior"] + ([] if data in (mnist3, dsprites3) else ["air,known"])
    asr, *others = (data.get_config(method).to_dict() for method in methods)
    for config in (asr, *others):
        for section, field in (
            ("model", "prior"),
            ("model", "possible_counts"),
            ("constraints", "weights"),
            ("constraints", "prior_weights"),
            ("constraints", "ramps"),
        ):
            config[section].pop(field)
        config.pop("name"), config.pop("method")
    assert all(asr == other for other in others)
    # The possible counts are a prior for those who ask for it alone.
    assert all(not data.get_config(m).model.possible_counts for m in ("asr", "air", "pprior"))


@pytest.mark.parametrize("data", EVERY, ids=lambda data: data.__name__)
def test_the_prior_over_sides_lies_between_the_bounds_on_sides(data):
    config = data.get_config()
    mean, variance = config.model.scale_prior
    side = config.data.canvas / (1 + np.exp(-mean))
    low, high = config.constraints.c_min, config.constraints.c_max
    assert low < side < high and variance > 0
    named = config.data.objects in data.__name__
    assert named and config.data.canvas == (64 if config.data.objects == "dsprites" else 50)


def test_small_networks_are_those_of_public_air_codes():
    config = mnist13.get_config("small")
    model = build.model(config, CANVAS).config
    assert config.name == "mnist13-asr-small"
    sizes = model.lstm, model.hidden, model.appearance, model.window
    assert sizes == (256, (200,), 50, 28)


def test_the_counts_are_known_where_nothing_infers_them():
    assert build.model(mnist3.get_config("asr"), CANVAS).config.count == 3
    assert build.constraints(mnist3.get_config("asr"))[0].name == "F1"  # no R_num


def test_names_tell_runs_apart_whatever_the_order_of_the_words():
    assert mnist3.get_config("").name == "mnist3-asr"
    assert mnist3.get_config("quick,air").name == mnist3.get_config("air,quick").name
    assert mnist3.get_config("air,quick").name == "mnist3-air-quick"
    assert mnist24.get_config("quick,known,air").name == "mnist24-air-known-quick"


@pytest.mark.parametrize(
    "argument, message",
    [
        ("vae", "unknown method or preset 'vae': methods are asr, air, pprior, presets are paper"),
        ("asr,fast", "unknown method or preset 'fast'"),
        ("asr,air", "one method at a time, got asr and air"),
        ("air,tight", "tight adds a constraint, and air has none"),
    ],
)
def test_bad_arguments_are_refused(argument, message):
    with pytest.raises(ValueError, match=message):
        mnist3.get_config(argument)


@pytest.mark.parametrize("method", ["asr", "pprior"])
def test_a_prior_over_known_counts_is_for_air(method):
    with pytest.raises(ValueError, match=rf"known is a prior for air, and {method} .*: use air,kn"):
        mnist13.get_config(f"{method},known")


def test_fewer_steps_than_objects_are_refused():
    config = mnist3.get_config("asr")
    config.model.max_steps = 3
    message = r"K must be at least max\(counts\)=4, got 3: set config.model.max_steps=4"
    with pytest.raises(ValueError, match=message):
        build.check_counts(config, Scenes(4))
    config = mnist14.get_config("pprior")
    config.model.max_steps = 3
    with pytest.raises(ValueError, match=message):
        build.check_counts(config, Scenes(1, 4, 1))


@pytest.mark.parametrize(
    "counts, message",
    [
        ((1, 9), r"constraints.counts must lie in 0..K=4, got \(1, 9\): set .*max_steps=9 or more"),
        ((-1, 3), r"must be different whole numbers of 0 or more, got \(-1, 3\)"),
        ((3, 3), r"must be different whole numbers of 0 or more, got \(3, 3\)"),
    ],
)
@pytest.mark.parametrize("method", base.METHODS)  # R_num is reported by all
def test_impossible_counts_are_refused(method, counts, message):
    config = mnist13.get_config(method)
    config.constraints.counts = counts
    with pytest.raises(ValueError, match=message):
        build.constraints(config)


def test_a_known_count_that_the_scenes_do_not_have_is_refused():
    with pytest.raises(ValueError, match=r"model.count=3 says .* got counts \[2\]: .*count=-1"):
        build.check_counts(mnist3.get_config("asr"), Scenes(2))


def test_a_typo_in_a_section_is_refused_by_name():
    config = mnist3.get_config("asr")
    config.model = ConfigDict(config.model.to_dict() | {"lstn": 3})
    with pytest.raises(ValueError, match=r"unknown field config.model.lstn: the fields are canvas"):
        build.model(config, CANVAS)


def test_the_estimator_reaches_the_model():
    config = mnist13.get_config("asr")
    assert build.model(config, CANVAS).config.estimator == "marginal"
    config.estimator = "concrete"
    assert build.model(config, CANVAS).config.estimator == "concrete"
    config.estimator = "exact"
    with pytest.raises(ValueError, match="estimator must be one of marginal, concrete, got 'exact"):
        build.model(config, CANVAS)


def test_a_weight_on_the_prior_belongs_to_a_weighted_constraint():
    config = dsprites3.get_config("asr")
    schedule = build.schedule(config, 0, 5, 10)
    assert set(schedule.prior_weights) == {"F1", "F2", "F3", "F4", "F5"}
    assert schedule.prior_weights["F1"].shape == (5,)
    for argument in ("air", "pprior", "asr,paper"):  # the posterior's constraints alone, or none
        assert build.schedule(dsprites3.get_config(argument), 0, 5, 10).prior_weights is None
    del config.constraints.weights["F2"], config.constraints.ramps["F2"]
    with pytest.raises(ValueError, match="prior_weights.F2 must name one of the weights F1, F3"):
        build.penalised(config, build.constraints(config))


def test_shapes_are_found_first_and_kept_apart_then():
    weights = build.schedule(dsprites3.get_config("asr"), 0, 10, 10).weights
    rise = [0, 0, 1 / 3, 2 / 3, 1, 1, 1, 1, 1, 1]  # from 0.1 to 0.4 of the run
    np.testing.assert_allclose(weights["F1"], rise, rtol=1e-6)
    np.testing.assert_allclose(weights["F6"], 20 * np.float64(rise), rtol=1e-6)
    paper = build.schedule(dsprites3.get_config("asr,paper"), 0, 10, 10).weights
    assert all(np.ptp(weight) == 0 for weight in paper.values())


def test_a_constraint_without_a_weight_is_only_reported():
    config = mnist3.get_config("asr")
    del config.constraints.weights.F6
    constraints = build.constraints(config)
    assert names(constraints) == [f"F{i}" for i in range(1, 8)]
    assert names(build.penalised(config, constraints)) == [f"F{i}" for i in (1, 2, 3, 4, 5, 7)]


def test_a_weight_without_a_constraint_is_refused():
    config = mnist3.get_config("asr")
    config.constraints.weights.F9 = 1.0
    with pytest.raises(ValueError, match="weights without a constraint: F9"):
        build.penalised(config, build.constraints(config))
    config = mnist13.get_config("asr")
    config.constraints.counts = ()  # then there is no R_num to weigh
    with pytest.raises(ValueError, match="weights without a constraint: balance, number; the con"):
        build.penalised(config, build.constraints(config))


def test_a_ramp_raises_a_weight_between_its_two_ends():
    config = mnist3.get_config("asr,tight")
    config.constraints.ramps.tight = (0.2, 0.6)
    weights = build.schedule(config, 0, 100, 100).weights
    assert weights["F6"].tolist() == [20.0] * 100
    tight = weights["tight"]
    assert tight[:20].tolist() == [0.0] * 20 and tight[60:].tolist() == [20.0] * 40
    assert tight[40] == pytest.approx(10.0)
    later = build.schedule(config, 30, 50, 100).weights["tight"]
    assert later.tolist() == tight[30:50].tolist()


def test_the_geometric_prior_goes_from_many_objects_to_few_in_half_of_the_run():
    config = mnist13.get_config("air")
    log_odds = build.schedule(config, 0, 400, 400).presence_prior
    assert log_odds.shape == (400,) and log_odds.dtype == np.float32
    # A straight line from 9.2 to -20 over 200 steps: half of it is (9.2 - 20) / 2 = -5.4.
    assert log_odds[[0, 50, 100, 150]] == pytest.approx([9.2, 1.9, -5.4, -12.7], abs=1e-5)
    assert log_odds[200:].tolist() == [-20.0] * 200
    later = build.schedule(config, 150, 250, 400).presence_prior
    assert later.tolist() == log_odds[150:250].tolist()
    assert build.schedule(config, 399, 400, 400).presence_prior.tolist() == [-20.0]


def test_the_geometric_prior_stays_where_it_is_without_a_schedule():
    config = mnist13.get_config("air")
    config.train.presence_prior_until = 0.0
    assert build.schedule(config, 0, 8, 8).presence_prior.tolist() == [-20.0] * 8
    config.model.presence_prior = 1.5
    assert build.schedule(config, 0, 8, 8).presence_prior.tolist() == [1.5] * 8
    config = mnist3.get_config("air")  # the count is known: nothing to anneal
    assert build.schedule(config, 0, 8, 8).presence_prior.tolist() == [0.0] * 8


def test_counts_that_do_not_fit_the_scenes_are_named():
    config = mnist13.get_config("asr")
    (message,) = build.warnings(config, Scenes(1, 1, 3, 2, 0, 2))
    assert "counts=[1, 3] leaves out counts of the training scenes (1 with 0, 2 with 2)" in message
    (message,) = build.warnings(config, Scenes(1, 1))
    assert "counts=[1, 3] names [3], which no training scene has" in message
    config.constraints.counts = (1, 4)
    strange, missing = build.warnings(config, Scenes(3, 1, 3))
    assert "(2 with 3)" in strange and "names [4]" in missing


def test_counts_that_fit_or_are_not_known_are_not_talked_about():
    config = mnist13.get_config("asr")
    assert build.warnings(config, Scenes(3, 1, 1)) == []
    unlabelled = Scenes(2)
    unlabelled.count = None
    assert build.warnings(config, unlabelled) == []
    assert build.warnings(mnist3.get_config("asr"), Scenes(5)) == []  # no possible counts named


def test_seeds_follow_each_other_and_name_the_folder():
    config = mnist13.get_config("asr")
    assert list(build.seeds(config)) == [0] and build.seeds_name(config) == "seed0"
    config.seed, config.seeds = 4, 3
    assert list(build.seeds(config)) == [4, 5, 6] and build.seeds_name(config) == "seeds4-6"


@pytest.mark.parametrize("seed, seeds", [(0, 0), (0, -1), (-1, 2), (0, 1001)])
def test_no_seeds_and_seeds_below_0_are_refused(seed, seeds):
    config = mnist13.get_config("asr")
    config.seed, config.seeds = seed, seeds
    with pytest.raises(ValueError, match=rf"seeds of at least 1 .* got {seeds} and {seed}"):
        build.seeds(config)


@pytest.mark.parametrize(
    "name, ramp",
    [("tihgt", (0.1, 0.2)), *(("F1", wrong) for wrong in ((0.2, 0.2), (1, 0), (), (0.1,)))]
    + [("F1", (0, 1, 2)), ("F1", ("a", "b")), ("F1", (float("nan"), 1.0))],
)
def test_bad_ramps_are_refused(name, ramp):
    config = mnist3.get_config("asr")
    config.constraints.ramps[name] = ramp
    with pytest.raises(ValueError, match=rf"ramps.{name} must be \(start, end\) with 0 <= start"):
        build.penalised(config, build.constraints(config))


@pytest.mark.parametrize("data", EVERY, ids=lambda data: data.__name__)
def test_quick_is_quick_with_every_other_preset(data):
    quick, both = data.get_config("quick"), data.get_config("quick,paper")
    assert both.train.epochs == quick.train.epochs < data.get_config("paper").train.epochs == 300
    assert quick.data.train_size < data.get_config("").data.train_size


def test_a_workdir_in_which_another_process_works_is_refused_until_it_ends(tmp_path):
    code = "import sys, pathlib; from experiments import workdir; "
    code += "workdir.hold(pathlib.Path(sys.argv[1])); print('held', flush=True); input()"
    start = [sys.executable, "-c", code, str(tmp_path)]
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    with subprocess.Popen(start, **pipes) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(ValueError, match="another process is at work in .*wait until it ends"):
            hold(tmp_path)
        other.kill()  # a lock that is left behind holds nothing
    hold(tmp_path)


def test_a_workdir_of_another_configuration_is_refused_and_left_alone(tmp_path):
    workdir = tmp_path / "run"
    open_workdir(workdir, mnist3.get_config("asr"), {"scenes": "abc"}, resume=False)
    before = (workdir / "config.json").read_text()
    with pytest.raises(
        ValueError, match=r"method is 'asr' there and 'air' here.*another --workdir"
    ):
        open_workdir(workdir, mnist3.get_config("air"), {"scenes": "abc"}, resume=True)
    with pytest.raises(ValueError, match="holds this run already: pass --resume"):
        open_workdir(workdir, mnist3.get_config("asr"), {"scenes": "abc"}, resume=False)
    open_workdir(workdir, mnist3.get_config("asr"), {"scenes": "abc"}, resume=True)
    with pytest.raises(ValueError, match="scenes is 'abc' there and 'xyz' here"):
        open_workdir(workdir, mnist3.get_config("asr"), {"scenes": "xyz"}, resume=True)
    elsewhere = mnist3.get_config("asr")
    elsewhere.data.data_dir = "/another/cache"  # does not change a result
    open_workdir(workdir, elsewhere, {"scenes": "abc"}, resume=True)
    assert (workdir / "config.json").read_text() == before


def test_a_folder_of_other_files_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("...")
    with pytest.raises(ValueError, match="not empty and not a run"):
        open_workdir(tmp_path, mnist3.get_config("asr"), {"scenes": "abc"}, resume=False)


@pytest.mark.parametrize(
    "section, field, value, message",
    [
        (
            "model",
            "sigma",
            float("nan"),
            "config.model.sigma must be finite, and below 1e38, got nan",
        ),
        ("optimizer", "learning_rate", 1e300, "learning_rate must be finite, and below 1e38, got"),
        ("data", "scale", float("-inf"), "config.data.scale must be finite, .* got -inf"),
        ("train", "epochs", 2**31, "config.train.epochs must be below 2..31, got 2147483648"),
        ("model", "scale_prior", (0.0, float("inf")), r"scale_prior must be finite.*\(0.0, inf\)"),
        ("data", "counts", (1, 2**40), r"config.data.counts must be below .*\(1, 1099511627776\)"),
    ],
)
def test_numbers_that_32_bits_do_not_hold_are_refused(section, field, value, message):
    config = mnist3.get_config("asr")
    config[section][field] = value
    with pytest.raises(ValueError, match=message):
        build.check_numbers(config)


def test_numbers_are_looked_at_in_every_depth_of_every_configuration():
    for data in EVERY:
        build.check_numbers(data.get_config("asr"))
    config = mnist3.get_config("asr,tight")
    config.constraints.weights.F3 = float("nan")
    with pytest.raises(ValueError, match="config.constraints.weights.F3 must be finite"):
        build.check_numbers(config)


def test_a_method_that_there_is_not_is_refused():
    config = mnist3.get_config("air")
    build.check_method(config)
    config.method = "vae"
    with pytest.raises(ValueError, match="method must be one of asr, air, pprior, got 'vae': name"):
        build.check_method(config)


@pytest.mark.parametrize("field", ["weights", "prior_weights"])
@pytest.mark.parametrize("weight", [-1.0, float("nan")])
def test_a_weight_below_0_is_refused(field, weight):
    config = dsprites3.get_config("asr")
    config.constraints[field].F2 = weight
    with pytest.raises(
        ValueError, match=rf"constraints.{field}.F2 must be at least 0, got {weight}"
    ):
        build.penalised(config, build.constraints(config))


@pytest.mark.parametrize(
    "field, value, message",
    [
        ("epsilon", -1.0, r"epsilon must be at least 0 \(pixels\), got -1.0"),
        ("epsilon", float("nan"), "epsilon must be at least 0 .* got nan"),
        ("c_max", float("inf"), "sides need 0 <= c_min <= c_max .* got 11.0 and inf"),
        ("tight", 10.0, r"tight must be at least c_min=11.0 \(pixels\), got 10.0"),
        ("counts", ([1],), r"must be different whole numbers of 0 or more, got \(\[1\],\)"),
        ("counts", (True, 3), r"must be different whole numbers of 0 or more, got \(True, 3\)"),
    ],
)
def test_impossible_constraints_are_refused(field, value, message):
    config = mnist3.get_config("asr")
    config.constraints[field] = value
    with pytest.raises(ValueError, match=message):
        build.constraints(config)


@pytest.mark.parametrize(
    "field, value, message",
    [
        ("start", 1e7, r"presence_prior_start must lie in \[-1e6, 1e6\], got 10000000.0"),
        ("start", float("nan"), "presence_prior_start must lie in .* got nan"),
        ("until", -0.5, "presence_prior_until must be 0 or above, got -0.5"),
        ("until", float("nan"), "presence_prior_until must be 0 or above, got nan"),
    ],
)
def test_bad_schedules_of_the_geometric_prior_are_refused(field, value, message):
    config = mnist13.get_config("air")
    build.check_presence_prior(config)
    config.train[f"presence_prior_{field}"] = value
    with pytest.raises(ValueError, match=message):
        build.check_presence_prior(config)
