"""Accelerators that need not be here: what their makers say of them, and devices to compile for."""

from __future__ import annotations

import dataclasses
import importlib.util
import math
import os
import re

import jax
from jax.experimental import topologies


@dataclasses.dataclass(frozen=True)
class Chip:
    """Of one device, from its maker's data sheet."""

    flops: float  # a second, bfloat16, dense: the most of any precision that is used here
    memory: float  # bytes
    bandwidth: float  # bytes a second, of that memory
    links: float  # bytes a second that it can send to others, over all its links
    limits: str = ""  # of an NVIDIA card: what its compiler wants to know

    @property
    def options(self) -> dict[str, bool]:
        """Of the compiler. Which of its own kernels multiply is tuned on the card, and without one
        some products find none: here cuBLAS does."""
        return {"xla_gpu_enable_triton_gemm": False} if self.limits else {}


COMMON = """
threads_per_warp: 32 threads_per_block_limit: 1024 threads_per_core_limit: 2048
shared_memory_per_block: 49152 registers_per_core_limit: 65536 registers_per_block_limit: 65536
block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
"""
A100 = """
core_count: 108 fpus_per_core: 64 clock_rate_ghz: 1.41 l2_cache_size: 41943040
shared_memory_per_core: 167936 shared_memory_per_block_optin: 166912
cuda_compute_capability { major: 8 minor: 0 }
"""
H100 = """
core_count: 132 fpus_per_core: 128 clock_rate_ghz: 1.98 l2_cache_size: 52428800
shared_memory_per_core: 233472 shared_memory_per_block_optin: 232448
cuda_compute_capability { major: 9 minor: 0 }
"""
TPUS = {
    "v4": Chip(275e12 / 2, 16 * 2**30, 1228e9 / 2, 300e9 / 2),  # this compiler: 2 devices a chip
    "v5e": Chip(197e12, 16e9, 819e9, 200e9),
    "v5p": Chip(459e12, 95 * 2**30, 2765e9, 600e9),
    "v6e": Chip(918e12, 32e9, 1638e9, 400e9),
}
GPUS = {  # SXM, 80 GB, over NVLink
    "a100": Chip(312e12, 80e9, 2039e9, 300e9, A100),
    "h100": Chip(989e12, 80e9, 3350e9, 450e9, H100),
}
RULE = (
    f"must be a slice of TPUs, {', '.join(f'{name}:2x2' for name in ('v5e', 'v6e'))}, v4:2x2x1, "
    f"v5p:4x4x4, or one to eight cards of a machine, {', '.join(GPUS)}, h100:8"
)


def target(name: str) -> tuple[Chip, list[jax.Device]]:
    """The chip that a target is made of, and its devices, for which programs can be compiled.

    Args:
      name: `v5e:16x16`, a slice of TPUs by its topology; `h100` or `h100:8`, cards of a machine.

    Raises:
      ValueError: no such target, or a topology that the compiler does not know; the compiler is
        not installed, and how it is.
    """
    kind, _, size = name.partition(":")
    shape = [int(number) for number in size.split("x") if number.isdigit()]
    if kind in TPUS and re.fullmatch(r"\d+(x\d+){1,2}", size):
        return TPUS[kind], _devices(name, "tpu", shape)
    if kind in GPUS and re.fullmatch(r"[1-8]?", size) and ":" not in name[-1:]:
        return GPUS[kind], _devices(name, "cuda", shape or [1])
    raise ValueError(f"--target={name}: it {RULE}")


def _devices(name: str, platform: str, shape: list[int]) -> list[jax.Device]:
    package, extra = {"tpu": ("libtpu", "tpu"), "cuda": ("jax_cuda13_plugin", "cuda")}[platform]
    if importlib.util.find_spec(package) is None:
        raise ValueError(
            f"--target={name} needs a compiler that is not here: "
            f"pip install -c constraints.txt -e '.[{extra}]'"
        )
    try:
        if platform == "cuda":
            cards = f"1x1x{shape[0]}"
            text = _card(GPUS[name.partition(":")[0]])
            found = topologies.get_topology_desc(
                cards, platform, target_config=text, topology=cards
            )
        else:
            # Asks no machine of the cloud what it is, and does not tell that there is none.
            os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
            os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
            os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v5litepod-4")
            os.environ.setdefault("TPU_STDERR_LOG_LEVEL", "3")
            os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")  # no process holds a chip
            host = (min(shape[0], 2), min(shape[1], 2), 1)  # four chips, or all of a smaller slice
            found = topologies.get_topology_desc(name, platform, chips_per_host_bounds=host)
    except (jax.errors.JaxRuntimeError, NotImplementedError) as error:
        raise ValueError(f"--target={name}: the compiler says {error}: it {RULE}") from error
    return list(found.devices)


def _card(chip: Chip) -> str:
    """What the NVIDIA compiler takes in place of a card: a GpuTargetConfigProto in text form."""
    memory = f"device_memory_size: {chip.memory:.0f} memory_bandwidth: {chip.bandwidth:.0f}"
    return (
        f"gpu_device_info {{ {COMMON} {chip.limits} {memory} }} "
        'platform_name: "CUDA" dnn_version_info { major: 9 minor: 10 patch: 0 }'
    )


def bounds(chip: Chip, devices: int, flops: float, moved: float, reduced: float) -> dict:
    """Milliseconds that each of three things takes at least, were it alone. No time of a program.

    Args:
      chip: what it runs on.
      devices: n, how many reduce together.
      flops, moved: operations, and bytes to and from memory, of one device, as a compiler counts
        them: bytes that stay in caches as well.
      reduced: bytes that are summed over all devices; each sends 2 (n - 1) / n of them at least.
    """
    sent = 2 * (devices - 1) / devices * reduced
    seconds = {
        "arithmetic": flops / chip.flops,
        "memory": moved / chip.bandwidth,
        "links": sent / chip.links,
    }
    return {name: 1e3 * value for name, value in seconds.items() if math.isfinite(value)}
