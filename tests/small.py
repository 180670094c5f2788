"""A small model and a few images, for tests of what is built on a model."""

import jax
import numpy as np

from asr_jax import Model, ModelConfig

CANVAS = (12, 12)


def small_model(**changes) -> Model:
    settings = dict(
        canvas=CANVAS, max_steps=3, window=6, appearance=4, lstm=8, hidden=(16, 8), head=8
    )
    return Model(ModelConfig(**(settings | changes)))


def small_images(batch: int, seed: int = 0) -> np.ndarray:
    """[B, H, W] float32 in [0, 1]: black with a few random grey pixels."""
    rng = np.random.default_rng(seed)
    grey = rng.random((batch, *CANVAS)) * (rng.random((batch, *CANVAS)) < 0.3)
    return grey.astype(np.float32)


def with_leaf(params: dict, path: tuple[str, ...], change) -> dict:
    """A copy of nested dicts with one leaf replaced by change(leaf)."""
    if not path:
        return change(params)
    return params | {path[0]: with_leaf(params[path[0]], path[1:], change)}


def tree_max_difference(a, b) -> float:
    """Largest absolute difference of two trees of arrays."""
    differences = jax.tree.map(lambda x, y: np.abs(np.asarray(x) - np.asarray(y)).max(), a, b)
    return float(max(jax.tree.leaves(differences)))
