"""A small model, its parameters and a few images, for tests of what is built on a model.

Compilation is what takes time: tests that use these as they are share their programs.
"""

import jax
import jax.numpy as jnp
import numpy as np

from asr_jax import Model, ModelConfig

CANVAS = (12, 12)
BATCH = 4
# Where the count is decided.
PRESENCE_BIAS = ("inference", "params", "step", "presence", "bias")
PRESENCE_KERNEL = (*PRESENCE_BIAS[:-1], "kernel")


def small_model(**changes) -> Model:
    settings = dict(
        **dict(encoder="patches", place_prior="gaussian", canvas=CANVAS, max_objects=3, window=6),
        **dict(appearance=4, lstm=8, hidden=(16, 8), head=8),
    )
    return Model(ModelConfig(**(settings | changes)))


def small_params(model: Model, seed: int = 0) -> dict:
    """Random parameters as wide as fresh ones, biases too; `model.init` would be compiled."""
    rng = np.random.default_rng(seed)

    def draw(shape):
        width = shape.shape[0] ** -0.5 if len(shape.shape) == 2 else 0.1
        return jnp.asarray(rng.normal(0, width, shape.shape), jnp.float32)

    params = jax.tree.map(draw, jax.eval_shape(model.init, jax.random.key(0)))
    return with_leaf(params, ("decoder", "params", "Dense_0", "bias"), lambda bias: bias - 2)


def small_images(batch: int = BATCH, seed: int = 0) -> np.ndarray:
    """[B, H, W] float32 in [0, 1]: black with a few random grey pixels."""
    rng = np.random.default_rng(seed)
    grey = rng.random((batch, *CANVAS)) * (rng.random((batch, *CANVAS)) < 0.3)
    return grey.astype(np.float32)


def image_keys(batch: int = BATCH, seed: int = 0, key: jax.Array | None = None) -> jax.Array:
    """One key an image, [B]: what one key stands for."""
    key = jax.random.key(seed) if key is None else key
    return jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(batch))


def with_leaf(params: dict, path: tuple[str, ...], change) -> dict:
    """A copy of nested dicts with one leaf replaced by change(leaf)."""
    if not path:
        return change(params)
    return params | {path[0]: with_leaf(params[path[0]], path[1:], change)}


def leaf(params: dict, path: tuple[str, ...]):
    for name in path:
        params = params[name]
    return params


def tree_max_difference(a, b) -> float:
    """Largest absolute difference of two trees of arrays."""
    differences = jax.tree.map(lambda x, y: np.abs(np.asarray(x) - np.asarray(y)).max(), a, b)
    return float(max(jax.tree.leaves(differences)))
