"""Many images, a batch of them at a time, in one program."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from asr_jax.config import whole


def in_batches(function: Callable, size: int | None, *arrays: Any) -> Any:
    """function(*arrays), computed `size` rows at a time; the last row fills them up.

    Arrays are [B, ...], or trees of such, or None; the last is one array.
    """
    total = len(arrays[-1])
    if size is None or total <= size:
        return function(*arrays)
    batches = -(-total // size)
    rows = jnp.minimum(jnp.arange(batches * size), total - 1).reshape(batches, size)
    result = jax.lax.map(lambda mine: function(*jax.tree.map(lambda x: x[mine], arrays)), rows)
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[:total], result)


def checked(batch_size: int | None) -> int | None:
    """The batch_size; raises ValueError for one that is no whole number, or below 1."""
    if batch_size is not None and (not whole([batch_size]) or batch_size < 1):
        raise ValueError(f"batch_size must be a whole number of at least 1, got {batch_size!r}")
    return batch_size
