"""How things are measured: medians after a warm-up, and what the machine can do at most."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

REPEATS = 7  # timed calls of which the median counts


def seconds(function: Callable, *arguments, repeats: int = REPEATS) -> float:
    """Median wall time of function(*arguments), its results waited for, after one warm-up call."""
    return together({"": lambda: function(*arguments)}, repeats)[""]


def together(calls: Mapping[str, Callable[[], object]], repeats: int = REPEATS) -> dict[str, float]:
    """Median seconds of several calls, timed in turn, so that a drifting machine is fair to all."""
    for call in calls.values():
        jax.block_until_ready(call())
    times = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            start = time.perf_counter()
            jax.block_until_ready(call())
            times[name].append(time.perf_counter() - start)
    return {name: float(np.median(values)) for name, values in times.items()}


def matmul_rate(size: int = 2048) -> float:
    """GFLOP/s of one large float32 matrix product: the limit to be close to."""
    if jax.default_backend() != "cpu":
        size *= 4
    a, b = jnp.ones((2, size, size), jnp.float32)
    product = jax.jit(lambda a, b: jnp.matmul(a, b))
    return 2 * size**3 / seconds(product, a, b) / 1e9


def machine() -> dict[str, str | int]:
    """What the figures belong to."""
    return {
        "device": jax.devices()[0].device_kind,
        "platform": jax.default_backend(),
        "devices": jax.device_count(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0,
        "python": platform.python_version(),
        "jax": jax.__version__,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()
