"""What constraints say of the prior's places, against loops in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit, softmax

from asr_jax import elbo_with_penalty, number_constraints, overlap_constraints
from asr_jax.constraints.places import of_places
from tests.small import image_keys, small_images, small_model, small_params
from tests.test_bound import more_objects

MODEL = small_model(place_prior="relations")
CONSTRAINTS = overlap_constraints(3.4, 5.0)
KEY, IMAGES = jax.random.key(0), small_images()


def situation(model=MODEL):
    params = more_objects(model, seed=4)
    posterior = model.posterior(params, image_keys(), IMAGES)
    return params, posterior, model.prior(params, posterior.latents)


def violation(name, middle, side):
    """max(F, 0) of boxes in pixels on a canvas of 12 x 12: [n, 2] and [n]."""
    if name == "F1":
        pairs = [(i, j) for i in range(len(side)) for j in range(len(side)) if i != j]
        return sum(
            max((side[i] + side[j]) / 2 - np.abs(middle[i] - middle[j]).max(), 0) for i, j in pairs
        )
    if name == "F3":
        return sum(max(x + s / 2 - 12, 0) for (x, _), s in zip(middle, side, strict=True))
    return sum(max(3.4 - s, 0) + max(s - 5, 0) for s in side)  # F6


@pytest.mark.parametrize("name", ["F1", "F3", "F6"])
def test_an_expectation_over_places_equals_a_loop(name):
    _, posterior, prior = situation()
    some = tuple(c for c in CONSTRAINTS if c.name == name)
    got = of_places(some, posterior, prior, (12, 12))
    assert list(got) == [name]
    exists = np.cumprod(expit(np.float64(posterior.presence_logits)), axis=1)
    middles = (np.tanh(np.float64(posterior.latents.shift)) + 1) * 6
    sides = expit(np.float64(posterior.latents.scale[..., 0])) * 12
    points = (np.float64(prior.shift.points) + 1) * 6
    chances = softmax(np.float64(prior.shift.logits), axis=-1)
    for b in range(len(IMAGES)):
        expected = 0.0
        for t in range(3):
            before = violation(name, middles[b, :t], sides[b, :t])
            with_one = [
                violation(name, np.concatenate([middles[b, :t], point[None]]), sides[b, : t + 1])
                for point in points[b, t]
            ]
            expected += exists[b, t] * (chances[b, t] @ with_one - before)
        assert got[name][b] == pytest.approx(expected, rel=1e-4, abs=1e-4)
        assert expected > 0.01


def test_the_price_moves_the_priors_places_alone():
    params = situation()[0]

    def price(params, prior_weights):
        found = elbo_with_penalty(
            *(params, KEY, IMAGES),
            model=MODEL,
            constraints=CONSTRAINTS,
            prior_weights=prior_weights,
        )
        return found[1].prior_penalty.sum(), found

    (paid, (objective, terms)), gradient = jax.jit(jax.value_and_grad(price, has_aux=True))(
        params, {"F1": 2.0, "F3": 3.0}
    )
    found = terms.prior_constraints
    assert sorted(found) == ["F1", "F3"]
    np.testing.assert_allclose(paid, np.sum(2 * found["F1"] + 3 * found["F3"]), rtol=1e-5)
    total = np.mean(terms.elbo - terms.penalty - terms.prior_penalty)
    np.testing.assert_allclose(objective, total, rtol=1e-6)
    # What is asked of the posterior is as before.
    _, (_, without) = price(params, None)
    np.testing.assert_array_equal(without.prior_penalty, 0)
    for name in ("elbo", "penalty"):
        np.testing.assert_allclose(getattr(terms, name), getattr(without, name), rtol=1e-5)
    largest = jax.tree.map(lambda x: float(np.abs(x).max()), gradient)
    prior = largest["prior"]["params"]
    assert max(jax.tree.leaves(prior["place"])) > 1e-2
    moved = {name: max(jax.tree.leaves(tree)) > 0 for name, tree in prior.items()}
    assert moved == {"place": True, "gates": False, "lstm": False, "presence": False}
    assert max(jax.tree.leaves((largest["inference"], largest["decoder"]))) == 0


def test_a_price_that_is_paid_makes_drawn_places_lie_inside():
    """Climbing the price alone, on whole samples: the share of boxes inside rises."""
    params, posterior, _ = situation()
    some = tuple(c for c in CONSTRAINTS if c.name in ("F2", "F3", "F4", "F5"))

    @jax.jit
    @jax.grad
    def gradient(of_prior):
        prior = MODEL.prior(params | {"prior": of_prior}, posterior.latents)
        return sum(jnp.mean(f) for f in of_places(some, posterior, prior, (12, 12)).values())

    def beyond(params):
        x0, y0, x1, y1 = np.moveaxis(MODEL.sample(params, KEY, 2000).boxes[:, 0], -1, 0)
        return np.mean((x0 < 0) | (y0 < 0) | (x1 > 12) | (y1 > 12))

    start, moved = beyond(params), params["prior"]
    for _ in range(100):
        moved = jax.tree.map(lambda x, g: x - 0.3 * g, moved, gradient(moved))
    assert beyond(params | {"prior": moved}) < 0.6 * start


def test_what_places_cannot_be_held_to_is_refused():
    gaussian = small_model()
    of_mean = number_constraints((1, 3))[1]
    for model, constraint, message in (
        (
            gaussian,
            CONSTRAINTS[0],
            "places are Gaussian cannot be constrained, got .*F1: use ",
        ),
        (MODEL, of_mean, f"prior_weights.{of_mean.name} is of the mean of a batch"),
    ):
        with pytest.raises(ValueError, match=message):
            elbo_with_penalty(
                *(small_params(model), KEY, IMAGES),
                model=model,
                constraints=(constraint,),
                prior_weights={constraint.name: 1.0},
            )
