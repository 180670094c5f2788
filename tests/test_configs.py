"""Every configuration with every method and preset: it parses, and makes the run that it says."""

import functools

import numpy as np
import pytest
from ml_collections import ConfigDict

from asr_jax import (
    counted_constraint,
    number_constraints,
    overlap_constraints,
    snug_constraints,
    visible_constraint,
)
from asr_jax.constraints import default_tolerances
from configs import (
    air02,
    base,
    colour_dsprites,
    colour_mnist,
    dsprites3,
    dsprites13,
    dsprites14,
    dsprites24,
    mnist3,
    mnist13,
    mnist14,
    mnist24,
    presets,
)
from experiments.run import data
from experiments.run.from_config import from_config
from tests.test_data import scenes_of

ARGUMENTS = [
    ",".join(word for word in (method, preset) if word)
    for method in presets.METHODS
    for preset in ("", "quick", "fixed", "paper", "patches")
] + [""]
NUMBER = ARGUMENTS + ["air,known", "air,known,quick", "paper,known,air", "asr,small"]
# The possible counts L of each data set of section 6.1.
NUMBERS = [(mnist13, (1, 3)), (mnist14, (1, 4)), (mnist24, (2, 4))]
NUMBERS += [(dsprites13, (1, 3)), (dsprites14, (1, 4)), (dsprites24, (2, 4))]
EVERY = [mnist3, dsprites3] + [data for data, _ in NUMBERS]


def names(constraints):
    return [constraint.name for constraint in constraints]


@pytest.mark.parametrize("data, argument", [(data, "asr") for data, _ in NUMBERS] + [(air02, "")])
def test_where_boxes_may_meet_later_steps_see_what_is_left(data, argument):
    assert from_config(data.get_config(argument)).model.config.scoped
    if argument:  # without attention there is nothing to look at
        assert not from_config(data.get_config("asr,patches")).model.config.scoped


@pytest.mark.parametrize(
    "data, argument",
    [(data, argument) for data in (mnist3, dsprites3) for argument in ARGUMENTS],
)
def test_every_argument_makes_a_run(data, argument):
    run = from_config(data.get_config(argument))
    assert run.constraints == (run.reported if run.method == "asr" else ())
    assert run.model.config.prior == ("fixed" if run.method == "air" else "learned")
    by_hand = any(word in argument for word in ("fixed", "paper", "patches"))
    assert (run.rule is None) == (by_hand or run.method != "asr")
    more = []
    if run.method == "asr" and not by_hand:
        more = ["side", "snug", "centred"] if data is dsprites3 else ["side"]
    elif "fixed" in argument or (data is dsprites3 and "patches" in argument):
        more = ["tight"]  # the paper, and digits before attention, have no price on sides
    assert names(run.reported) == [f"F{i}" for i in range(1, 8)] + more
    assert run.model.config.count == 3  # known, and nothing infers it
    of_prior = run.prior_tolerances if run.rule else run.prior_weights
    looks = run.method == "asr" and run.model.config.place_prior == "relations"
    assert list(of_prior) == ([f"F{i}" for i in range(1, 6)] if looks else [])


@pytest.mark.parametrize(
    "config, counts", NUMBERS, ids=lambda value: getattr(value, "__name__", None)
)
@pytest.mark.parametrize("argument", NUMBER)
def test_every_number_argument_makes_a_run(recwarn, argument, config, counts):
    run = from_config(config.get_config(argument))
    before = any(word in argument for word in ("paper", "patches", "small"))
    by_hand = before or "fixed" in argument or run.method != "asr"
    reported = ["number", "balance", "possible", *(f"F{i}" for i in range(1, 8))]
    reported += ["side"] * (not by_hand)
    assert names(run.reported) == reported and (run.rule is None) == by_hand
    assert run.reported[0].functional.counts == run.reported[1].functional.counts == counts
    trained = ["number", "balance"] + ["possible", "F6", "side"] * (not by_hand)
    assert names(run.constraints) == (trained if run.method == "asr" else [])
    model = run.model.config
    assert model.prior == ("fixed" if run.method == "air" else "learned")
    assert model.count is None and run.data.scenes.counts == counts
    assert model.max_objects == (6 if "paper" in argument else max(counts) + 1)
    assert model.possible_counts == (counts if "known" in argument else ())
    assert (model.count_gap_weight, run.train.count_mix_until) == ((0, 0) if before else (1, 0.2))
    assert (model.encoder == "attention") != before
    data.check(run, scenes_of(*counts, canvas=run.data.canvas))
    assert not recwarn


