"""From the start of Python to the first training step: compiling, and with programs on disk."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

MEASURED = """
import time; begin = time.perf_counter()
import asr_jax; imported = time.perf_counter()
import jax
from benchmarks import cases
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
setting = cases.training(cases.Case("mnist3"))
arguments = (setting.state, setting.images, *setting.inputs(1))
lowered = setting.steps().lower(*arguments); start = time.perf_counter()
step = lowered.compile(); compiled = time.perf_counter()
jax.block_until_ready(step(*arguments))
print(imported - begin, compiled - start, time.perf_counter() - begin)
"""
FIGURES = ("import asr_jax s", "compile s", "first step s")


def cases(quick: bool) -> dict[str, None]:
    return {} if quick else {"mnist3": None}


def measure(argument: None, quick: bool) -> dict[str, float]:
    """Seconds of the first start, and of the second, which finds the first one's programs."""
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": folder}
        call = dict(args=[sys.executable, "-c", MEASURED], env=environment, text=True, check=True)
        starts = [
            map(float, subprocess.run(**call, stdout=subprocess.PIPE).stdout.split()[-3:])
            for _ in range(2)
        ]
    row = {}
    for label, values in zip(("first", "second"), starts, strict=True):
        row |= {f"{label}: {name}": v for name, v in zip(FIGURES, values, strict=True)}
    return row
