"""Refinement: boxes that are off come back, nothing gets worse, images do not see each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import asr_jax
from asr_jax import Constraint, boxes, elbo, number_constraints, overlap_constraints, refinement
from asr_jax.bound import elbo_terms
from asr_jax.constraints.base import penalty, values
from asr_jax.inference import draw_noise
from asr_jax.types import Gaussian
from tests.small import (
    CANVAS,
    PRESENCE_BIAS,
    image_keys,
    small_images,
    small_model,
    small_params,
    tree_max_difference,
    with_leaf,
)

MODEL = small_model()  # of which the count is inferred
CONSTRAINTS = overlap_constraints(2.0, 5.0)
IMAGES, NUMBER = (small_images(6) * 255).astype(np.uint8), 6


@pytest.fixture(scope="module")
def params():
    return small_params(MODEL, 2)


@pytest.fixture(scope="module")
def start(params):
    return MODEL.posterior(params, None, IMAGES)


def refined(params, posterior, images=IMAGES, model=MODEL, **changes):
    settings = dict(steps=8, constraints=CONSTRAINTS) | changes
    return model.refine(params, images, posterior, **settings)


@pytest.fixture(scope="module")
def result(params, start):
    return refined(params, start)


def objective(params, posterior, images=IMAGES, model=MODEL, constraints=CONSTRAINTS):
    """ELBO - penalty on the latents that a posterior has: [B]."""
    images = images / np.float32(255) if images.dtype == np.uint8 else images
    terms, _ = elbo_terms(params, posterior, images, model=model)
    weights = {c.name: c.weight for c in constraints}
    found = values(constraints, posterior, model.config.canvas)
    return np.asarray(terms.elbo - penalty(found, weights))


# A scene that is known: the decoder draws the same blob whatever the appearance, the count is two.

TWO = small_model(max_objects=2, count=2, prior="fixed", scale_prior=(-0.7, 0.1), head=4)
WINDOW = TWO.config.window
# (x, y) of two blobs, and the side of their boxes, in pixels. The second is cut by the edge: less
# light lies there than at the first.
MIDDLE, SIDE = np.array([[3.5, 4.5], [10.9, 8.5]]), 4.0


def blob() -> np.ndarray:
    """[h, w]: bright in the middle, dark at the edges."""
    offset = (np.arange(WINDOW) + 0.5) / WINDOW * 2 - 1
    return 0.95 * np.exp(-3 * (offset[:, None] ** 2 + offset[None] ** 2)) + 0.005


def painted(middle: np.ndarray, side: float) -> np.ndarray:
    """The blob drawn into a box, by bilinear interpolation pixel by pixel, in float64."""
    image, window = np.zeros(CANVAS), blob()
    for i, j in np.ndindex(*CANVAS):
        v, u = ((np.array([i, j]) + 0.5 - middle[::-1]) / side + 0.5) * WINDOW - 0.5
        for p, q in np.ndindex(WINDOW, WINDOW):
            image[i, j] += max(0, 1 - abs(v - p)) * max(0, 1 - abs(u - q)) * window[p, q]
    return image


@pytest.fixture(scope="module")
def known():
    """(params, image [1, H, W]) of the two blobs."""
    params = small_params(TWO)
    last = ("decoder", "params", "Dense_0")
    params = with_leaf(params, (*last, "kernel"), jnp.zeros_like)
    logits = jnp.asarray(np.log(blob() / (1 - blob())).ravel(), jnp.float32)
    params = with_leaf(params, (*last, "bias"), lambda _: logits)
    return params, sum(painted(m, SIDE) for m in MIDDLE)[None].astype(np.float32)


def boxes_at(params, image, middle, side):
    """The amortised posterior, with its means where the boxes are of those centres and side."""
    q = TWO.posterior(params, None, image)
    shift = np.arctanh(np.array(middle) / CANVAS[0] * 2 - 1)[None].astype(np.float32)
    fraction = side / CANVAS[0]
    scale = np.full((1, 2, 1), np.log(fraction / (1 - fraction)), np.float32)
    return q.replace(
        shift=Gaussian(shift, np.full_like(shift, 0.01)),
        scale=Gaussian(scale, np.full_like(scale, 0.01)),
        latents=q.latents.replace(shift=shift, scale=scale),
    )


def middles(posterior):
    """Centres [K, 2] and sides [K] in pixels of one image's means."""
    shift, scale = np.float64(posterior.shift.loc[0]), np.float64(posterior.scale.loc[0, :, 0])
    return (np.tanh(shift) + 1) / 2 * CANVAS[0], CANVAS[0] / (1 + np.exp(-scale))


