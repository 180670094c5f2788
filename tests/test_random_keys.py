"""Random keys: one an image, whose noise depends neither on the batch nor on the kind of key."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from asr_jax import elbo, elbo_with_penalty, evaluate, generate, iwae
from asr_jax.random_keys import apart, normal, per_image
from tests.small import small_images, small_model, small_params

MODEL = small_model(max_objects=1, encoder="raw", hidden=(4,), appearance=2, lstm=4, head=4)
IMAGES = small_images(8)
USES = {  # key, parameters -> something of every image
    "posterior": lambda k, p: MODEL.posterior(p, k, IMAGES).latents.shift,
    "elbo_with_penalty": lambda k, p: elbo_with_penalty(p, k, IMAGES, model=MODEL)[1].elbo,
    "iwae": lambda k, p: iwae(p, k, IMAGES, model=MODEL, samples=2),
    "sample": lambda k, p: MODEL.sample(p, k, 8).canvas,
    "evaluate": lambda k, p: evaluate(p, k, IMAGES, model=MODEL)["nelbo"],
    "generate": lambda k, p: generate(p, k, 8, model=MODEL)["canvas"],
}
ELBO = {"elbo": lambda k, p: elbo(p, k, IMAGES, model=MODEL)}  # as in elbo_with_penalty


def data(keys):
    return np.asarray(jax.random.key_data(keys))


def folded(key, indices):
    """The keys that one key stands for."""
    return jnp.stack([jax.random.fold_in(key, int(i)) for i in indices])


@pytest.fixture(scope="module")
def params():
    return small_params(MODEL)


@pytest.mark.parametrize("use", USES)
def test_one_key_stands_for_a_key_an_image_folded_by_index(params, use):
    key = jax.random.key(3)
    one, each = USES[use](key, params), USES[use](folded(key, range(8)), params)
    np.testing.assert_allclose(one, each, rtol=1e-6, atol=1e-7)
    if use == "posterior":  # and the noise is that of the key
        other = USES[use](folded(key, [7, *range(1, 8)]), params)
        np.testing.assert_array_equal(other[1:], each[1:])
        assert np.abs(other[0] - each[0]).max() > 1e-3


@pytest.mark.parametrize("use", USES | ELBO)
def test_another_number_of_keys_than_images_is_refused(params, use):
    keys = jax.random.split(jax.random.key(0), 3)
    message = r"\(3,\) keys for 8 images: give one key, or one an image, \[8\]"
    with pytest.raises(ValueError, match=message):
        (USES | ELBO)[use](keys, params)


def test_as_many_keys_as_images_are_taken_as_they_are():
    keys = jax.random.split(jax.random.key(0), 5)
    np.testing.assert_array_equal(data(per_image(keys, 5)), data(keys))
    np.testing.assert_array_equal(data(per_image(keys[:1], 1)), data(keys[:1]))
    with pytest.raises(ValueError, match=re.escape("(1,) keys for 2 images")):
        per_image(keys[:1], 2)
    with pytest.raises(ValueError, match=re.escape("(5, 1) keys for 5 images")):
        per_image(keys[:, None], 5)


def test_keys_of_before_there_were_types_are_keys():
    old, new = jax.random.PRNGKey(7), jax.random.key(7)
    np.testing.assert_array_equal(data(per_image(old, 3)), data(folded(new, range(3))))
    several = jax.random.split(old, 4)  # [4, 2] numbers
    np.testing.assert_array_equal(data(per_image(several, 4)), np.asarray(several))
    np.testing.assert_array_equal(data(per_image(np.asarray(old), 3)), data(per_image(new, 3)))


@pytest.mark.parametrize("wrong", [0, 1.5, np.zeros(2), jnp.uint32(3), None, "key"])
def test_what_is_no_key_is_refused_and_what_is_advised_is_one(wrong):
    with pytest.raises(ValueError, match=r"key must be a random key, got .*: use (jax.*)$") as said:
        per_image(wrong, 2)
    assert per_image(eval(str(said.value).rpartition("use ")[2]), 2).shape == (2,)


@pytest.mark.parametrize("kind", ["rbg", "unsafe_rbg"])
def test_keys_of_another_kind_do_not_depend_on_the_batch(kind):
    key = jax.random.key(5, impl=kind)
    eight = per_image(key, 8)
    assert str(jax.random.key_impl(eight)) == "threefry2x32"
    for size in (1, 3):
        np.testing.assert_array_equal(data(per_image(key, size)), data(eight)[:size])
    assert len(np.unique(data(eight), axis=0)) == 8
    assert np.any(data(eight) != data(per_image(jax.random.key(6, impl=kind), 8)))
    # One an image, whichever come with it.
    keys = jax.random.split(key, 6)
    np.testing.assert_array_equal(data(per_image(keys, 6))[2:4], data(per_image(keys[2:4], 2)))
    assert len(np.unique(data(per_image(keys, 6)), axis=0)) == 6


def test_noise_that_must_be_independent_has_keys_of_its_own():
    key = jax.random.key(9)
    ours, others = data(per_image(key, 2000)), data(per_image(apart(key), 2000))
    assert len(np.unique(np.concatenate([ours, others]), axis=0)) == 4000
    keys = jax.random.split(key, 3)
    assert apart(keys).shape == (3,) and np.all(data(apart(keys)) != data(keys))
    rbg = jax.random.key(9, impl="rbg")
    np.testing.assert_array_equal(data(apart(rbg)), data(apart(normal(rbg))))


def test_a_device_folds_by_the_index_in_the_whole_batch():
    key = jax.random.key(4)
    share = jax.pmap(lambda _: jax.random.key_data(per_image(key, 2, "devices")), "devices")
    np.testing.assert_array_equal(np.concatenate(share(jnp.arange(4))), data(folded(key, range(8))))
