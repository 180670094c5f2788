"""The one place that knows devices: wraps the per-device steps with pmap or shard_map."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

AXIS = "devices"
KINDS = ("auto", "pmap", "shard_map")


def replicate(tree: Any, devices: Sequence[jax.Device] | None = None) -> Any:
    """Puts a copy of every array on every device, where `data_parallel` wants its state.

    Without it the first call moves the state, and the second compiles again for its new place.
    """
    return jax.device_put(tree, NamedSharding(_mesh(devices), PartitionSpec()))


def data_parallel(
    steps: Callable, *, kind: str = "auto", devices: Sequence[jax.Device] | None = None
) -> Callable:
    """Runs `steps(state, images, indices, schedule, axis_name=...)` on every device.

    The state, the data set and the schedule are the same everywhere; the second axis of `indices`
    [n, B] is divided over the devices. `steps` must average over `axis_name` whatever it returns.

    Args:
      steps: the per-device function, returns (state, metrics).
      kind: "pmap", "shard_map", or "auto": pmap in one process, shard_map over several (pmap
        over processes copies its arguments to the host and back at every call).
      devices: all devices, unless given.

    Returns:
      A compiled function of (state, images, indices, schedule), with indices [n, B, ...].

    Raises:
      ValueError: unknown kind; a batch that the devices cannot share evenly.
    """
    devices = list(devices or jax.devices())
    check(kind, len(devices), len(devices))
    if kind == "auto":
        kind = "pmap" if jax.process_count() == 1 else "shard_map"
    steps = functools.partial(steps, axis_name=AXIS)

    if kind == "pmap":
        mapped = jax.pmap(
            steps, AXIS, in_axes=(None, None, 0, None), out_axes=None, devices=devices
        )

        def run(state, images, indices, schedule):
            check(kind, indices.shape[1], len(devices))
            # [n, B, ...] -> [devices, n, B / devices, ...]
            shares = np.stack(np.split(np.asarray(indices), len(devices), axis=1))
            return mapped(state, images, shares, schedule)

        return run

    everywhere, shared = PartitionSpec(), PartitionSpec(None, AXIS)
    # With check_vma=True the gradient of a local loss comes out multiplied by the number of
    # devices, silently.
    mapped = jax.jit(
        jax.shard_map(
            steps,
            mesh=_mesh(devices),
            in_specs=(everywhere, everywhere, shared, everywhere),
            out_specs=everywhere,
            check_vma=False,
        )
    )

    def run(state, images, indices, schedule):
        check(kind, indices.shape[1], len(devices))
        return mapped(state, images, indices, schedule)

    return run


def _mesh(devices: Sequence[jax.Device] | None) -> Mesh:
    return Mesh(np.array(devices or jax.devices()), (AXIS,))


def check(kind: str, batch: int, devices: int) -> None:
    """Raises ValueError for an unknown kind, or a batch that does not divide evenly."""
    if kind not in KINDS:
        raise ValueError(f"parallel must be one of {', '.join(KINDS)}, got {kind!r}")
    if batch % devices:
        below, above = batch // devices * devices, -(-batch // devices) * devices
        nearest = f"{below} or {above}" if below else str(above)
        raise ValueError(
            f"a batch of {batch} does not divide over {devices} devices: "
            f"set config.train.batch_size={nearest}"
        )
