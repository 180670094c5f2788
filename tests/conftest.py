"""Settings of all tests: strict shapes, and eight virtual devices on the CPU."""

import os

# Eight devices meet at every collective; on a busy machine one may come late.
patience = "--xla_cpu_collective_call_terminate_timeout_seconds=600"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {patience}"

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