def test_displaced_boxes_come_back_to_where_the_objects_are(known):
    params, image = known
    off = boxes_at(params, image, MIDDLE + [[1.2, -0.9], [-1.0, 1.1]], 5.0)
    found = refined(params, off, image, TWO, steps=100, moves=0, constraints=())
    middle, side = middles(found)
    assert np.abs(middle - MIDDLE).max() < 0.15 and np.abs(side - SIDE).max() < 0.4
    np.testing.assert_array_equal(found.latents.shift, found.shift.loc)  # no noise came in


def test_an_object_that_no_box_is_near_is_found_by_a_move(known):
    """Two boxes on one blob: what one of them leaves unexplained is the other blob."""
    params, image = known
    twice = boxes_at(params, image, [MIDDLE[0] + 0.5, MIDDLE[0]], SIDE)
    found = refined(params, twice, image, TWO, steps=0, moves=1, constraints=())
    middle, _ = middles(found)
    # One went to the pixel's centre that is nearest to the blob's, the other stayed.
    distance = np.abs(middle - MIDDLE[1]).max(1)
    assert distance.min() <= 0.51
    stayed = int(distance.argmax())
    np.testing.assert_array_equal(found.shift.loc[0, stayed], twice.shift.loc[0, stayed])
    # Without moves the gradient knows nothing of it.
    stuck, _ = middles(refined(params, twice, image, TWO, steps=100, moves=0, constraints=()))
    assert np.abs(stuck - MIDDLE[1]).max(1).min() > 2


def test_no_image_gets_worse_however_wild_the_steps_are(params, start):
    """Adam with steps of 2 ends far away; what is returned is the best that it saw."""
    before = objective(params, start)
    for rate in (0.02, 2.0):
        after = objective(params, refined(params, start, learning_rate=rate))
        assert (after >= before - 1e-3).all()
    gain = objective(params, refined(params, start)) - before
    assert gain.min() > 0.1  # and with sensible ones it is better


def test_the_objective_has_the_weights_that_are_given(params, start):
    """With a high price on the left half, every box that exists goes to the right one."""
    right = Constraint("right", _left_half, weight=0.0)
    sure = start.replace(presence_logits=jnp.full_like(start.presence_logits, 5.0))
    settings = dict(steps=60, moves=0, learning_rate=0.1, constraints=(right,))
    free = refined(params, sure, **settings)
    bound = refined(params, sure, weights={"right": 1e4}, **settings)
    assert float(boxes.centre(free.shift.loc)[..., 0].min()) < -0.1
    assert float(boxes.centre(bound.shift.loc)[..., 0].min()) > -0.02


def _left_half(posterior, canvas):
    return jnp.maximum(-boxes.centre(posterior.latents.shift)[..., 0], 0).sum(1)


def test_a_move_is_kept_only_where_the_objective_rises():
    """The first image's light lies where the objective wants the box, the second's does not."""
    light = np.zeros((2, 8, 8), np.float32)
    light[0, 5, 2] = light[1, 1, 6] = 1
    target = np.arctanh(np.array([2.5, 5.5]) / 4 - 1)  # (x, y) of row 5, column 2
    near = np.array([0.1, 0.1]) + target

    def objective(places):
        return -jnp.square(places.shift - jnp.asarray(target, jnp.float32)[None, None]).sum((1, 2))

    places = refinement.Means(
        jnp.asarray(np.tile(near, (2, 1, 1)), jnp.float32), jnp.full((2, 1, 1), -3.0)
    )
    value, moved = refinement._move(
        objective, lambda places, t: jnp.asarray(light), (objective(places), places), 1
    )
    np.testing.assert_allclose(moved.shift[0, 0], target, rtol=1e-5)
    np.testing.assert_array_equal(moved.shift[1], places.shift[1])
    np.testing.assert_array_equal(moved.scale, places.scale)
    np.testing.assert_allclose(value, [0, -0.02], rtol=1e-5, atol=1e-6)


