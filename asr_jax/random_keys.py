"""Random keys, one an image: what an image's noise is does not depend on its batch.

Every function that is random takes one key, whose noise follows an image's index, or a key for each
image. Keys of other kinds than threefry become such keys here: under `vmap`, their noise would
depend on how many images come together.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

IMPLEMENTATION = "threefry2x32"
APART = 2**32 - 1  # folded into a key for noise that no image's index can give


def per_image(key: jax.Array, batch: int, axis_name: str | None = None) -> jax.Array:
    """A key for each of `batch` images: [B].

    Args:
      key: one key, folded by the images' index, or [B] keys.
      batch: B, of this device's share.
      axis_name: the mapped axis over devices; the index is then that in the whole batch.

    Raises:
      ValueError: another number of keys than images, or no keys at all.
    """
    key = normal(key)
    if key.ndim == 1 and len(key) == batch:
        return key
    if key.ndim:
        raise ValueError(
            f"{key.shape} keys for {batch} images: give one key, or one an image, [{batch}]"
        )
    return fold(key, indices(batch, axis_name))


def apart(key: jax.Array) -> jax.Array:
    """A key, or keys, for noise that is independent of what `per_image` makes of the same key."""
    return fold(normal(key), APART)


def normal(key: jax.Array) -> jax.Array:
    """A key, or keys, of threefry; raises ValueError for what is none."""
    dtype = getattr(key, "dtype", type(key).__name__)
    if not jax.dtypes.issubdtype(getattr(key, "dtype", None), jax.dtypes.prng_key):
        try:
            if dtype != jnp.uint32 or not key.ndim:
                raise TypeError
            key = jax.random.wrap_key_data(key)  # of jax.random.PRNGKey
        except TypeError as error:
            raise ValueError(
                f"key must be a random key, got {dtype}: use jax.random.key(0)"
            ) from error
    if str(jax.random.key_impl(key)) == IMPLEMENTATION:
        return key
    words = jax.random.key_data(key).reshape(key.size, -1)
    return jax.vmap(_threefry)(words).reshape(key.shape)


def _threefry(words: jax.Array) -> jax.Array:
    """A key of threefry that follows from the words of another; not from its bits, which under
    `vmap` would be those of the first key's."""
    key = jax.random.wrap_key_data(words[:2], impl=IMPLEMENTATION)
    for word in words[2:]:
        key = fold(key, word)
    return key


def indices(batch: int, axis_name: str | None = None) -> jax.Array:
    """The index of this device's images in the whole batch: [B]."""
    index = jnp.arange(batch)
    if axis_name is not None:
        index = index + jax.lax.axis_index(axis_name) * batch
    return index


def fold(key: jax.Array, data: jax.Array | int) -> jax.Array:
    """Folds numbers into keys; one of them is [B] or both are single."""
    axes = (0 if jnp.ndim(key) else None, 0 if jnp.ndim(data) else None)
    one = jax.random.fold_in
    return one(key, data) if axes == (None, None) else jax.vmap(one, axes)(key, data)