@pytest.mark.parametrize("data", EVERY, ids=lambda data: data.__name__)
def test_methods_differ_in_prior_and_constraints_only(data):
    methods = ["asr", "air", "pprior"] + ([] if data in (mnist3, dsprites3) else ["air,known"])
    asr, *others = (data.get_config(method).to_dict() for method in methods)
    for config in (asr, *others):
        for section, field in (
            ("model", "prior"),
            ("model", "place_prior"),  # of a learned prior
            ("model", "possible_counts"),
            ("constraints", "multipliers"),
            ("constraints", "tolerances"),
            ("constraints", "prior_tolerances"),
            ("constraints", "side"),
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
    run = from_config(mnist13.get_config("small"))
    assert run.name == "mnist13-asr-small"
    model = run.model.config
    assert (model.lstm, model.hidden, model.appearance, model.window) == (256, (200,), 50, 28)


def test_names_tell_runs_apart_whatever_the_order_of_the_words():
    assert mnist3.get_config("").name == "mnist3-asr"
    assert mnist3.get_config("quick,air").name == mnist3.get_config("air,quick").name
    assert mnist3.get_config("air,quick").name == "mnist3-air-quick"
    assert mnist24.get_config("quick,known,air").name == "mnist24-air-known-quick"


@pytest.mark.parametrize(
    "argument, message",
    [
        (
            "vae",
            "unknown method or preset 'vae': methods are asr, air, pprior, presets are fixed, ",
        ),
        ("asr,fast", "unknown method or preset 'fast'"),
        ("asr,air", "one method at a time, got asr and air"),
    ],
)
def test_bad_arguments_are_refused(argument, message):
    with pytest.raises(ValueError, match=message):
        mnist3.get_config(argument)


@pytest.mark.parametrize("method", ["asr", "pprior"])
def test_a_prior_over_known_counts_is_for_air(method):
    with pytest.raises(ValueError, match=rf"known is a prior for air, and {method} .*: use air,kn"):
        mnist13.get_config(f"{method},known")


@pytest.mark.parametrize("data", EVERY, ids=lambda data: data.__name__)
def test_quick_is_quick_with_every_other_preset(data):
    quick, both = data.get_config("quick"), data.get_config("quick,paper")
    assert both.train.epochs == quick.train.epochs < data.get_config("paper").train.epochs == 300
    assert quick.data.train_size < data.get_config("").data.train_size


def refuse(message, config, **changes):
    """Asserts that a configuration with other fields, `section__field`, is refused."""
    for name, value in changes.items():
        *section, field = name.split("__")
        functools.reduce(lambda of, part: of[part], section, config)[field] = value
    with pytest.raises(ValueError, match=message):
        from_config(config)


@pytest.mark.parametrize(
    "counts, message",
    [
        (
            (1, 9),
            r"constraints.counts must lie in 0..K=4, got \(1, 9\): set .*max_objects=9 or more",
        ),
        ((-1, 3), r"must be different whole numbers of 0 or more, got \(-1, 3\)"),
        ((3, 3), r"must be different whole numbers of 0 or more, got \(3, 3\)"),
    ],
)
@pytest.mark.parametrize("method", presets.METHODS)  # R_num is reported by all
def test_impossible_counts_are_refused(method, counts, message):
    refuse(message, mnist13.get_config(method), constraints__counts=counts)


@pytest.mark.parametrize(
    "field, value, message",
    [
        ("method", "vae", "method must be one of asr, air, pprior, got 'vae': name"),
        ("estimator", "exact", "estimator must be one of marginal, concrete, got 'exact"),
        ("train__side_by_side", "true", "side_by_side must be one of auto, yes, no, got 'true'"),
        ("seeds", 0, "seeds of at least 1 .* got 0 and 0"),
        ("seeds", -1, "seeds of at least 1 .* got -1 and 0"),
        ("seeds", 1001, "at most 1000, .* got 1001 and 0"),
        ("seed", -1, "seed of at least 0, got 1 and -1"),
        ("evaluate__every", -1, "config.evaluate.every must be at least 0, got -1"),
        ("evaluate__scenes", -1, "config.evaluate.scenes must be at least 0, got -1"),
        ("train__epochs", 0, "config.train.epochs must be at least 1, got 0"),
        ("data__scale", 0.0, "scale must be above 0, got 0.0: set config.data.scale"),
        # Numbers that 32 bits do not hold.
        ("model__sigma", float("nan"), "model.sigma must be finite, and below 1e38, got nan"),
        ("optimizer__learning_rate", 1e300, "learning_rate must be finite, and below 1e38, got"),
        ("data__scale", float("-inf"), "config.data.scale must be finite, .* got -inf"),
        ("train__epochs", 2**31, "config.train.epochs must be below 2..31, got 2147483648"),
        ("model__scale_prior", (0.0, float("inf")), r"scale_prior must be finite.*\(0.0, inf\)"),
        ("data__counts", (1, 2**40), r"config.data.counts must be below .*\(1, 1099511627776\)"),
        ("constraints__weights__F3", float("nan"), "constraints.weights.F3 must be finite"),
        # Constraints that there cannot be.
        ("constraints__epsilon", -1.0, r"epsilon must be at least 0 \(pixels\), got -1.0"),
        ("constraints__c_max", 10.0, "sides need 0 <= c_min <= c_max .* got 11.0 and 10.0"),
        ("constraints__tight", 10.0, r"tight must be at least c_min=11.0 \(pixels\), got 10.0"),
        (
            "constraints__c_min",
            51.0,
            "c_min=51.0 pixels is more than the shorter edge of .*50 x 50",
        ),
        ("constraints__counts", ([1],), r"must be different whole numbers .* got \(\[1\],\)"),
        (
            "constraints__counts",
            (True, 3),
            r"different whole numbers of 0 or more, got \(True, 3\)",
        ),
        # Weights without a constraint.
        ("constraints__weights__F9", 1.0, "weights without a constraint: F9; .* F1, .*tight"),
        ("constraints__weights__number", 1.0, "weights without a constraint: number"),  # no counts
        ("constraints__prior_weights__F9", 1.0, "prior_weights.F9 must name .* F1, F2, .*tight"),
        ("constraints__ramps__tihgt", (0, 1), "ramps.tihgt must name one of the weights F1, F2"),
        # The schedule of the geometric prior.
        ("train__presence_prior_start", 1e7, r"start must lie in \[-1e6, 1e6\], got 10000000.0"),
        ("train__presence_prior_until", -0.5, "presence_prior_until must be 0 or above, got -0.5"),
        ("train__count_mix_until", -0.5, "count_mix_until must be 0 or above, got -0.5"),
    ],
)
def test_a_setting_that_breaks_its_rule_is_refused(field, value, message):
    refuse(message, mnist3.get_config("fixed"), **{field: value})


@pytest.mark.parametrize(
    "field, value, message",
    [
        ("multipliers", "auto", "multipliers must be one of dual, fixed, got 'auto'"),
        ("tolerances__F3", 0.0, "config.constraints: the tolerance of 'tolerances.F3' must be abo"),
        ("tolerances__F3", -1.0, "tolerances.F3: the tolerance of 'F3' must be at least 0 and fin"),
        ("tolerances__F9", 1.0, "tolerances: tolerances without a constraint: F9; .* F1, .*side"),
        ("tolerances__number", 1.0, "tolerances without a constraint: number"),  # no counts
        (
            "prior_tolerances",
            {"F1": 0.0},
            "config.constraints: the .* 'prior_tolerances.F1' m",
        ),
        (
            "prior_tolerances",
            {"F9": 1.0},
            "prior_tolerances.F9 must name one of the tolerances",
        ),
        ("weights", {"F1": 2.0}, "config.constraints.weights is for multipliers=fixed, got F1 w"),
        ("ramps", {"F1": (0, 1)}, "config.constraints.ramps is for multipliers=fixed, got F1 with"),
        (
            "prior_weights",
            {"F1": 2.0},
            "prior_weights is for .* got F1 with multipliers=dual: ",
        ),
        (
            "multipliers",
            "fixed",
            "tolerances is for multipliers=dual, got F1, F2, ",
        ),
        ("side", 25.0, r"side must lie between c_min=11.0 and c_max=15.0 \(pixels\), got 25.0: it"),
    ],
)
def test_tolerances_that_break_their_rule_are_refused(field, value, message):
    value = ConfigDict(value) if isinstance(value, dict) else value
    refuse(message, mnist3.get_config("asr"), **{f"constraints__{field}": value})


@pytest.mark.parametrize("field", ["weights", "prior_weights"])
def test_a_weight_below_0_is_refused(field):
    message = rf"config.constraints.{field}.F2.* must be at least 0.*, got -1.0"
    refuse(message, dsprites3.get_config("fixed"), **{f"constraints__{field}__F2": -1.0})


def test_a_weight_on_the_prior_belongs_to_a_weighted_constraint():
    config = dsprites3.get_config("fixed")
    assert set(from_config(config).prior_weights) == {"F1", "F2", "F3", "F4", "F5"}
    del config.constraints.weights["F2"], config.constraints.ramps["F2"]
    refuse("prior_weights.F2 must name one of the weights F1, F3", config)


def test_what_the_priors_places_cannot_be_held_to_is_refused():
    message = "prior_tolerances is for config.model.place_prior=relations, got F1, .* with gaussian"
    refuse(message, mnist3.get_config("asr"), model__place_prior="gaussian")
    message = "prior_tolerances.side is of the mean of a batch, which the places of a prior are not"
    refuse(message, mnist3.get_config("asr"), constraints__prior_tolerances__side=0.1)


@pytest.mark.parametrize(
    "ramp",
    [(0.2, 0.2), (1, 0), (), (0.1,), (0, 1, 2), ("a", "b")],
)
def test_bad_ramps_are_refused(ramp):
    message = r"constraints.ramps.F1: the ramp of 'F1' must be \(start, end\) with 0 <= start"
    refuse(message, mnist3.get_config("fixed"), constraints__ramps__F1=ramp)


def test_a_constraint_without_a_weight_is_only_reported():
    config = mnist3.get_config("fixed")
    del config.constraints.weights.F6
    run = from_config(config)
    assert names(run.reported) == [*(f"F{i}" for i in range(1, 8)), "tight"]
    assert names(run.constraints) == [*(f"F{i}" for i in (1, 2, 3, 4, 5, 7)), "tight"]


def test_tolerances_are_those_that_the_constraints_carry():
    of_counts = (*number_constraints((1, 3)), counted_constraint())
    of_boxes = (*overlap_constraints(side=12.0), visible_constraint(), *snug_constraints())
    constraints = (*of_counts, *of_boxes)
    assert default_tolerances(constraints) == base.TOLERANCES


def test_constraints_on_what_boxes_show_are_there_where_they_are_named():
    assert "snug" not in names(from_config(mnist3.get_config("asr")).reported)
    run = from_config(dsprites3.get_config("asr"))
    assert [c.tolerance for c in run.constraints if c.name in ("snug", "centred")] == [1.0, 1.0]
    assert from_config(dsprites3.get_config("pprior")).constraints == ()
    assert "snug" not in names(from_config(dsprites3.get_config("asr,fixed")).constraints)


def test_a_typo_in_a_section_is_refused_by_name():
    config = mnist3.get_config("asr")
    config.model = ConfigDict(config.model.to_dict() | {"lstn": 3})
    refuse("config.model.lstn is an unknown field: the fields are canvas", config)


def test_seeds_follow_each_other_and_name_the_folder():
    config = mnist13.get_config("asr")
    run = from_config(config)
    assert run.seeds == (0,) and run.label == "mnist13-asr-seed0"
    config.seed, config.seeds = 4, 3
    run = from_config(config)
    assert run.seeds == (4, 5, 6) and run.label == "mnist13-asr-seeds4-6"


@pytest.mark.parametrize("method", ["asr", "air", "pprior"])
@pytest.mark.parametrize(
    "data, presets, counts, behind",
    [
        (colour_dsprites, "", (2, 3, 4, 5), "grey"),
        (colour_dsprites, ",coloured", (1, 2, 3, 4), "colour"),
        (colour_mnist, ",quick", (1, 3), "colour"),
        (colour_mnist, ",noise", (1, 3), "noise"),
        (colour_mnist, ",grid", (1, 3), "grid"),
        (air02, "", (0, 1, 2), "black"),
    ],
)
def test_models_of_colour_fit_their_scenes(data, presets, counts, behind, method):
    run = from_config(data.get_config(method + presets))
    model, scenes = run.model.config, run.data.scenes
    assert scenes.counts == counts and model.max_objects == max(counts) + 1
    assert scenes.background == behind and model.channels == scenes.channels
    assert (model.background == "black") == (behind == "black")
    assert [c.functional.counts for c in run.constraints if c.name == "number"] == (
        [counts] if method == "asr" else []
    )
    if model.background == "image":  # lines every 5 pixels are seen
        assert model.background_size == scenes.canvas
