"""F1..F7 against hand-drawn layouts, and against plain loops in float64 over objects and counts."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit

from asr_jax import (
    Constraint,
    Gaussian,
    Latents,
    Posterior,
    number_constraints,
    overlap_constraints,
)
from asr_jax.constraints.base import default_weights, penalty, values
from asr_jax.constraints.overlap import Similar, Size, overlap
from asr_jax.distributions import known_presence

CANVAS = (50, 50)
F = {c.name: c.functional for c in overlap_constraints(11.0, 15.0, 3.0)}


def posterior(objects, canvas=CANVAS, logits=None):
    """A posterior whose sample is the given objects: (x, y, side) in pixels, [B][K]."""
    objects = np.asarray(objects, np.float64)
    height, width = canvas
    centre = objects[..., :2] / np.array([width, height]) * 2 - 1
    fraction = objects[..., 2:] / min(canvas)
    batch, steps = objects.shape[:2]
    shift, scale = np.arctanh(centre), np.log(fraction / (1 - fraction))
    if logits is None:
        logits = known_presence((steps,), batch, steps)
    latents = Latents(
        jnp.asarray(shift, jnp.float32),
        jnp.asarray(scale, jnp.float32),
        jnp.zeros((batch, steps, 1)),
    )
    nothing = Gaussian(latents.shift, latents.shift)
    return Posterior(
        jnp.asarray(logits), jnp.zeros((batch, steps)), nothing, nothing, nothing, latents
    )


def pixels(q, canvas=CANVAS):
    """F1..F7 of every image."""
    return {name: np.asarray(f(q, canvas)) for name, f in F.items()}


def test_a_feasible_layout_violates_nothing():
    # Beside each other, one above the other, in the corners, touching the edges and each other.
    q = posterior(
        [[(6, 6, 12), (18, 6, 12), (6, 44, 12)], [(25, 7, 14), (25, 30, 12), (44, 44, 12)]]
    )
    for name, value in pixels(q).items():
        np.testing.assert_allclose(value, 0, atol=2e-5, err_msg=name)


@pytest.mark.parametrize(
    "name, objects, expected",
    [
        # Both orders of the pair: 2 * (12 - max(5, 3)).
        ("F1", [(20, 20, 12), (25, 23, 12)], 14.0),
        # Apart along y by more than their reach, whatever x says.
        ("F1", [(20, 10, 12), (20, 23, 12)], 0.0),
        # Different sides: 2 * ((12 + 14) / 2 - 10).
        ("F1", [(20, 20, 12), (30, 21, 14)], 6.0),
        ("F2", [(4, 20, 12), (30, 30, 12)], 2.0),
        ("F3", [(47, 20, 12), (20, 30, 12)], 3.0),
        ("F4", [(20, 1, 12), (30, 30, 12)], 5.0),
        ("F5", [(20, 48.5, 12), (30, 20, 12)], 4.5),
        # 11 - 8, and 18 - 15.
        ("F6", [(20, 20, 8), (40, 40, 18)], 6.0),
        # Both orders: 2 * (|12 - 18| - 3).
        ("F7", [(20, 20, 12), (40, 40, 18)], 6.0),
        ("F7", [(20, 20, 12), (40, 40, 14.5)], 0.0),
    ],
)
def test_a_violation_costs_its_pixels(name, objects, expected):
    np.testing.assert_allclose(pixels(posterior([objects]))[name], [expected], atol=2e-4)


def test_edges_follow_a_canvas_that_is_not_square():
    q = posterior([[(38, 28, 12), (10, 10, 12)]], canvas=(30, 40))
    result = pixels(q, (30, 40))
    np.testing.assert_allclose(result["F3"], [4.0], atol=1e-4)  # 38 + 6 - width
    np.testing.assert_allclose(result["F5"], [4.0], atol=1e-4)  # 28 + 6 - height
    np.testing.assert_allclose(result["F2"] + result["F4"], [0.0], atol=1e-4)


def loops(objects, n):
    """The paper's sums for n existing objects, in float64."""
    relu = lambda x: max(x, 0.0)  # noqa: E731
    first = range(n)
    pairs = [(i, j) for i in first for j in first if i != j]
    x, y, s = np.asarray(objects, np.float64).T
    return {
        "F1": sum(
            relu((s[i] + s[j]) / 2 - max(abs(x[i] - x[j]), abs(y[i] - y[j]))) for i, j in pairs
        ),
        "F2": sum(relu(s[i] / 2 - x[i]) for i in first),
        "F3": sum(relu(x[i] + s[i] / 2 - 50) for i in first),
        "F4": sum(relu(s[i] / 2 - y[i]) for i in first),
        "F5": sum(relu(y[i] + s[i] / 2 - 50) for i in first),
        "F6": sum(relu(11 - s[i]) + relu(s[i] - 15) for i in first),
        "F7": sum(relu(abs(s[i] - s[j]) - 3) for i, j in pairs),
    }


