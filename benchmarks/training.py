"""Training: one dispatch of many steps, as the training loop runs it."""

from __future__ import annotations

import functools

import jax

import asr_jax
from benchmarks import timing
from benchmarks.cases import Case, training

STEPS = 20  # of a dispatch

# Of mnist13 with the network sizes of public AIR codes, see `small` in configs/presets.py.
SMALL = dict(config="mnist13", argument="asr,small", model=(("max_objects", 3),))
CASES = {  # what is trained, and on how many devices
    "mnist3: K=3, 50x50": (Case("mnist3"), 1),
    "mnist3:air": (Case("mnist3", "air"), 1),
    "mnist3, batch 256": (Case("mnist3", batch=256), 1),
    "mnist13: K=4, counts inferred": (Case("mnist13"), 1),
    "mnist14: K=5, counts inferred": (Case("mnist14"), 1),
    "dsprites3: K=3, 64x64": (Case("dsprites3"), 1),
    "small networks: K=3, counts inferred": (Case(**SMALL), 1),
    "small networks, batch 256": (Case(**SMALL, batch=256), 1),
    "mnist3 on 2 devices": (Case("mnist3"), 2),
}


def cases(quick: bool) -> dict[str, tuple[Case, int]]:
    """name -> what is trained, and on how many devices; of CPUs those are virtual."""
    return dict(list(CASES.items())[:1]) if quick else CASES


def environment(argument: tuple[Case, int]) -> dict[str, str]:
    """What the process that measures needs to see."""
    return {"JAX_NUM_CPU_DEVICES": str(argument[1])}


def measure(argument: tuple[Case, int], quick: bool) -> dict[str, float]:
    """Milliseconds a step, and how near they are to what the machine can do."""
    case, devices = argument
    setting = training(case)
    steps = 2 if quick else STEPS
    arguments = (setting.state, setting.images, *setting.inputs(steps))
    if jax.device_count() < devices:
        raise RuntimeError(f"{devices} devices are not there")
    single = functools.partial(asr_jax.train_steps, **setting.static)
    run, facts = timing.compile_for(single, *arguments)
    if devices > 1:
        run = setting.steps()
    a_step = timing.seconds(run, *arguments, repeats=2 if quick else timing.REPEATS) / steps
    limit = timing.matmul_rate(256 if quick else 2048)
    return {
        "ms/step": 1e3 * a_step,
        "steps/s": 1 / a_step,
        "images/s": case.batch / a_step,
        "parameters (M)": sum(x.size for x in jax.tree.leaves(setting.state.params)) / 1e6,
        "GFLOP/step": facts["gflop"],
        "matmul GFLOP/s": limit,
        "share of it": facts["gflop"] / a_step / limit,
        "trace s": facts["trace_s"],
        "compile s": facts["compile_s"],
        "temporary MiB": facts["temporary_mib"],
        "peak MiB": timing.peak_mib(),
    }
