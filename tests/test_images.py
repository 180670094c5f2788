"""The one door for images: what may come in means one thing everywhere, the rest is refused."""

import re
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from asr_jax import (
    Model,
    ModelConfig,
    Schedule,
    TrainState,
    elbo,
    elbo_with_penalty,
    evaluate,
    generation,
    iwae,
    train_steps,
)
from asr_jax.images import check, to_float, warn_of_background
from asr_jax.training import train_step
from tests.small import small_images, small_model, small_params

MODEL = small_model(max_objects=1, encoder="raw", hidden=(4,), appearance=2, lstm=4, head=4)
KEY = jax.random.key(1)
GREY = (small_images(8) * 255).astype(np.uint8)
GREY[0, 0] = 255
FLOATS = GREY / 255


def trained(function, images, params, *indices):
    tx = optax.sgd(1e-2)
    state = TrainState(jnp.int32(0), params, tx.init(params), KEY)
    static = dict(model=MODEL, constraints=(), tx=tx)
    return function(state, images, *indices, Schedule({}), **static)[1]["loss"]


USES = {  # images, parameters -> what comes of them
    "elbo": lambda x, p: elbo(p, KEY, x, model=MODEL),
    "elbo_with_penalty": lambda x, p: elbo_with_penalty(p, KEY, x, model=MODEL),
    "iwae": lambda x, p: iwae(p, KEY, x, model=MODEL, samples=2),
    "posterior": lambda x, p: MODEL.posterior(p, KEY, x),
    "reconstruct": lambda x, p: MODEL.reconstruct(p, x),
    "train_steps": lambda x, p: trained(train_steps, x, p, np.arange(8)[None]),
    "train_step": lambda x, p: trained(train_step, x, p),
    "evaluate": lambda x, p: evaluate(p, KEY, x, model=MODEL),
}