def random_objects(rng, batch=6, steps=4):
    return np.concatenate(
        [rng.uniform(1, 49, (batch, steps, 2)), rng.uniform(5, 30, (batch, steps, 1))], -1
    )


def test_the_expectation_over_n_is_exact():
    """Against the sum over every count of q(n) times the paper's sums for n objects."""
    rng = np.random.default_rng(0)
    objects, logits = random_objects(rng), rng.normal(size=(6, 4))
    u = expit(logits)
    result = pixels(posterior(objects, logits=jnp.asarray(logits, jnp.float32)))
    for b in range(6):
        q = [np.prod(u[b, :n]) * (1 - u[b, n] if n < 4 else 1) for n in range(5)]
        for name in F:
            expected = sum(q[n] * loops(objects[b], n)[name] for n in range(5))
            np.testing.assert_allclose(result[name][b], expected, rtol=1e-4, err_msg=name)


def test_objects_are_larger_than_their_side_by_the_mean_over_all_images():
    """(E sum_t s_t) / (E n) - side over counts and images, in float64: small images do not hide."""
    (side,) = (c for c in overlap_constraints(side=12.0) if c.name == "side")
    rng = np.random.default_rng(2)
    objects, logits = random_objects(rng), rng.normal(size=(6, 4))
    q = posterior(objects, logits=jnp.asarray(logits, jnp.float32))
    survival = np.cumprod(expit(logits), axis=1)
    expected = (survival * objects[..., 2]).sum() / survival.sum() - 12
    np.testing.assert_allclose(values([side], q, CANVAS)["side"], np.full(6, expected), rtol=1e-4)
    small = posterior([[(20, 20, 9), (40, 40, 14)]])
    np.testing.assert_allclose(values([side], small, CANVAS)["side"], [-0.5], atol=1e-4)
    nothing = posterior([[(20, 20, 9)]], logits=jnp.full((1, 1), -100.0))
    assert np.isfinite(values([side], nothing, CANVAS)["side"]).all()


def test_the_order_of_the_objects_does_not_matter():
    objects = random_objects(np.random.default_rng(1), batch=1, steps=3)
    first = pixels(posterior(objects))
    for order in itertools.permutations(range(3)):
        other = pixels(posterior(objects[:, list(order)]))
        for name in F:
            np.testing.assert_allclose(first[name], other[name], rtol=1e-5)


def test_gradients_follow_the_existence_of_the_later_object():
    """d F1 / d logits, also where both exist with the same probability, against differences."""
    objects = [[(20, 20, 12), (25, 23, 12), (24, 20, 12)]]
    logits = np.array([[0.0, 100.0, 0.5]])  # P(n >= 1) = P(n >= 2): a tie

    def f1(logits):
        return F["F1"](posterior(objects, logits=logits), CANVAS)[0]

    gradient = np.asarray(jax.grad(f1)(jnp.asarray(logits, jnp.float32)))[0]
    u = expit(logits[0])
    one, two, three = (
        loops(objects[0], 1)["F1"],
        loops(objects[0], 2)["F1"],
        loops(objects[0], 3)["F1"],
    )
    # E = u1 u2 (two - one) + u1 u2 u3 (three - two), with u2 = 1 and du/dlogit = u (1 - u).
    d1 = u[0] * (1 - u[0]) * ((two - one) + u[2] * (three - two))
    d3 = u[0] * u[2] * (1 - u[2]) * (three - two)
    np.testing.assert_allclose(gradient, [d1, 0, d3], rtol=1e-4, atol=1e-6)


