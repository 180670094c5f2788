"""The model's configuration: its errors, its limits, its hash."""

import dataclasses
import re

import pytest

from asr_jax.types import ModelConfig


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"encoder": "cnn"}, "model.encoder must be one of patches, raw, got 'cnn'"),
        ({"prior": "none"}, "model.prior must be one of fixed, learned, got 'none'"),
        (
            {"likelihood": "beta"},
            "model.likelihood must be one of bernoulli, gaussian, got 'beta'",
        ),
        ({"estimator": "nvil"}, "model.estimator must be one of marginal, concrete, got 'nvil'"),
        ({"max_steps": 0}, "model.max_steps must lie in 1..100, got 0"),
        ({"window": 0}, "model.window must lie in 1..65536, got 0"),
        ({"appearance": -1}, "model.appearance must lie in 1..65536, got -1"),
        ({"lstm": 0}, "model.lstm must lie in 1..65536, got 0"),
        ({"head": 0}, "model.head must lie in 1..65536, got 0"),
        ({"max_steps": 101}, "model.max_steps must lie in 1..100, got 101"),
        ({"lstm": 2**16 + 1}, "model.lstm must lie in 1..65536, got 65537"),
        ({"sigma": 0.0}, "model.sigma must lie in [1e-06, 1e+06], got 0.0"),
        ({"sigma": float("nan")}, "model.sigma must lie in [1e-06, 1e+06], got nan"),
        ({"temperature": -0.1}, "model.temperature must lie in [1e-06, 1e+06], got -0.1"),
        ({"temperature": float("inf")}, "model.temperature must lie in [1e-06, 1e+06], got inf"),
        (
            {"presence_prior": float("nan")},
            "model.presence_prior must lie in [-1e+06, 1e+06], got nan",
        ),
        ({"scale_glimpse": -1.0}, "model.scale_glimpse must lie in [0, 100], got -1.0: 0 is none"),
        (
            {"scale_glimpse": float("nan")},
            "model.scale_glimpse must lie in [0, 100], got nan: 0 is none",
        ),
        ({"epsilon": 1e-9}, "model.epsilon must lie in [1e-7, 0.5), got 1e-09"),
        ({"epsilon": 0.5}, "model.epsilon must lie in [1e-7, 0.5), got 0.5"),
        ({"canvas": (50,)}, "model.canvas must be (height, width) >= 2, got (50,)"),
        ({"canvas": (1, 9)}, "model.canvas must be (height, width) >= 2, got (1, 9)"),
        *(
            (
                {"scale_prior": wrong},
                "model.scale_prior must be (mean, variance), a mean in [-10, 10] and a variance "
                f"in [1e-6, 100], got {wrong}",
            )
            for wrong in (
                *((-1.0, 0.0), (-1.0, 1e-8), (-1.0, 1e6), (0.0, float("nan"))),
                *((float("nan"), 1.0), (11.0, 1.0), (-1.0,), (-1.0, 0.05, 0.0), ("a", "b")),
            )
        ),
        (
            {"count": 4, "max_steps": 3},
            "model.max_steps must be at least model.count=4, got 3: set model.max_steps=4 or more",
        ),
        ({"count": -1}, "model.count must be at least 0, or None, got -1"),
        *(
            ({"hidden": wrong}, f"model.hidden needs sizes in 1..65536, got {wrong}")
            for wrong in ((), (8, 0), (2**16 + 1,), (8.5,), ("a",), (None,), (True,), ([8],))
        ),
        (
            {"encoder_hidden": -1},
            "model.encoder_hidden must be 0, or up to 65536 with model.encoder='patches', got -1",
        ),
        (
            {"encoder_hidden": 8, "encoder": "raw"},
            "model.encoder_hidden must be 0, or up to 65536 with model.encoder='patches', got 8 "
            "with encoder='raw'",
        ),
        *(
            (
                {"possible_counts": wrong, "prior": "fixed"},
                f"model.possible_counts must be whole numbers, got {wrong}",
            )
            for wrong in ((1.5,), ("a",), (None, 1), (True,))
        ),
        (
            {"learned_scale": True, "prior": "fixed"},
            "model.learned_scale needs model.prior='learned', got 'fixed'",
        ),
        (
            {"possible_counts": (1, 3)},
            "model.possible_counts is the fixed prior over a count that is inferred, got it with "
            "prior='learned' and count=None",
        ),
        (
            {"possible_counts": (1, 3), "prior": "fixed", "count": 3},
            "model.possible_counts is the fixed prior over a count that is inferred, got it with "
            "prior='fixed' and count=3",
        ),
        (
            {"possible_counts": (1, 4), "prior": "fixed", "max_steps": 3},
            "model.possible_counts must lie in 0..K=3, got 4: raise model.max_steps",
        ),
        (
            {"possible_counts": (-1, 2), "prior": "fixed"},
            "model.possible_counts must lie in 0..K=3, got -1",
        ),
        (
            {"possible_counts": (2, 2), "prior": "fixed"},
            "model.possible_counts must name each count once, got (2, 2)",
        ),
    ],
)
def test_configuration_errors_name_value_and_rule(changes, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        ModelConfig(**changes)


def test_configuration_accepts_its_limits():
    ModelConfig(max_steps=1, window=1, appearance=1, lstm=1, head=1, epsilon=1e-7, canvas=(2, 2))
    assert ModelConfig(count=0).counts == (0,)
    assert ModelConfig(count=3, max_steps=3).counts == (3,)
    assert ModelConfig(max_steps=2).counts == (0, 1, 2)
    # The posterior may be at any count, whichever the prior allows.
    assert ModelConfig(max_steps=3, prior="fixed", possible_counts=(0, 3)).counts == (0, 1, 2, 3)


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