def test_the_brightest_place_is_that_of_a_float64_loop():
    rng = np.random.default_rng(0)
    images = rng.random((24, 7, 9)).astype(np.float32) ** 4
    side = np.tile([0.1, 0.37, 0.5, 0.9], 6)
    found = np.tanh(np.float64(refinement.brightest(images, jnp.float32(side)[:, None])))
    for image, fraction, centre in zip(images, side, found, strict=True):
        half, best = fraction * 7 / 2, (-1.0, None)
        for i, j in np.ndindex(7, 9):
            light = 0.0
            for p, q in np.ndindex(7, 9):
                tall = min(i + 0.5 + half, p + 1) - max(i + 0.5 - half, p)
                wide = min(j + 0.5 + half, q + 1) - max(j + 0.5 - half, q)
                light += max(tall, 0) * max(wide, 0) * float(image[p, q])
            best = max(best, (light, (j, i)))
        np.testing.assert_allclose((centre + 1) / 2 * [9, 7] - 0.5, best[1], atol=1e-4)


def test_images_do_not_see_each_other(params, start, result):
    for rows in ([0], [4]):
        one = refined(params, jax.tree.map(lambda x, r=rows: x[jnp.array(r)], start), IMAGES[rows])
        mine = jax.tree.map(lambda x, r=rows: x[jnp.array(r)], result)
        assert tree_max_difference(one, mine) < 1e-3
    in_chunks = refined(params, start, batch_size=4)
    assert tree_max_difference(in_chunks, result) < 1e-3
    assert tree_max_difference(result, start) > 0.05  # of what they might have differed by
    assert tree_max_difference(refined(params, start, IMAGES / np.float32(255)), result) < 1e-3


def test_only_means_and_appearance_change(params, start, result):
    for same in ("presence_logits", "presence_noise"):
        np.testing.assert_array_equal(getattr(result, same), getattr(start, same))
    np.testing.assert_array_equal(result.shift.std, start.shift.std)
    np.testing.assert_array_equal(result.scale.std, start.scale.std)
    assert np.abs(result.shift.loc - start.shift.loc).max() > 0.05


def test_appearance_is_what_inference_says_at_that_place(params, start):
    """Steps that go nowhere: q(appearance) is then that of the amortised posterior."""
    still = refined(params, start, learning_rate=1e-30, moves=0)
    assert tree_max_difference(still, start) < 1e-5


def test_no_steps_and_no_moves_change_nothing(params, start):
    assert refined(params, start, steps=0, moves=0) is start


def test_a_sample_keeps_its_noise(params):
    key = jax.random.key(5)
    sample = MODEL.posterior(params, key, IMAGES)
    noise = draw_noise(image_keys(NUMBER, seed=5), MODEL.config)
    found = refined(params, sample)
    for name in ("shift", "scale", "appearance"):
        q, z = getattr(found, name), getattr(found.latents, name)
        np.testing.assert_allclose(z, q.loc + q.std * getattr(noise, name), rtol=1e-3, atol=1e-3)


def test_objects_that_do_not_exist_stay_where_they_are(params):
    model = small_model(count=1)
    start = model.posterior(small_params(model, 2), None, IMAGES)
    found = refined(small_params(model, 2), start, model=model, moves=0)
    np.testing.assert_array_equal(found.shift.loc[:, 1:], start.shift.loc[:, 1:])
    np.testing.assert_array_equal(found.scale.loc[:, 1:], start.scale.loc[:, 1:])
    assert (np.abs(found.shift.loc[:, 0] - start.shift.loc[:, 0]).max(1) > 1e-4).all()


