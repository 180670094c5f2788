"""JAX's own settings: compiled programs kept on disk, and the precision of matrix products."""

from __future__ import annotations

import hashlib
import os
import platform
from pathlib import Path

import jax

from data_gen.builder import cache_folder

# train.matmul_precision -> JAX's name. Its own names for these are not what GPUs do.
PRECISIONS = {
    "": None,  # float32 on CPUs, TF32 on GPUs, bfloat16 on TPUs
    "float32": "float32",
    "tensorfloat32": "TF32_TF32_F32",
    "bfloat16": "BF16_BF16_F32",  # products of rounded numbers, summed in float32
}
MAX_BYTES = 2**30  # of all programs; those that were not used for longest go first


def keep_programs() -> None:
    """Asks JAX to keep what it compiles, so that the second start of a configuration is quick.

    JAX_COMPILATION_CACHE_DIR says where, if it is set.

    Programs lie beside the scenes (ASR_DATA_DIR, else ~/.cache/asr_jax), in a folder for each kind
    of processor: one that was compiled for another may not run here, and JAX does not tell them
    apart. A folder that cannot be written costs a warning and the time to compile.
    """
    if os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return
    try:
        folder = cache_folder()
    except ValueError:  # no home: scenes may lie elsewhere, or say so themselves
        return
    jax.config.update("jax_compilation_cache_dir", str(folder / f"programs-{processor()}"))
    jax.config.update("jax_compilation_cache_max_size", MAX_BYTES)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def set_precision(name: str) -> None:
    """Sets how exactly networks multiply matrices. Boxes and windows are always exact.

    Raises:
      ValueError: an unknown name, or one that a CPU would ignore.
    """
    if name not in PRECISIONS:
        raise ValueError(
            f"config.train.matmul_precision must be one of {', '.join(filter(None, PRECISIONS))}, "
            f"or empty for what JAX chooses, got {name!r}"
        )
    if name not in ("", "float32") and jax.default_backend() == "cpu":
        raise ValueError(
            "a CPU multiplies in float32 only, got "
            f"config.train.matmul_precision={name!r}: leave it empty"
        )
    jax.config.update("jax_default_matmul_precision", PRECISIONS[name])


def processor() -> str:
    """A name for what this processor can do: the same for equal ones."""
    facts = [platform.machine(), platform.processor()]
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        facts += [line for line in lines if line.startswith(("flags", "Features"))][:1]
    except OSError:  # not Linux
        pass
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:12]
