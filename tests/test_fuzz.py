"""Any value of any field: a run starts, or is refused by an error of ours that names the field.

ASR_FUZZ_EXAMPLES=5000 tries more values than the few hundred that every test run tries.
"""

import functools
import math
import os
import traceback
from pathlib import Path

import jax
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ml_collections import ConfigDict

import asr_jax
import data_gen
import experiments
from asr_jax import parallel
from asr_jax.config import ENCODERS, ESTIMATORS, LIKELIHOODS, PRIORS, SCHEDULES
from asr_jax.constraints import default_tolerances
from configs import dsprites3, mnist3, mnist13, mnist24, presets
from configs.fields import fields as defaults
from data_gen.scenes import LAYOUTS
from experiments.run import data, jax_settings, steps
from experiments.run.constraints import MULTIPLIERS
from experiments.run.from_config import from_config

OURS = [Path(module.__file__).parent for module in (asr_jax, data_gen, experiments)]
RUNS = {
    "mnist3": mnist3.get_config(),
    "mnist3 fixed": mnist3.get_config("fixed"),
    "mnist3 air": mnist3.get_config("air"),
    "mnist13": mnist13.get_config("asr"),
    "mnist13 air": mnist13.get_config("air,known"),
    "mnist24 pprior": mnist24.get_config("pprior"),
    "dsprites3": dsprites3.get_config("asr"),
}
BATCH = 8  # divides over the virtual devices of the tests

pytestmark = pytest.mark.filterwarnings("ignore:config")  # what is odd is said


def fuzz(examples):
    """The same examples in every run; more of them where the environment asks for more."""
    return settings(
        max_examples=int(os.environ.get("ASR_FUZZ_EXAMPLES", examples)),
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )


def fields(config, path=()):
    """(section, name) -> value of every field; weights and ramps are one field each."""
    for name, value in config.items():
        if isinstance(value, ConfigDict) and not path:
            yield from fields(value, (name,))
        else:
            yield (*path, name), value


# Scenes are read from a file here, wherever these say that others lie.
ELSEWHERE = {("data", name) for name in ("path", "digits_dir", "data_dir")}
FIELDS = sorted(dict(fields(defaults())).keys() - ELSEWHERE)

INTS = st.sampled_from([-(10**30), -1, 0, 1, 2, 3, 4, 8, 39, 2**31 - 1, 2**31, 2**63, 10**400])
INTS |= st.integers(-3, 100)
FLOATS = st.sampled_from([0.0, 1.0, -1.0, 1e-45, 1e-8, 1e30, 1e39, math.nan, math.inf, -math.inf])
FLOATS |= st.floats(-20, 20) | st.floats()
WORDS = st.sampled_from(
    ["", "yes", "no", "auto", "test", "validation", "mnist", "dsprites", "Patches", "a\nb"]
    + [*ENCODERS, *PRIORS, *LIKELIHOODS, *ESTIMATORS, *SCHEDULES, *LAYOUTS]
    + [*parallel.KINDS, *parallel.PLACEMENTS, *presets.METHODS, *MULTIPLIERS]
)
# The command line checks that a tuple is one, and nothing of what it holds.
TUPLES = st.lists(st.integers(-1, 8) | st.floats(0, 1), max_size=3).map(tuple)
TUPLES |= st.lists(INTS | FLOATS | WORDS | st.none() | st.just([1]), max_size=3).map(tuple)
NAMES = st.sampled_from(
    [*(f"F{i}" for i in range(1, 8)), "tight", "side", "number", "balance", "possible", "F9"]
)
VALUES = {bool: st.booleans(), int: INTS, float: FLOATS, str: WORDS, tuple: TUPLES}


def values(field, kind):
    """Valid, at the edge, and wild."""
    if kind is not ConfigDict:
        return VALUES[kind]
    return st.dictionaries(NAMES, TUPLES if field[-1] == "ramps" else FLOATS, max_size=3)


