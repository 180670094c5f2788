"""What is known of scenes: what cannot be is refused, what is odd is said, the rest is silent."""

import re
import warnings

import jax
import numpy as np
import pytest

from asr_jax import ModelConfig, evaluate, truth
from tests.small import small_model

CONFIG = ModelConfig(canvas=(20, 30), max_objects=3)


def scenes(number=6, seed=0):
    """Images [N, 20, 30], counts, and boxes of three bright rectangles that differ in x and y."""
    rng = np.random.default_rng(seed)
    count = np.arange(number) % 4
    image, box = np.zeros((number, 20, 30), np.uint8), np.zeros((number, 3, 4))
    for b in range(number):
        for k in range(count[b]):
            x, y = 16 + rng.integers(0, 9), rng.integers(0, 14)  # to the right of the diagonal
            box[b, k] = x, y, x + 5, y + 6
            image[b, y : y + 6, x : x + 5] = 255
    return image, count, box


def warned(image, count, box=None, config=CONFIG):
    """The one warning, which shows the line that asked."""
    with pytest.warns(UserWarning) as caught:
        truth.check(image, count, box, config)
    assert len(caught) == 1 and caught[0].filename == __file__
    return str(caught[0].message)


def accepted(*arguments):
    """Without a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return truth.check(*arguments)


def test_what_fits_is_returned_in_silence():
    image, count, box = scenes()
    for images in (image, image / 255, np.zeros_like(image)):
        found = accepted(images, count.tolist(), box.tolist(), CONFIG)
        np.testing.assert_array_equal(found[0], count)
        np.testing.assert_array_equal(found[1], box)
    assert accepted(image, count, None, CONFIG)[1] is None
    assert accepted(image) == (None, None)
    accepted(image, np.zeros(6, int), box[:, :0], CONFIG)  # no objects, no rows
    accepted(image, np.full(6, 9), None)  # of no model
    # What is beyond the count means nothing.
    box[np.arange(3) >= count[:, None]] = np.nan
    accepted(image, count, box, CONFIG)
    # Boxes that fill their image, rounding included.
    accepted(image, np.ones(6, int), np.tile([0, 0, 30, 20.0], (6, 1, 1)), CONFIG)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda c, b: (None, b), "boxes need counts, to tell objects from padding: give count"),
        (lambda c, b: (c[:5], b), "count must have shape (6,), one an image, got (5,)"),
        (lambda c, b: (c[:, None], b), "count must have shape (6,), one an image, got (6, 1)"),
        (lambda c, b: (c * 0.5, b), "count must be whole numbers of at least 0, got float64"),
        (lambda c, b: (c - 1, b), "count must be whole numbers of at least 0, got int64 from -1"),
        (lambda c, b: (c.astype(str), b), "count must be whole numbers of at least 0, got <U"),
        (lambda c, b: (c > 0, b), "count must be whole numbers of at least 0, got bool"),
        (lambda c, b: (c, b[:5]), "box must have shape (6, M, 4), (x0, y0, x1, y1) of each object"),
        (lambda c, b: (c, b[..., :2]), "box must have shape (6, M, 4)"),
        (lambda c, b: (c, b[0]), "box must have shape (6, M, 4)"),
        (lambda c, b: (c, b[:, :2]), "a row for every object, got 2 rows and counts up to 3"),
        (lambda c, b: (c, b * np.nan), "box must be finite numbers for every object, got float64"),
        (lambda c, b: (c, b.astype(str)), "box must be finite numbers for every object, got <U"),
    ],
)
def test_what_cannot_be_is_refused(change, message):
    image, count, box = scenes()
    with pytest.raises(ValueError, match=re.escape(message)):
        truth.check(image, *change(count, box), CONFIG)


def masks(box, count):
    """What is seen of rectangles, the first in front."""
    mask = np.zeros((len(box), 20, 30), np.uint8)
    for b, number in enumerate(count):
        for k in reversed(range(number)):
            x0, y0, x1, y1 = box[b, k].astype(int)
            mask[b, y0:y1, x0:x1] = k + 1
    return mask


def test_masks_that_fit_are_accepted_in_silence():
    image, count, box = scenes()
    box[:, 2] += [-3, 0, -3, 0]
    mask = masks(box, count)
    colour = np.stack([255 - image, image, image], -1)  # on a bright background
    for images, given in ((image, mask), (image, mask.astype(int)), (colour, mask)):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = truth.check(images, count, box, CONFIG, given)
        np.testing.assert_array_equal(found[0], count)
    accepted(image[:0], count[:0], None, CONFIG, mask[:0])


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda m: m[:5], "mask must have shape (6, 20, 30), a number a pixel, got (5, 20, 30)"),
        (lambda m: m[..., None], "mask must have shape (6, 20, 30), .*, got (6, 20, 30, 1)"),
        (
            lambda m: m > 0,
            "mask must be whole numbers, 0 the background and t the t-th object, got bo",
        ),
        (lambda m: m / 1.0, "mask must be whole numbers, .*, got float64 from 0.0"),
        (lambda m: m.astype(int) - 1, "mask must be whole numbers, .*, got int64 from -1"),
        (
            lambda m: np.where(m > 0, 255, 0),
            "mask must be at most the count of its image, got 255 in image 1, which has 1 objects",
        ),
        (lambda m: np.where(m == 3, 4, m), "got 4 in image 3, which has 3 objects: number objects"),
    ],
)
def test_masks_that_contradict_images_or_counts_are_refused(change, message):
    image, count, box = scenes()
    pattern = ".*".join(map(re.escape, message.split(".*")))
    with pytest.raises(ValueError, match=pattern):
        truth.check(image, count, box, CONFIG, mask=change(masks(box, count)))


def test_masks_without_counts_are_refused():
    image, count, box = scenes()
    with pytest.raises(ValueError, match="masks need counts, .*: give count, too"):
        truth.check(image, mask=masks(box, count))


def test_masks_that_do_not_show_every_object_are_said():
    image, count, box = scenes()
    with pytest.warns(UserWarning) as caught:
        truth.check(image, count, box, CONFIG, np.minimum(masks(box, count), 1))
    (said,) = caught
    assert "got 2 of 6 images that show fewer" in str(said.message)  # with 2 and with 3 objects


def test_counts_that_the_model_cannot_infer_are_named():
    image, count, _ = scenes()
    fewer = ModelConfig(canvas=(20, 30), max_objects=2)
    said = warned(image, count, config=fewer)
    assert said == ("1 of 6 scenes have counts, [3], that the model cannot infer: it knows 0..K=2")
    known = ModelConfig(canvas=(20, 30), max_objects=3, count=2)
    said = warned(image, count, config=known)
    assert said == (
        "5 of 6 scenes have counts, [0, 1, 3], that the model cannot infer: it knows 2 alone"
    )
    accepted(image, np.full(6, 2), None, known)
    some = ModelConfig(canvas=(20, 30), max_objects=3, prior="fixed", possible_counts=(3, 1))
    said = warned(image, count, config=some)
    assert said.endswith("[0, 2], that the model cannot infer: it knows 1, 3 alone")


@pytest.mark.parametrize(
    "change, problem, remedy",
    [
        (
            lambda box: box / [30, 20, 30, 20],
            "they look like fractions: multiply them by the image's size",
            lambda box: box * [30, 20, 30, 20],
        ),
        (
            lambda box: np.concatenate([box[..., :2], box[..., 2:] - box[..., :2]], -1),
            "x0 < x1 and y0 < y1 do not hold: give corners, not sizes",
            lambda box: np.concatenate([box[..., :2], box[..., :2] + box[..., 2:]], -1),
        ),
        (
            lambda box: box + [0, 15, 0, 15],
            "7 of 7 do not lie inside the image",
            lambda box: box - [0, 15, 0, 15],
        ),
    ],
)
def test_odd_boxes_are_said_with_numbers_and_a_remedy_that_helps(change, problem, remedy):
    image, count, box = scenes()
    odd = change(box)
    objects = odd[np.arange(3) < count[:, None]]
    assert warned(image, count, odd) == (
        "box must be (x0, y0, x1, y1) in pixels of 20 x 30 images, got "
        f"{objects.min():g} to {objects.max():g}: {problem}"
    )
    accepted(image, count, remedy(odd), CONFIG)


def test_boxes_whose_axes_are_exchanged_are_seen_by_the_light_in_them():
    image = np.zeros((4, 20, 20))
    box = np.zeros((4, 1, 4))
    for b in range(4):
        image[b, 2:6, 9 + b : 15 + b] = 0.5
        box[b, 0] = 2, 9 + b, 6, 15 + b  # (y0, x0, y1, x1)
    config = ModelConfig(canvas=(20, 20))
    said = warned(image, np.ones(4, int), box, config)
    assert said.endswith("0% of what stands out lies in them, and 100% where x and y are exchanged")
    accepted(image, np.ones(4, int), box[..., [1, 0, 3, 2]], config)


def test_evaluation_looks_at_counts_and_boxes_before_it_computes():
    model, image = small_model(), np.full((2, 12, 12), 40, np.uint8)
    with pytest.raises(ValueError, match=r"count must have shape \(2,\)"):
        evaluate(None, jax.random.key(0), image, np.zeros(3, int), model=model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match=r"2 of 2 scenes have counts, \[9\]"):
            evaluate(None, jax.random.key(0), image, np.full(2, 9), model=model)
        box = np.full((2, 1, 4), 0.5)
        with pytest.raises(UserWarning, match="12 x 12 images, got 0.5 to 0.5: .* fractions"):
            evaluate(None, jax.random.key(0), image, np.ones(2, int), box, model=model)