def test_only_what_is_violated_costs():
    found = {"a": jnp.array([-3.0, 2.0, 0.4]), "b": jnp.array([5.0, 0.5, -1.0])}
    # 2 max(a, 0) + 3 max(b, 0): what is below costs nothing, and is no reward.
    expected = [0 + 3 * 5.0, 2 * 2.0 + 3 * 0.5, 2 * 0.4 + 0]
    np.testing.assert_allclose(penalty(found, {"a": 2.0, "b": 3.0}), expected, rtol=1e-6)
    assert penalty({}, {}) == 0


def test_a_weight_for_every_constraint_and_a_constraint_for_every_weight():
    found = {"a": jnp.zeros(2), "b": jnp.zeros(2)}
    for weights, message in (
        ({"a": 1.0}, "constraints without a weight: b: add them to weights, or leave"),
        ({"a": 1.0, "b": 1.0, "d": 1.0}, "weights without a constraint: d; the .* are a, b: check"),
    ):
        with pytest.raises(ValueError, match=message):
            penalty(found, weights)


def test_the_weights_that_constraints_carry_are_the_papers():
    assert default_weights(overlap_constraints(tight=12.0, side=12.0)) == {
        **dict(F1=1, F2=1, F3=1, F4=1, F5=1, F6=20, F7=10),
        **dict(tight=1, side=1),
    }
    assert default_weights(number_constraints([1, 3])) == {
        "number": 10,
        "balance": 100,
        "possible": 0,
    }
    (size, *_) = (c for c in overlap_constraints() if c.name == "F6")
    assert size.functional == Size(11.0, 15.0)  # the paper's digits


def test_constraints_are_equal_when_they_compile_to_the_same():
    ours = overlap_constraints(2.0, 5.0)
    assert ours == overlap_constraints(2.0, 5.0) and hash(ours) == hash(
        overlap_constraints(2.0, 5.0)
    )
    assert ours != overlap_constraints(2.0, 6.0)
    one = Constraint("a", overlap)
    assert one == Constraint("a", overlap, weight=7.0, ramp=(0.1, 0.5), tolerance=0.1)
    assert one != Constraint("b", overlap) and one != Constraint("a", overlap, of_mean=jnp.sum)


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    "fields, message",
    [
        (dict(name="nelbo"), "a constraint cannot be named 'nelbo', the name of a metric: choose"),
        (dict(name="iwae"), "a constraint cannot be named 'iwae', the name of a metric"),
        (dict(name="weight_F1"), "a constraint cannot be named 'weight_F1', the name of a metric"),
        (
            dict(name="se_refined"),
            "a constraint cannot be named 'se_refined', the name of",
        ),
        (dict(weight=-1.0), "weight of 'a' must be at least 0 and finite, got -1.0: a negative"),
        (dict(weight=NAN), "weight of 'a' must be at least 0 and finite, got nan"),
        (dict(weight=INF), "weight of 'a' must be at least 0 and finite, got inf"),
        (dict(tolerance=-0.1), "tolerance of 'a' must be at least 0 and finite, got -0.1"),
        (dict(tolerance=INF), "tolerance of 'a' must be at least 0 and finite, got inf"),
        *(
            (dict(ramp=ramp), r"ramp of 'a' must be \(start, end\) with 0 <= start < end, .* got ")
            for ramp in (
                *((0.5, 0.5), (0.8, 0.2), (-0.1, 0.5), (0.5, NAN), (NAN, 0.5), (0.1, INF)),
                *((0.5,), (0.1, 0.2, 0.3), ("a", "b"), 0.5, (None, 1.0)),
            )
        ),
    ],
)
def test_what_no_constraint_can_be_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Constraint(**{"name": "a", "functional": overlap} | fields)


def test_weights_tolerances_and_ramps_at_their_ends_are_taken():
    Constraint("a", overlap, weight=0.0, tolerance=0.0, ramp=(0.0, 1.0))
    Constraint("a", overlap, weight=1e6, tolerance=1e6, ramp=[0.5, 2.0])


