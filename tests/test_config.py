"""The configurations: their errors and remedies, their limits, their hash."""

import dataclasses
import re

import pytest

from asr_jax import ModelConfig, OptimizerConfig
from asr_jax.config import from_fields

NAN, INF = float("nan"), float("inf")
PRIOR = "scale_prior must be (mean, variance), a mean in [-10, 10] and a variance in [1e-6, 100]"
COUNTS = "possible_counts is the fixed prior over a count that is inferred, got it with"
WRONG = [  # of a model: a field, its value, what is said
    ("encoder", "cnn", "encoder must be one of attention, patches, raw, got 'cnn'"),
    ("prior", "none", "prior must be one of fixed, learned, got 'none'"),
    ("likelihood", "beta", "likelihood must be one of bernoulli, gaussian, got 'beta'"),
    ("estimator", "nvil", "estimator must be one of marginal, concrete, got 'nvil'"),
    ("max_objects", 0, "max_objects must lie in [1, 100], got 0"),
    ("max_objects", 101, "max_objects must lie in [1, 100], got 101"),
    ("window", 0, "window must lie in [1, 65536], got 0"),
    ("appearance", -1, "appearance must lie in [1, 65536], got -1"),
    ("lstm", 2**16 + 1, "lstm must lie in [1, 65536], got 65537"),
    ("head", 0, "head must lie in [1, 65536], got 0"),
    ("max_objects", 2.5, "max_objects must be a whole number, got 2.5"),
    ("window", 28.0, "window must be a whole number, got 28.0"),
    ("place_prior", "mixture", "place_prior must be one of gaussian, relations, got 'mixture'"),
    ("encoder_hidden", True, "encoder_hidden must be a whole number, got True"),
    ("count", "3", "count must be a whole number, got '3'"),
    ("sigma", 0.0, "sigma must lie in [1e-06, 1e+06], got 0.0"),
    ("sigma", NAN, "sigma must lie in [1e-06, 1e+06], got nan"),
    ("temperature", -0.1, "temperature must lie in [1e-06, 1e+06], got -0.1"),
    ("temperature", INF, "temperature must lie in [1e-06, 1e+06], got inf"),
    ("presence_prior", NAN, "presence_prior must lie in [-1e+06, 1e+06], got nan"),
    ("look", 0.0, "look must lie in [0.1, 100], got 0.0"),
    ("votes_within", 0.0, "votes_within must lie in [0.1, 1], got 0.0"),
    ("votes_within", NAN, "votes_within must lie in [0.1, 1], got nan"),
    ("border", -0.1, "border must lie in [0, 1], got -0.1"),
    ("border", NAN, "border must lie in [0, 1], got nan"),
    ("scale_glimpse", -1.0, "scale_glimpse must lie in [0, 100], got -1.0: 0 is none"),
    ("scale_glimpse", NAN, "scale_glimpse must lie in [0, 100], got nan: 0 is none"),
    ("presence_bound", 0.5, "presence_bound must be 0, for none, or in [1, 100], got 0.5"),
    ("presence_bound", -1.0, "presence_bound must be 0, for none, or in [1, 100], got -1.0"),
    ("presence_bound", NAN, "presence_bound must be 0, for none, or in [1, 100], got nan"),
    ("count_gap_weight", -1.0, "count_gap_weight must lie in [0, 1e+06], got -1.0: 0 is without"),
    ("count_gap_weight", NAN, "count_gap_weight must lie in [0, 1e+06], got nan: 0 is without"),
    ("epsilon", 1e-9, "epsilon must lie in [1e-7, 0.5), got 1e-09"),
    ("epsilon", 0.5, "epsilon must lie in [1e-7, 0.5), got 0.5"),
    ("canvas", (50,), "canvas must be (height, width) >= 2, got (50,)"),
    ("canvas", (1, 9), "canvas must be (height, width) >= 2, got (1, 9)"),
    ("canvas", (9.5, 9), "canvas must be (height, width) >= 2, got (9.5, 9)"),
    ("count", -1, "count must be at least 0, or None, got -1"),
    *(
        ("scale_prior", wrong, f"{PRIOR}, got {wrong}")
        for wrong in (
            *((-1.0, 0.0), (-1.0, 1e-8), (-1.0, 1e6), (0.0, NAN), (NAN, 1.0), (11.0, 1.0)),
            *((-1.0,), (-1.0, 0.05, 0.0), ("a", "b")),
        )
    ),
    *(
        ("hidden", wrong, f"hidden needs sizes in 1..65536, got {wrong}")
        for wrong in ((), (8, 0), (2**16 + 1,), (8.5,), ("a",), (None,), (True,), ([8],))
    ),
]