def test_constraints_on_the_mean_are_left_out_and_relaxed_models_are_exact(params, start):
    number, balance, _ = number_constraints((1, 3))
    alone = refined(params, start, constraints=(number,))
    both = refined(params, start, constraints=(number, balance))
    relaxed = refined(params, start, model=small_model(estimator="concrete"), constraints=[number])
    for other in (both, relaxed):
        np.testing.assert_array_equal(other.shift.loc, alone.shift.loc)


def test_no_gradient_flows_through_the_search(params):
    def found(params):
        q = refined(params, MODEL.posterior(params, None, IMAGES), steps=2)
        return q.shift.loc.sum() + q.scale.loc.sum(), q.appearance.loc.sum()

    _, gradient = jax.vjp(found, params)
    (of_means,), (of_looks,) = gradient((1.0, 0.0)), gradient((0.0, 1.0))
    assert tree_max_difference(of_means, jax.tree.map(jnp.zeros_like, params)) == 0
    of_looks = of_looks["inference"]["params"]
    assert np.abs(of_looks["appearance"]["code"]["Dense_0"]["kernel"]).max() > 0
    assert np.abs(of_looks["step"]["shift"]["Dense_0"]["kernel"]).max() == 0


def test_evaluate_measures_the_refined_posterior_beside_the_amortised_one(params):
    params = with_leaf(params, PRESENCE_BIAS, lambda bias: bias + 5)  # three objects
    count, box = np.full(NUMBER, 1), np.tile([[1.0, 1, 5, 5]], (NUMBER, 1, 1))
    settings = dict(model=MODEL, constraints=(CONSTRAINTS[0], *number_constraints((1, 3))))
    key = jax.random.key(1)
    plain = asr_jax.evaluate(params, key, IMAGES, count, box, **settings)
    both = asr_jax.evaluate(
        params, key, IMAGES, count, box, refine=8, refine_constraints=CONSTRAINTS, **settings
    )
    for name, value in plain.items():
        np.testing.assert_allclose(both[name], value, rtol=1e-5, atol=1e-5, err_msg=name)
    of_both = ("nelbo", "se", "miou", "centre", "F1", "number", "possible")
    more = {name + "_refined" for name in of_both}
    assert set(both) - set(plain) == more

    scene = MODEL.reconstruct(params, IMAGES, refine=8, constraints=CONSTRAINTS)
    error = np.square(IMAGES / 255 - np.float64(scene.canvas)).sum((1, 2))
    np.testing.assert_allclose(both["se_refined"], error, rtol=1e-3)
    assert np.abs(both["se_refined"] - both["se"]).max() > 0.01

    # The nELBO: a sample around the refined means, with the noise that the amortised one had.
    q = refined(params, MODEL.posterior(params, None, IMAGES))
    noise = draw_noise(image_keys(NUMBER, seed=1), MODEL.config)
    sample = refinement.place(params, IMAGES / np.float32(255), q, noise, model=MODEL)
    np.testing.assert_allclose(sample.latents.shift, q.shift.loc + q.shift.std * noise.shift)
    expected = -objective(params, sample, constraints=())
    np.testing.assert_allclose(both["nelbo_refined"], expected, rtol=1e-3)
    np.testing.assert_allclose(
        both["nelbo"], -elbo(params, key, IMAGES, model=MODEL).elbo, rtol=1e-4
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(steps=-1), "steps must be a whole number of at least 0, got -1"),
        (dict(steps=2.5), "steps must be a whole number of at least 0, got 2.5"),
        (dict(moves=-2), "moves must be a whole number of at least 0, got -2"),
        (dict(learning_rate=0.0), "learning_rate must be > 0 and finite, got 0.0"),
        (dict(batch_size=0), "batch_size must be a whole number of at least 1, got 0"),
        (dict(weights={"F1": 1.0}), "constraints without a weight: F2"),
        (dict(images=IMAGES[:2]), r"of these images, \(2, 3\) images and steps, got \(6, 3\)"),
        (dict(images=IMAGES[:, :5]), "images"),
    ],
)
def test_what_cannot_be_is_one_clear_error(params, start, changes, message):
    with pytest.raises(ValueError, match=message):
        refined(params, start, **changes)
