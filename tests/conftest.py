"""Settings of all tests: strict shapes, quick compilation, eight virtual devices on the CPU."""

import os
import tempfile

# Eight devices meet at every collective; on a busy machine one may come late.
patience = "--xla_cpu_collective_call_terminate_timeout_seconds=600"
# Tests do little but compile: each program once for all processes of a session, not too well, and
# without the emitters that take twice as long to write as the code that was there before them.
quickly = "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {patience} {quickly}"
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:  # set, it serves the next session as well
    programs = tempfile.TemporaryDirectory(prefix="asr-jax-programs-")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = programs.name
os.environ.setdefault("JAX_PLATFORMS", "cpu")  # of commands, too: no TPU, although its compiler is

import jax  # noqa: E402
import pytest  # noqa: E402

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(autouse=True, scope="module")
def forget_programs():
    """Each compiled program holds memory maps, and Linux allows a process 65,530 of them."""
    yield
    jax.clear_caches()