@st.composite
def changes(draw):
    """A run, and new values for one or two of its fields."""
    run = draw(st.sampled_from(list(RUNS)))
    types = {field: type(value) for field, value in fields(RUNS[run])}
    chosen = draw(st.lists(st.sampled_from(FIELDS), min_size=1, max_size=2, unique=True))
    return run, {field: draw(values(field, types[field])) for field in chosen}


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """Scenes of 3 objects, with and without saying so."""
    folder = tmp_path_factory.mktemp("scenes")
    image = np.random.default_rng(0).random((40, 32, 30)) ** 4
    np.savez(folder / "bare.npz", image=image)
    np.savez(folder / "counted.npz", image=image, count=np.full(40, 3))
    return folder


def configured(run, path, changes):
    config = RUNS[run].copy_and_resolve_references()
    config.data.path, config.data.test_size, config.train.batch_size = str(path), 4, BATCH
    for (*section, name), value in changes.items():
        where = config[section[0]] if section else config
        where[name] = ConfigDict(value) if isinstance(value, dict) else value
    return config


def assert_ours(error):
    """One line, from our code and not from a library's; a file error names its file."""
    assert "\n" not in str(error).replace("a\nb", ""), error
    if not (isinstance(error, OSError) and error.filename):
        where = Path(traceback.extract_tb(error.__traceback__)[-1].filename)
        assert any(where.is_relative_to(folder) for folder in OURS), (where, error)


# The field that is named where two do not fit together.
PARTNERS = {
    ("data", "test_size"): "batch_size",
    ("data", "split"): "test_size",
    ("data", "scale"): "canvas",
    ("data", "scales"): "canvas",
    ("data", "canvas"): "config.data.scale",
    ("data", "counts"): "canvas",
    ("constraints", "counts"): "without a constraint",
    ("constraints", "weights"): "prior_weights",
    ("constraints", "multipliers"): "multipliers=",
}


def assert_named(fields, error):
    """The message names one of the fields that were changed, or one that has to fit it."""
    words = [word for field in fields for word in (field[-1], PARTNERS.get(field)) if word]
    assert any(word in str(error) for word in words), (fields, error)


def prepared(config):
    """What a command makes of a configuration before it trains."""
    run = from_config(config)
    jax_settings.set_precision(run.train.matmul_precision)
    scenes = data.load(run.data)
    return run, scenes, data.check(run, scenes)


# Runs that differ in what no program depends on are traced once.
train_steps = jax.jit(asr_jax.train_steps, static_argnames=("model", "constraints", "tx", "rule"))
optimizer = functools.cache(asr_jax.optimizer)
RULES = {}  # what they say -> the first that said it


def assert_starts(run, scenes, total):
    """Traces the first dispatch of a run, at most two steps, without compiling it."""
    tx, seed = optimizer(run.optimizer, total), run.seeds[-1]
    n = min(2, run.train.log_every, total)
    schedule = steps.schedule(run, 0, n, total)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(schedule))
    tolerances = default_tolerances(run.constraints), run.prior_tolerances
    rule = run.rule and RULES.setdefault(str(tolerances), run.rule)
    state = jax.eval_shape(lambda: asr_jax.init_state(run.model, tx, steps.key(seed), rule))
    static = dict(model=run.model, constraints=run.constraints, tx=tx, rule=rule)
    after, metrics = jax.eval_shape(
        functools.partial(train_steps, **static),
        state,
        scenes.train.image,
        jax.ShapeDtypeStruct((n, run.train.batch_size), np.int32),
        schedule,
    )
    assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(
        lambda x: (x.shape, x.dtype), state
    )
    assert {"loss", "nelbo", "gradient_norm"} <= set(metrics)
    assert all(metric.shape == (n,) for metric in metrics.values())


@pytest.mark.parametrize("run", RUNS)
def test_the_unchanged_runs_start(run, scenes):
    assert_starts(*prepared(configured(run, scenes / "bare.npz", {})))


@fuzz(200)
@given(changes(), st.sampled_from(["bare.npz", "counted.npz"]))
def test_a_run_starts_or_is_refused_by_name(scenes, change, file):
    run, new = change
    try:
        found = prepared(configured(run, scenes / file, new))
    except (ValueError, OSError) as error:
        assert_ours(error)
        assert_named(new, error)
    else:
        assert_starts(*found)
