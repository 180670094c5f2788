"""Constraints on what boxes show: an object touches the edges of its box (not in the paper).

A window that is larger than its object explains an image as well, so likelihood leaves the size of
a box open, and a bound on sides only says how large objects are in general.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from asr_jax import boxes
from asr_jax.distributions import CountChain
from asr_jax.types import Posterior


def snug(posterior: Posterior, canvas: tuple[int, int]) -> jax.Array:
    """By how much boxes are larger than what they show -> [B], pixels.

    F = E sum_i min(l_i + r_i, t_i + b_i), with the empty margins of box i to the left, right, top
    and bottom; see `margins`. Boxes are squares, so an object touches two of its box's edges, or
    all four.
    """
    window = posterior.windows.alpha.shape[-1]
    side = boxes.side_in_pixels(boxes.side(posterior.latents.scale), canvas)  # [B, K, 1]
    empty = margins(posterior.windows.alpha).sum(-1) * (side / window)  # [B, K, 2]
    # Not .min(-1): see `overlap.overlap` for the gradient of a reduction.
    too_large = jnp.minimum(empty[..., 0], empty[..., 1])
    return jnp.sum(CountChain(posterior.presence_logits).survival * too_large, axis=1)


def margins(alpha: jax.Array) -> jax.Array:
    """The empty margins of windows [..., h, w] -> [..., 2, 2], window pixels: x, y; before, after.

    A margin ends where all rows so far, or columns, hold as much ink as one full pixel:
    sum_i max(1 - c_i, 0), where c_i is the ink of the first i rows.
    """
    ink = jnp.stack([alpha.sum(-2), alpha.sum(-1)], axis=-2)  # [..., 2, h]: of columns, of rows
    length = ink.shape[-1]
    first = np.tri(length, dtype=np.float32).T  # [h, i]: 1 for the rows up to i
    so_far = ink @ jnp.concatenate([first, first[::-1]], axis=1)  # [..., 2, 2h]
    empty = jnp.maximum(1 - so_far, 0)
    return empty.reshape(*ink.shape[:-1], 2, length).sum(-1)
