"""Programs for machines that are not here: what they consist of, and that they are accepted."""

import functools
import importlib.util
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params

from asr_jax.training import init_state, optimizer, train_step
from benchmarks import chips, program, programs
from benchmarks.chips import Chip
from configs import mnist13
from experiments.run import steps
from experiments.run.from_config import from_config
from tests.test_benchmarks import command

HERE = importlib.util.find_spec("libtpu") is not None
needs_compiler = pytest.mark.skipif(not HERE, reason="the TPU's compiler: pip install -e '.[tpu]'")
SMALL = dict(lstm=8, hidden=(16, 8), window=8, head=8, appearance=4, max_objects=2)
TEXT = """HloModule jit_train_steps, entry_computation_layout={(f32[8]{0})->f32[8]{0}}

%body.1 (state: (s32[], f32[8])) -> (s32[], f32[8]) {
  %state = (s32[], f32[8]{0}) parameter(0)
  %first = f32[8]{0:T(128)} get-tuple-element(%state), index=1
  %made.2 = (f32[8]{0}, bf16[2,3]{1,0}) fusion(%first), kind=kLoop, calls=%fused_computation
  %sent = (f32[8]{0}, bf16[2,3]{1,0}) all-reduce-start(%made.2), replica_groups={{0,1}}
  %back = (f32[8]{0}, bf16[2,3]{1,0}) all-reduce-done(%sent)
  %inner = (s32[], f32[8]{0}) while(%state), condition=%test, body=%inner.3, \
backend_config={"known_trip_count":{"n":"3"}}
  ROOT %out = (s32[], f32[8]{0}) tuple(%first, %first)
}

%inner.3 (state: (s32[], f32[8])) -> (s32[], f32[8]) {
  %x = f32[8]{0} copy(%state)
}

ENTRY %main.4 (start: f32[8]) -> f32[8] {
  %start = f32[8]{0} parameter(0)
  %copied = f32[8]{0} copy(%start)
  %loop = (s32[], f32[8]{0}) while(%copied), condition=%test, body=%body.1
  ROOT %end = f32[8]{0} get-tuple-element(%loop), index=1
}
"""


@pytest.fixture(scope="module")
def run():
    """Counts inferred, R_num's mean over the batch, and the smallest networks."""
    config = mnist13.get_config()
    config.model.update(SMALL)
    config.data.counts = config.constraints.counts = (1, 2)
    config.data.train_size = 1_000
    config.evaluate.iwae_samples = 2
    return from_config(config)


def test_what_a_program_launches_is_read_from_its_text():
    computations, entry = program.parse(TEXT)
    assert entry == "main.4" and len(computations) == 3
    of_step = list(program.work(computations, "body.1"))
    assert [operation for _, operation in of_step] == ["fusion", "all-reduce-start", *3 * ["copy"]]
    assert program.size(of_step[1][0]) == 8 * 4 + 6 * 2
    assert len(list(program.work(computations, entry))) == 1 + len(of_step)


def test_bounds_are_what_the_data_sheet_allows():
    chip = Chip(flops=1e12, memory=1e9, bandwidth=1e11, links=1e10)
    found = chips.bounds(chip, 4, flops=2e9, moved=3e8, reduced=1e6)
    # 2 ms of arithmetic; 3 ms of memory; each chip sends 2 * 3/4 of the bytes: 0.15 ms.
    assert found == pytest.approx({"arithmetic": 2.0, "memory": 3.0, "links": 0.15})
    assert chips.bounds(chip, 1, 2e9, 3e8, 0)["links"] == 0


@pytest.mark.parametrize("name", ["v9:2x2", "v5e", "v5e:16", "h100:9", "h100:", "cpu", ""])
def test_a_target_that_there_is_not_is_refused(name):
    with pytest.raises(ValueError, match=f"--target={name}: it must be a slice of TPUs, v5e:2x2"):
        chips.target(name)


@pytest.mark.parametrize("name, extra", [("v5e:2x2", "tpu"), ("a100", "cuda")])
def test_without_a_compiler_one_line_says_what_to_install(monkeypatch, name, extra):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ValueError, match=rf"pip install -c constraints.txt -e '.\[{extra}\]'"):
        chips.target(name)