def accepted(images, **arguments):
    """Let in, and without a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return check(images, **arguments)


def warned(function, *arguments):
    """The one warning, which shows the line that asked."""
    with pytest.warns(UserWarning) as caught:
        function(*arguments)
    assert len(caught) == 1 and caught[0].filename == __file__
    return str(caught[0].message)


def assert_close(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6), a, b)


@pytest.fixture(scope="module")
def params():
    return small_params(MODEL)


@pytest.fixture(scope="module")
def in_one_program(params):
    """All that can be compiled, at once, which costs less than one by one."""
    names = [name for name in USES if name not in ("train_step", "evaluate")]
    return jax.jit(lambda images: {name: USES[name](images, params) for name in names})


def test_integers_and_floats_of_the_same_images_give_the_same(in_one_program):
    assert_close(in_one_program(GREY), in_one_program(np.float32(FLOATS)))


def test_truth_values_and_floats_of_the_same_images_give_the_same(params):
    found, expected = (MODEL.reconstruct(params, x) for x in (GREY > 40, np.float32(GREY > 40)))
    assert_close(found, expected)


def test_integers_and_floats_of_the_same_images_are_evaluated_alike(params):
    found, expected = (USES["evaluate"](x, params) for x in (GREY, np.float32(FLOATS)))
    assert_close(found, expected)
    assert {"acc", "miou"}.isdisjoint(expected)  # of which nothing is known
    assert expected["se"].min() > 0.1  # it is not the 255th part of the light that is explained


def test_what_a_dtype_means():
    np.testing.assert_array_equal(
        to_float(np.array([0, 51, 255], np.uint8)), np.float32([0, 0.2, 1])
    )
    np.testing.assert_array_equal(to_float(np.array([False, True])), [0, 1])
    for kind in (np.float16, np.float32, jnp.bfloat16):
        floats = to_float(jnp.asarray([0, 0.25, 1], kind))
        assert floats.dtype == np.float32
        np.testing.assert_array_equal(floats, [0, 0.25, 1])


@pytest.mark.parametrize("kind", [">f4", "<f4", ">f8", "<f8", ">f2", "<f2"])
def test_bytes_in_another_order_are_the_same_images(params, kind):
    images = (np.round(small_images(8) * 16) / 16).astype(kind)  # exact in all of them
    np.testing.assert_array_equal(to_float(accepted(images)), images.astype(np.float32))
    if kind == ">f4":
        found = MODEL.reconstruct(params, images)
        assert_close(found, MODEL.reconstruct(params, images.astype(np.float32)))


def test_lists_and_arrays_on_the_device_are_images():
    np.testing.assert_array_equal(accepted(FLOATS.tolist()), FLOATS)
    on_device = jnp.asarray(GREY)
    assert accepted(on_device) is on_device


STRETCH = "rescale them, such as np.interp(images, (images.min(), images.max()), (0, 1))"
TORN = np.arange(8)[:, None, None] == 3  # one image of the eight
WRONG = {  # images, what is said, and what it advises as code
    "int64": (
        GREY.astype(int),
        "got int64: 0 to 255 become uint8 with images.astype(np.uint8)",
        "images.astype(np.uint8)",
    ),
    "int32 on the device": (
        jnp.asarray(GREY, jnp.int32),
        "got int32: 0 to 255 become uint8 with images.astype(np.uint8)",
        "images.astype(np.uint8)",
    ),
    "big-endian": (
        GREY.astype(">i2"),
        "got int16: 0 to 255 become uint8 with images.astype(np.uint8)",
        "images.astype(np.uint8)",
    ),
    "integer masks": (
        GREY.astype(int) // 128,
        "got int64: 0 and 1 become bool with images.astype(bool)",
        "images.astype(bool)",
    ),
    "uint16": (
        GREY.astype(np.uint16) * 200,
        "got uint16: rescale them to floats, such as (images / images.max()).astype(np.float32)",
        "(images / images.max()).astype(np.float32)",
    ),
    "negative": (
        GREY.astype(np.int16) - 128,
        f"got int16: {STRETCH}",
        "np.interp(images, (images.min(), images.max()), (0, 1))",
    ),
    "uint8 masks": (
        GREY // 128,
        "no value but 0 and 1, which is nearly black: multiply by 255, or cast to bool",
        "images * 255",
    ),
    "uint8 masks, too": (GREY // 128, "or cast to bool", "images.astype(bool)"),
    "0 to 255": (FLOATS * 255, "got 0 to 255: rescale them, such as images / 255", "images / 255"),
    "half precision": (
        (FLOATS * 255).astype(np.float16),
        "got 0 to 255: rescale them, such as images / 255",
        "images / 255",
    ),
    "bfloat16": (
        jnp.asarray(FLOATS * 128, jnp.bfloat16),
        "got 0 to 128: rescale them, such as images / 255",
        "images / 255",
    ),
    "resized": (
        FLOATS * 1.02 - 0.01,
        "got -0.01 to 1.01: clip what is beyond, np.clip(images, 0, 1)",
        "np.clip(images, 0, 1)",
    ),
    "-1 to 1": (
        FLOATS * 2 - 1,
        f"got -1 to 1: {STRETCH}",
        "np.interp(images, (images.min(), images.max()), (0, 1))",
    ),
    "16 bits": (
        FLOATS * 65535,
        f"got 0 to 65535: {STRETCH}",
        "np.interp(images, (images.min(), images.max()), (0, 1))",
    ),
    "NaN": (
        np.where(TORN, np.nan, FLOATS),
        "must be finite, got nan to nan: repair or drop the images with NaN or infinity",
        "images[np.isfinite(images).all((1, 2))]",
    ),
    "infinity": (
        np.where(TORN, np.inf, FLOATS),
        "must be finite, got 0 to inf: repair or drop the images with NaN or infinity",
        "images[np.isfinite(images).all((1, 2))]",
    ),
}


@pytest.mark.parametrize("images, message, remedy", WRONG.values(), ids=WRONG)
def test_what_no_one_can_mean_is_refused_and_what_is_advised_helps(images, message, remedy):
    with pytest.raises(ValueError, match=f"^scans .*{re.escape(message)}$"):
        check(images, name="scans")
    accepted(eval(remedy, {"images": images, "np": np}))


@pytest.mark.parametrize("images", [np.full((1, 2, 2), 1j), np.full((1, 2, 2), "a"), [[[None]]]])
def test_what_holds_no_numbers_is_refused(images):
    with pytest.raises(ValueError, match=r"images must be uint8 .*, got .*: save plain numbers"):
        check(images)


DEFAULT = Model(ModelConfig())
SHAPES = [  # of images for a canvas of 50 x 50, what is advised
    ((8, 50, 50, 1), "drop the last axis with images[..., 0]", lambda x: x[..., 0]),
    ((50, 50), "one image is images[None]", lambda x: x[None]),
    ((8, 50, 50, 3), "make colours grey, such as images.mean(-1)", lambda x: x.mean(-1)),
    *(
        (
            (8, size, size),
            "crop or resize them, or make a model of that canvas",
            lambda x: np.pad(x, [(0, 0), (0, 2), (0, 2)], constant_values=0.5)[:, :50, :50],
        )
        for size in (48, 49, 51, 52)
    ),
    ((2500,), "crop or resize them", lambda x: x.reshape(1, 50, 50)),
]


@pytest.mark.parametrize("shape, advice, remedy", SHAPES, ids=[str(s[0]) for s in SHAPES])
def test_another_shape_is_refused_by_one_error_that_names_the_canvas(shape, advice, remedy):
    images = np.full(shape, 0.5, np.float32)
    message = (
        f"images must have shape [B, 50, 50], B images of 50 x 50 pixels, got {shape}: {advice}"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        DEFAULT.check(images)
    accepted(remedy(images), canvas=(50, 50))
    if len(shape) == 3:
        Model(ModelConfig(canvas=shape[1:])).check(images)


BAD = {
    "an axis too many": (np.zeros((8, 12, 12, 1)), r"have shape \[B, 12, 12\], .*, got \(8, 12"),
    "an axis too few": (np.zeros((12, 12)), r"have shape \[B, 12, 12\], .*, got \(12, 12\)"),
    "another canvas": (np.zeros((8, 12, 13)), r"have shape \[B, 12, 12\], .*, got \(8, 12, 13\)"),
    "no images": (np.zeros((0, 12, 12)), r"must not be empty, got shape \(0, 12, 12\): give one"),
    "int64": (GREY.astype(int), "got int64: 0 to 255 become uint8"),
    "0 to 255": (FLOATS * 255, r"got 0 to 255: rescale them, such as images / 255"),
    "NaN": (FLOATS * np.nan, "must be finite, got nan"),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("images, message", BAD.values(), ids=BAD)
def test_every_function_has_the_same_door(params, use, images, message):
    with pytest.raises(ValueError, match=f"^images .*{message}"):
        USES[use](images, params)


@pytest.mark.parametrize("images, message", list(BAD.values())[:5], ids=list(BAD)[:5])
def test_a_compiled_function_has_the_same_door_for_shapes_and_dtypes(params, images, message):
    with pytest.raises(ValueError, match=f"^images .*{message.replace('int64', 'int32')}"):
        jax.jit(lambda x: USES["train_steps"](x, params))(images)


def test_images_that_are_compared_come_through_the_door():
    with pytest.raises(ValueError, match=r"^images are floats, .* got 0 to 255: rescale"):
        generation.nearest(FLOATS * 255, GREY)
    with pytest.raises(ValueError, match=r"^others have shape|^others must have shape \[B, 12, 12"):
        generation.nearest(GREY, GREY[:, :11])
    np.testing.assert_allclose(generation.nearest(FLOATS, GREY), 0, atol=0.1)


def test_nearly_black_images_are_a_warning():
    dark = "images are nearly black: the largest pixel is 31 of 255: rescale them"
    assert warned(check, GREY // 8) == dark
    assert warned(check, (GREY // 8) / 255) == dark
    assert "the largest pixel is 0 of 255" in warned(check, np.zeros((2, 3, 3), bool))
    accepted(GREY // 8, may_be_black=True)  # as what a model generates
    accepted(GREY // 7)
    accepted((GREY // 8) / 31)  # rescaled


def test_a_bright_background_is_a_warning(params):
    ink = np.zeros((9, 60, 60), np.uint8)
    ink[:, 20:30, 20:30] = 255
    for images, inverted in ((255 - ink, "255 - image"), (1 - ink / 255, "1.0 - image")):
        assert warned(warn_of_background, images) == (
            "images have a bright background (median 255 of 255), and the model's is black: "
            f"invert them ({inverted}), or subtract the background"
        )
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warn_of_background(eval(inverted, {"image": images}))
            warn_of_background(np.abs(images - np.median(images, axis=0)))  # subtracted
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="bright background"):
            evaluate(params, KEY, 255 - GREY // 4, model=MODEL)


def test_ordinary_images_are_no_warning(params):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        evaluate(params, KEY, GREY, model=MODEL)
        for images in (GREY, GREY > 0, FLOATS, FLOATS.astype(np.float16), GREY[:1]):
            check(images)
            warn_of_background(images)
