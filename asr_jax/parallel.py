"""The one place that knows devices: arrays over them, and the per-device steps on them.

Processes that share a run, each with devices of its own, are in `processes`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from asr_jax import processes

AXIS = "devices"
KINDS = ("auto", "pmap", "shard_map")
PLACEMENTS = ("replicated", "sharded")


def replicate(tree: Any, devices: Sequence[jax.Device] | None = None) -> Any:
    """Puts a copy of every array on every device, where `data_parallel` wants its state.

    Without it the first call moves the state, and the second compiles again for its new place.
    """
    place = NamedSharding(_mesh(devices), PartitionSpec())
    if place.is_fully_addressable:
        return jax.device_put(tree, place)
    return processes.on_keys(lambda leaf: jax.device_put(np.asarray(leaf), place), tree)


def shard(rows: Any, devices: Sequence[jax.Device] | None = None) -> Any:
    """Divides rows over all devices; `rows` are those of this process's devices, `own_rows`.

    Of one array, or of each in a tree.
    """
    place = NamedSharding(_mesh(devices), PartitionSpec(AXIS))
    divide = functools.partial(jax.make_array_from_process_local_data, place)
    return jax.tree.map(divide, rows)


def spread(rows: np.ndarray) -> jax.Array | np.ndarray:
    """Divides rows, as many as a multiple of them, over all devices; each process has all rows.

    Never over those of one process alone: on slices of 8 x 8 and more, the compiler for TPU v5e
    takes no program for some of the chips but not all.
    """
    if jax.device_count() == 1:
        return rows
    place = NamedSharding(_mesh(None), PartitionSpec(AXIS))
    return jax.make_array_from_callback(rows.shape, place, lambda at: rows[at])


def own_rows(total: int) -> slice:
    """Which of `total` rows the devices of this process hold when `shard` divides them.

    Every device holds equally many; the last few that cannot be shared evenly are left out.

    Raises:
      ValueError: there are more devices than rows.
    """
    each = total // jax.device_count()
    if not each:
        raise ValueError(
            f"{total} training scenes cannot be divided over {jax.device_count()} devices: "
            "placement=replicated gives all of them to each"
        )
    mine = _own(jax.devices())
    return slice(mine[0] * each, (mine[-1] + 1) * each)


def divide_batch(of_device: Callable[[int], np.ndarray], devices: int) -> jax.Array:
    """Puts `of_device(d)` [n, b, ...] on device d: one array [n, devices * b, ...]."""
    place = NamedSharding(_mesh(None), PartitionSpec(None, AXIS))
    mine = _own(jax.devices())
    parts = {i: of_device(i) for i in mine}
    n, share, *rest = parts[mine[0]].shape
    return jax.make_array_from_callback(
        (n, devices * share, *rest), place, lambda at: parts[(at[1].start or 0) // share]
    )


def data_parallel(
    steps: Callable,
    *,
    kind: str = "auto",
    placement: str = "replicated",
    devices: Sequence[jax.Device] | None = None,
) -> Callable:
    """Runs `steps(state, images, indices, schedule, axis_name=...)` on every device.

    The state and the schedule are the same everywhere; the second axis of `indices` [n, B] is
    divided over the devices. `steps` must average over `axis_name` whatever it returns.

    Args:
      steps: the per-device function, returns (state, metrics).
      kind: "pmap", "shard_map", or "auto": jit where there is one device (an average over one
        device costs a copy of the gradient), pmap in one process, shard_map over several (pmap
        over processes copies its arguments to the host and back at every call).
      placement: "replicated": every device has all images. "sharded": each has its own part of
        them, from `shard`, and its indices, from `divide_batch`, are into that part.
      devices: all devices, unless given.

    Returns:
      A compiled function of (state, images, indices, schedule), with indices [n, B, ...]. Its
      `lower` takes the same, as arrays or (but for indices) their shapes, and is that of
      `jax.jit`: it compiles for devices that need not be here.

    Raises:
      ValueError: unknown kind or placement; when called, a batch that the devices cannot share
        evenly.
    """
    devices = list(devices or jax.devices())
    check(kind, len(devices), len(devices), placement)
    if kind == "auto" and len(devices) == 1:
        return jax.jit(steps)
    if kind == "auto":
        simple = jax.process_count() == 1 and placement == "replicated"
        kind = "pmap" if simple else "shard_map"
    steps = functools.partial(steps, axis_name=AXIS)
    mapped, share = (_pmap if kind == "pmap" else _shard_map)(steps, placement, devices)

    def run(state, images, indices, schedule):
        check(kind, indices.shape[1], len(devices))
        return mapped(state, images, share(indices), schedule)

    def lower(state, images, indices, schedule):
        check(kind, indices.shape[1], len(devices))
        return mapped.lower(state, images, share(indices), schedule)

    run.lower = lower
    return run


def _pmap(steps: Callable, _, devices: list[jax.Device]) -> tuple[Callable, Callable]:
    """Every device gets its share of the indices: [devices of this process, n, B / devices]."""

    def share(indices):
        shares = np.split(np.asarray(indices), len(devices), axis=1)
        return np.stack([shares[i] for i in _own(devices)])

    axes = (None, None, 0, None)
    return jax.pmap(steps, AXIS, in_axes=axes, out_axes=None, devices=devices), share


def _shard_map(
    steps: Callable, placement: str, devices: list[jax.Device]
) -> tuple[Callable, Callable]:
    """The indices are divided as the program wants them."""
    everywhere, shared = PartitionSpec(), PartitionSpec(None, AXIS)
    scenes = PartitionSpec(AXIS) if placement == "sharded" else everywhere
    mapped = jax.jit(
        jax.shard_map(
            steps,
            mesh=_mesh(devices),
            in_specs=(everywhere, scenes, shared, everywhere),
            out_specs=everywhere,
            # With check_vma=True the gradient of a local loss comes out multiplied by the number
            # of devices, silently.
            check_vma=False,
        )
    )
    return mapped, lambda indices: indices


def _mesh(devices: Sequence[jax.Device] | None) -> Mesh:
    return Mesh(np.array(devices or jax.devices()), (AXIS,))


def _own(devices: Sequence[jax.Device]) -> list[int]:
    """The places of this process's devices among all."""
    return [i for i, d in enumerate(devices) if d.process_index == jax.process_index()]


def check(kind: str, batch: int, devices: int, placement: str = "replicated") -> None:
    """Raises ValueError for an unknown kind or placement, or a batch that does not divide."""
    if kind not in KINDS:
        raise ValueError(f"parallel must be one of {', '.join(KINDS)}, got {kind!r}")
    if placement not in PLACEMENTS:
        raise ValueError(f"placement must be one of {', '.join(PLACEMENTS)}, got {placement!r}")
    if placement == "sharded" and kind == "pmap":
        raise ValueError(
            "parallel=pmap copies the images to every device, got placement='sharded': "
            "take parallel=shard_map"
        )
    if batch % devices:
        below, above = batch // devices * devices, -(-batch // devices) * devices
        nearest = f"{below} or {above}" if below else str(above)
        raise ValueError(
            f"batch_size={batch} does not divide over {devices} devices: take {nearest}"
        )