def test_a_step_reduces_gradients_metrics_and_means_over_the_batch_and_nothing_else(run):
    """An array each, which compilers send as one; the means, which come first, as another."""

    def reductions(constraints):
        tx = optimizer(run.optimizer, 10)
        step = functools.partial(train_step, model=run.model, tx=tx, axis_name="devices")
        step = functools.partial(step, constraints=constraints)
        schedule = jax.tree.map(lambda x: x[0], steps.schedule(run, 0, 1, 10))
        schedule = schedule.replace(weights={c.name: 1.0 for c in constraints})
        state = jax.eval_shape(lambda: init_state(run.model, tx, 0))
        images = jnp.zeros((2, *run.data.canvas), jnp.uint8)
        made = jax.make_jaxpr(step, axis_env=[("devices", 8)])(state, images, schedule)
        return sum(equation.primitive.name.startswith("psum") for equation in equations(made.jaxpr))

    of_images = tuple(c for c in run.constraints if c.of_mean is None)
    assert len(run.constraints) - len(of_images) == 2  # balance and side, together
    gradients = len(jax.tree.leaves(jax.eval_shape(run.model.init, steps.key(0))))
    assert reductions(of_images) == gradients + 1
    assert reductions(run.constraints) == gradients + 1 + 2


def equations(jaxpr):
    for equation in jaxpr.eqns:
        yield equation
        for inner in jaxprs_in_params(equation.params):
            yield from equations(inner)


@needs_compiler
@pytest.mark.parametrize("slice_, kind", [("v5e:2x2", "pmap"), ("v5e:8x8", "shard_map")])
def test_training_is_accepted_by_a_slice_of_tpus(run, slice_, kind):
    chip, devices = chips.target(slice_)
    lower = functools.partial(programs.training, run, 64, devices, kind, "replicated")
    found = programs.attempt(lower, chip, "training", devices)
    assert found["collectives"] == {"all-reduce": 2}  # R_num's mean; gradients and metrics
    params = jax.tree.leaves(jax.eval_shape(run.model.init, steps.key(0)))
    numbers = sum(math.prod(leaf.shape) for leaf in params)
    assert found["collective_bytes"] == pytest.approx(4 * numbers, rel=1e-3)  # nothing twice
    assert found["share_of_memory"] < 0.1 and 0 < found["fusions"] < found["kernels"] < 2_000
    assert all(np.isfinite(value) and value > 0 for value in found["bounds_ms"].values())


@needs_compiler
def test_evaluation_and_sampling_are_accepted_by_a_slice_of_several_hosts(run):
    """Over all of its chips: for those of one host alone the compiler takes none on 8 x 8."""
    chip, devices = chips.target("v5e:8x8")
    assert programs.hosts(devices) == 16
    traced = programs.programs(run, 64, devices)
    assert [*traced] == ["training", "training, sharded", "evaluation", "sampling"]
    for name in ("evaluation", "sampling"):
        found = programs.attempt(traced[name], chip, name, devices)
        assert found["collectives"] == {} and found["kernels"] > 0, found


@needs_compiler
def test_the_command_writes_a_table_and_json(tmp_path):
    out = tmp_path / "found.json"
    small = [f"--config.model.{name}={value}" for name, value in SMALL.items() if name != "hidden"]
    call = ["--target=v5e:2x2,v6e:1x1", "--config=configs/mnist3.py", "--only=sampling"]
    done = command("compile", *call, f"--out={out}", "--config.model.count=2", *small)
    assert done.returncode == 0, done.stderr
    rows = json.loads(out.read_text())["programs"]
    assert [(row["target"], row["chips"], row["batch"]) for row in rows] == [
        ("v5e:2x2", 4, 64),
        ("v6e:1x1", 1, 64),
    ]
    assert "at least ms" in done.stdout and "v6e:1x1" in done.stdout


def test_a_bad_target_is_one_line():
    done = command("compile", "--target=v9:2x2", "--config=configs/mnist3.py")
    assert done.returncode == 1 and done.stdout == ""
    assert (
        done.stderr.startswith("error: --target=v9:2x2: it must be")
        and done.stderr.count("\n") == 1
    )