@pytest.mark.parametrize("field, value, message", WRONG)
def test_configuration_errors_begin_with_the_field_and_name_value_and_rule(field, value, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        ModelConfig(**{field: value})


@pytest.mark.parametrize(
    "fields, message, remedy",
    [
        (
            {"count": 4, "max_objects": 3},
            "max_objects must be at least count=4, got 3: set max_objects=4 or more",
            {"max_objects": 4},
        ),
        (
            {"encoder_hidden": -1, "encoder": "patches"},
            "encoder_hidden must be 0, or up to 65536 with encoder='patches', got -1 with "
            "encoder='patches': set it 0",
            {"encoder_hidden": 0},
        ),
        (
            {"encoder_blocks": 2, "encoder": "patches"},
            "encoder_blocks must be 0, or up to 8 with encoder='attention', got 2 with "
            "encoder='patches': set it 0",
            {"encoder_blocks": 0},
        ),
        (
            {"encoder_hidden": 8, "encoder": "raw"},
            "encoder_hidden must be 0, or up to 65536 with encoder='patches', got 8 with "
            "encoder='raw': set it 0",
            {"encoder_hidden": 0},
        ),
        (
            {"learned_scale": True, "prior": "fixed"},
            "learned_scale needs prior='learned', got 'fixed': set it False",
            {"learned_scale": False},
        ),
        (
            {"possible_counts": (1, 3)},
            f"{COUNTS} prior='learned' and count=None: leave it empty",
            {"possible_counts": ()},
        ),
        (
            {"possible_counts": (1, 3), "prior": "fixed", "count": 3},
            f"{COUNTS} prior='fixed' and count=3: leave it empty",
            {"possible_counts": ()},
        ),
        (
            {"possible_counts": (1, 4), "prior": "fixed"},
            "possible_counts must lie in 0..K=3, got 4: raise max_objects, or leave it out",
            {"max_objects": 4},
        ),
        (
            {"possible_counts": (-1, 2), "prior": "fixed"},
            "possible_counts must lie in 0..K=3, got -1: raise max_objects, or leave it out",
            {"possible_counts": (2,)},
        ),
        (
            {"possible_counts": (2, 2), "prior": "fixed"},
            "possible_counts must name each count once, got (2, 2)",
            {"possible_counts": (2,)},
        ),
        *(
            (
                {"possible_counts": wrong, "prior": "fixed"},
                f"possible_counts must be whole numbers, got {wrong}",
                {"possible_counts": (1,)},
            )
            for wrong in ((1.5,), ("a",), (None, 1), (True,))
        ),
    ],
)
def test_fields_that_do_not_fit_together_are_refused_with_a_remedy_that_helps(
    fields, message, remedy
):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        ModelConfig(**fields)
    ModelConfig(**(fields | remedy))


@pytest.mark.parametrize(
    "field, value, message",
    [
        ("schedule", "linear", "schedule must be one of cosine, constant, got 'linear'"),
        ("learning_rate", 0.0, "learning_rate must be > 0 and finite, got 0.0"),
        ("learning_rate", NAN, "learning_rate must be > 0 and finite, got nan"),
        ("learning_rate", INF, "learning_rate must be > 0 and finite, got inf"),
        ("clip", NAN, "clip must not be negative, and finite, got nan"),
        ("clip", -1.0, "clip must not be negative, and finite, got -1.0"),
        ("weight_decay", INF, "weight_decay must not be negative, and finite, got inf"),
        ("b1", 1.0, "b1 must lie in [0, 0.999999], got 1.0"),
        ("b2", NAN, "b2 must lie in [0, 0.999999], got nan"),
    ],
)
def test_bad_optimizer_settings_are_refused(field, value, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        OptimizerConfig(**{field: value})


def test_configuration_accepts_its_limits():
    ModelConfig(max_objects=1, window=1, appearance=1, lstm=1, head=1, epsilon=1e-7, canvas=(2, 2))
    assert ModelConfig(count=0).counts == (0,)
    assert ModelConfig(count=3, max_objects=3).counts == (3,)
    assert ModelConfig(max_objects=2).counts == (0, 1, 2)
    assert ModelConfig(max_objects=4, prior="fixed", possible_counts=(3, 0)).counts == (0, 3)
    ModelConfig(presence_bound=1.0, count_gap_weight=0.0)
    ModelConfig(presence_bound=100.0, count_gap_weight=1e6)


def test_configuration_is_frozen_and_hashable():
    assert hash(ModelConfig()) == hash(ModelConfig())
    with pytest.raises(dataclasses.FrozenInstanceError):
        ModelConfig().window = 3
    with pytest.raises(TypeError):
        ModelConfig(windw=3)


def test_lists_are_taken_for_tuples():
    fields = dict(canvas=[40, 30], hidden=[8], scale_prior=[0.0, 1.0], possible_counts=[1, 3])
    tuples = {name: tuple(value) for name, value in fields.items()}
    assert hash(ModelConfig(prior="fixed", **fields)) == hash(ModelConfig(prior="fixed", **tuples))


def test_fields_of_a_file_make_the_configuration_that_they_are_of():
    config = ModelConfig(max_objects=5, canvas=(40, 30))
    fields = dataclasses.asdict(config)
    assert from_fields(ModelConfig, fields) == config
    with pytest.raises(ValueError, match="^windw is an unknown field: the fields are .*, window, "):
        from_fields(ModelConfig, {"windw": 3})
    with pytest.raises(ValueError, match=r"^window must lie in \[1, 65536\], got 0"):
        from_fields(ModelConfig, {"window": 0})
