"""Several processes that share one run, as on a TPU pod: who they are, and what they agree on.

All of these are collective: every process of the run calls them, in the same order. In a run of
one process they do nothing.
"""

from __future__ import annotations

import glob
import importlib.util
import json
import os
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils


class ElsewhereError(ValueError):
    """Another process of the run has an error."""


def initialize() -> None:
    """Joins the other processes of the run, where the environment says that there are some.

    It does by `JAX_COORDINATOR_ADDRESS`, `JAX_NUM_PROCESSES` and `JAX_PROCESS_ID`; on TPU hosts
    and in Slurm or Open MPI jobs of several tasks JAX finds out by itself. Comes before anything
    else that JAX does.

    Raises:
      ValueError: only some of the three variables are set, or a number of processes is none.
    """
    names = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
    found = [os.environ.get(name) for name in names]
    if any(value is not None for value in found):
        try:
            if None in found:
                raise ValueError("one is not set")
            number, index = map(int, found[1:])
        except ValueError as error:
            raise ValueError(
                f"{', '.join(names[:2])} and {names[2]} must be an address and two whole numbers, "
                f"got {', '.join(map(str, found))}: set all or none"
            ) from error
        jax.distributed.initialize(num_processes=number, process_id=index)
    elif _several_tasks() or _on_tpu():
        jax.distributed.initialize()


def _several_tasks() -> bool:
    for name in ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE"):
        size = os.environ.get(name, "1")
        if not size.isdecimal():
            raise ValueError(f"{name} must be a whole number, got {size!r}: unset it")
        if int(size) > 1:
            return True
    return False


def _on_tpu() -> bool:
    chips = glob.glob("/dev/accel[0-9]*") + glob.glob("/dev/vfio/[0-9]*")
    wanted = "tpu" in os.environ.get("JAX_PLATFORMS", "tpu")
    return wanted and bool(chips) and importlib.util.find_spec("libtpu") is not None


def is_primary() -> bool:
    """Whether this is the process that prints, draws and writes."""
    return jax.process_index() == 0


def gather(text: str) -> list[str]:
    """What every process has to say, in the order of their numbers."""
    if jax.process_count() == 1:
        return [text]
    data = np.frombuffer(text.encode(), np.uint8)
    lengths = multihost_utils.process_allgather(np.array(len(data), np.int32))
    padded = np.zeros(max(lengths.max(), 1), np.uint8)
    padded[: len(data)] = data
    rows = multihost_utils.process_allgather(padded)
    return [bytes(row[:n]).decode() for row, n in zip(rows, lengths, strict=True)]


def together(
    function: Callable[..., Any], *arguments: Any, on: Callable[[], bool] | None = None
) -> Any:
    """Calls a function on every process, or on those where `on()`; an error is everyone's.

    Otherwise a process that stops would leave the others waiting for it.

    Returns:
      What the function does; None where it was not called.

    Raises:
      ValueError, OSError: what it raised here.
      ElsewhereError: what it raised on another process.
    """
    value, error = None, None
    if on is None or on():
        try:
            value = function(*arguments)
        except (ValueError, OSError) as caught:
            error = caught
    texts = gather("" if error is None else str(error) or repr(error))
    if error is not None:
        raise error
    if any(texts):
        raise ElsewhereError(next(filter(None, texts)))
    return value


def on_primary(function: Callable[..., Any], *arguments: Any) -> Any:
    """Calls a function on process 0 alone; returns what it does, JSON, to every process.

    Raises:
      ValueError, OSError, ElsewhereError: as `together`.
    """
    value = together(function, *arguments, on=is_primary)
    return value if jax.process_count() == 1 else json.loads(gather(json.dumps(value))[0])


def arrays_of_primary(function: Callable[[], Any], like: Any) -> Any:
    """Calls a function on process 0 alone; returns its arrays, shaped as `like`, everywhere.

    Raises:
      ValueError, OSError, ElsewhereError: as `together`.
    """
    tree = together(function, on=is_primary)
    if jax.process_count() == 1:
        return tree
    like = like if tree is None else tree

    def broadcast(leaf):
        # As bytes: what is sent is a sum over all processes, which makes 0.0 of -0.0.
        host = np.asarray(leaf)
        data = np.ascontiguousarray(host).reshape(-1).view(np.uint8)
        data = np.asarray(multihost_utils.broadcast_one_to_all(data), np.uint8)
        return data.view(host.dtype).reshape(host.shape)

    return on_keys(broadcast, like)


def on_keys(function: Callable[[Any], Any], tree: Any) -> Any:
    """Maps the leaves of a tree; of random keys, the integers that they consist of."""

    def apply(leaf):
        if is_key(leaf):
            data = function(jax.random.key_data(leaf))
            return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
        return function(leaf)

    return jax.tree.map(apply, tree)


def is_key(leaf: Any) -> bool:
    """Whether an array is one of random keys."""
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def any_of(flag: bool) -> bool:
    """Whether it is true in any process."""
    if jax.process_count() == 1:
        return flag
    return bool(multihost_utils.process_allgather(np.array(flag)).any())


def whole(tree: Any) -> Any:
    """Arrays that are divided over the devices of all processes -> all of them, on every host."""
    if jax.process_count() == 1:
        return jax.tree.map(np.asarray, tree)
    return multihost_utils.process_allgather(tree, tiled=True)


def smallest(values: np.ndarray) -> np.ndarray:
    """The smallest over all processes, entry by entry."""
    if jax.process_count() == 1:
        return values
    return multihost_utils.process_allgather(values).min(0)