def test_bounds_in_pixels_are_checked():
    for side in (0.0, 10.9, 15.1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=rf"between c_min=11.0 and c_max=15.0 .*got {side}"):
            overlap_constraints(side=side)
    overlap_constraints(11.0, 15.0, side=11.0), overlap_constraints(11.0, 15.0, side=15.0)
    with pytest.raises(ValueError, match="0 <= c_min <= c_max .*got 15 and 11"):
        overlap_constraints(15, 11)
    with pytest.raises(ValueError, match="0 <= c_min <= c_max .*got 0 and inf"):
        Size(0, INF)
    with pytest.raises(ValueError, match=r"epsilon must be at least 0 \(pixels\), got -1"):
        Similar(-1)
    for tight in (10.0, INF):
        with pytest.raises(ValueError, match="tight must be at least c_min=11.0 .*, got "):
            overlap_constraints(tight=tight)


def test_a_side_is_no_reason_to_count_one_more():
    """Smaller objects lower F of `side`, and objects that do not exist do not."""
    (side,) = (c for c in overlap_constraints(side=12.0) if c.name == "side")
    q = posterior([[(10, 10, 14), (30, 30, 11)]] * 2)

    def f(logits, scale):
        latents = q.latents.replace(scale=scale)
        changed = q.replace(presence_logits=logits, latents=latents)
        return values([side], changed, CANVAS)["side"].sum()

    counts, sizes = jax.grad(f, (0, 1))(jnp.ones((2, 2)), q.latents.scale)
    np.testing.assert_array_equal(counts, 0)
    assert (sizes > 0).all()


def test_sides_that_no_image_can_have_are_refused():
    q = posterior([[(20, 20, 12)]], canvas=(50, 40))
    message = (
        r"c_min=41.0 pixels is more than the shorter edge of a canvas of \(50, 40\): sides are"
    )
    with pytest.raises(ValueError, match=message):
        values(overlap_constraints(41.0, 45.0), q, (50, 40))
    values(overlap_constraints(40.0, 45.0), q, (50, 40))


def test_two_constraints_of_one_name_are_refused():
    twice = overlap_constraints(11.0, 15.0)[:1] * 2
    with pytest.raises(ValueError, match="two constraints are named 'F1'"):
        values(twice, posterior([[(20, 20, 12)]]), CANVAS)


def test_a_functional_that_keeps_an_axis_is_refused():
    sides = Constraint("sides", lambda q, canvas: q.latents.scale[..., 0])
    with pytest.raises(ValueError, match=r"'sides' must return one value an image, \(2,\), got"):
        values((sides,), posterior([[(20, 20, 12)] * 2] * 2), CANVAS)


def test_a_constraint_on_the_mean_says_the_same_of_every_image():
    def spread(mean):
        return jnp.sum(mean**2) - 1

    def middles(q, canvas):
        return q.latents.shift.reshape(len(q.latents.shift), -1)

    constraint = Constraint("spread", middles, of_mean=spread)
    q = posterior(random_objects(np.random.default_rng(2)))
    mean = np.mean(np.float64(q.latents.shift), axis=0)
    expected = np.full(6, np.square(mean).sum() - 1)
    assert np.abs(expected[0]) > 0.1
    np.testing.assert_allclose(values((constraint,), q, CANVAS)["spread"], expected, rtol=1e-5)


@pytest.mark.parametrize("axis", [None, 0])
def test_a_statistic_that_is_not_one_an_image_is_refused(axis):
    lost = Constraint("lost", lambda q, canvas: q.latents.shift.sum(axis), of_mean=jnp.sum)
    with pytest.raises(ValueError, match=r"'lost' must return one value an image, \(2,\), got"):
        values((lost,), posterior([[(20, 20, 12)] * 3] * 2), CANVAS)


def test_an_of_mean_that_keeps_an_axis_is_refused():
    sides = Constraint("sides", lambda q, canvas: q.latents.scale[..., 0], of_mean=jnp.abs)
    with pytest.raises(ValueError, match=r"of_mean of 'sides' must return a scalar, got \(2,\)"):
        values((sides,), posterior([[(20, 20, 12)] * 2] * 2), CANVAS)
