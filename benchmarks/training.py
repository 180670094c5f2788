"""Training: one dispatch of many steps, as the training loop runs it."""

from __future__ import annotations

import functools
import time

import jax

import asr_jax
from benchmarks import timing
from benchmarks.cases import Case, training

STEPS = 20  # of a dispatch

# Of mnist13 with the network sizes of public AIR codes, see `small` in configs/presets.py.
SMALL = dict(config="mnist13", argument="asr,small", model=(("max_objects", 3),))
CASES = {
    "mnist3: K=3, 50x50": Case("mnist3"),
    "mnist3:air": Case("mnist3", "air"),
    "mnist3, batch 256": Case("mnist3", batch=256),
    "mnist13: K=4, counts inferred": Case("mnist13"),
    "mnist14: K=5, counts inferred": Case("mnist14"),
    "dsprites3: K=3, 64x64": Case("dsprites3"),
    "small networks: K=3, counts inferred": Case(**SMALL),
    "small networks, batch 256": Case(**SMALL, batch=256),
}


def cases(quick: bool) -> dict[str, Case]:
    """name -> what is trained."""
    return dict(list(CASES.items())[:1]) if quick else CASES


def measure(case: Case, quick: bool) -> dict[str, float]:
    """Milliseconds a step, and how near they are to what the machine can do."""
    setting = training(case)
    steps = 2 if quick else STEPS
    arguments = (setting.state, setting.images, *setting.inputs(steps))
    start = time.perf_counter()
    run = jax.jit(functools.partial(asr_jax.train_steps, **setting.static)).lower(*arguments)
    run = run.compile()
    compiling = time.perf_counter() - start
    gflop = run.cost_analysis()["flops"] / 1e9  # of the body of a loop once
    a_step = timing.seconds(run, *arguments, repeats=2 if quick else timing.REPEATS) / steps
    limit = timing.matmul_rate(256 if quick else 2048)
    return {
        "ms/step": 1e3 * a_step,
        "steps/s": 1 / a_step,
        "images/s": case.batch / a_step,
        "parameters (M)": sum(x.size for x in jax.tree.leaves(setting.state.params)) / 1e6,
        "GFLOP/step": gflop,
        "matmul GFLOP/s": limit,
        "share of it": gflop / a_step / limit,
        "trace and compile s": compiling,
        "temporary MiB": run.memory_analysis().temp_size_in_bytes / 2**20,
    }
