"""The prior over places, against numpy in float64 and integrals over fine grids."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from scipy.special import logsumexp

from asr_jax.distributions import log_prob
from asr_jax.placement import POINTS, POINTS_TO_DRAW, Placement, lattice

CANVAS, STEPS, BATCH, FEATURES = (20, 30), 3, 4, 5
PLACEMENT = Placement(CANVAS)


def some_boxes(seed=0, batch=BATCH):
    """States [B, K, F] of an LSTM, shifts and scales; sides from a fifth to two fifths."""
    rng = np.random.default_rng(seed)
    sizes = ((STEPS, FEATURES), (STEPS, 2), (STEPS, 1))
    states, shift, scale = (rng.normal(size=(batch, *size)) for size in sizes)
    return [jnp.asarray(x, jnp.float32) for x in (states, shift, 0.3 * scale - 0.9)]


def params_of(width=1.0, seed=1):
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(PLACEMENT.init, jax.random.key(0), *some_boxes())
    return jax.tree.map(lambda x: jnp.float32(rng.normal(0, width, x.shape)), shapes)


PARAMS = params_of()
along = jax.jit(PLACEMENT.apply)


def relation(tree, facts, state):
    """Of one box, in float64."""
    tree = jax.tree.map(np.float64, tree)
    x = facts @ tree["facts"]["kernel"] + tree["facts"]["bias"] + state @ tree["state"]["kernel"]
    return float(np.maximum(x, 0) @ tree["sum"]["kernel"][:, 0])


def f_of(params, centre, state, side, others):
    """f(centre) of a box of a side, given others (centre, side); all in numbers and pixels."""
    size = np.array([CANVAS[1], CANVAS[0]])
    x, half = (centre + 1) / 2 * size, side / 2
    facts = [*centre, *np.tanh(2 * (x - half)), *np.tanh(2 * (size - x - half))]
    total = relation(params["params"]["alone"], np.array(facts), state)
    for other, other_side in others:
        offset = x - (other + 1) / 2 * size
        reach = (side + other_side) / 2
        gap = np.abs(offset).max() - reach  # pixels between two boxes; below 0 they overlap
        facts = [*(offset / reach / 2), np.tanh(2 * gap), np.tanh(2 * gap / reach)]
        total += relation(params["params"]["pair"], np.array(facts), state)
    return total


def boxes_of(shift, scale):
    """Centres in [-1, 1] and sides in pixels of the shorter edge, float64."""
    return np.tanh(np.float64(shift)), 20 / (1 + np.exp(-np.float64(scale[..., 0])))


def test_a_lattice_covers_the_square_evenly():
    for points in (POINTS, POINTS_TO_DRAW):
        x = lattice(points)
        assert x.shape == (points, 2) and np.all((x >= 0) & (x < 1))
        np.testing.assert_array_equal(x[0], 0)
        rng = np.random.default_rng(0)
        for _ in range(50):  # a box anywhere, as the lattice wraps around
            low, size = rng.uniform(size=2), rng.uniform(0.2, 0.9, 2)
            share = np.mean(np.all((x - low) % 1 < size, axis=1))
            assert abs(share - size.prod()) < 4 / points  # of random points: 0.08 for 34
    with pytest.raises(ValueError, match="must be a Fibonacci number, got 100: take 144"):
        lattice(100)


def test_the_density_equals_a_float64_loop():
    states, shift, scale = some_boxes()
    found = along(PARAMS, states, shift, scale)
    assert found.points.shape == (BATCH, STEPS, POINTS, 2)
    assert found.logits.shape == (BATCH, STEPS, POINTS)
    centres, sides = boxes_of(shift, scale)
    got = log_prob(found, shift)
    for b, t in np.ndindex(BATCH, STEPS):
        others = [(centres[b, i], sides[b, i]) for i in range(t)]
        points = ((centres[b, t] + 1) / 2 + np.float64(lattice(POINTS))) % 1 * 2 - 1
        np.testing.assert_allclose(found.points[b, t], points, atol=1e-5)
        args = np.float64(states[b, t]), sides[b, t], others
        at = f_of(PARAMS, centres[b, t], *args)
        np.testing.assert_allclose(found.logit[b, t], at, rtol=1e-4, atol=1e-4)
        every = [f_of(PARAMS, point, *args) for point in np.float64(found.points[b, t])]
        np.testing.assert_allclose(found.logits[b, t], every, rtol=1e-3, atol=1e-3)
        # exp(f) over its integral on the canvas, times the slope of tanh.
        log_p = at - logsumexp(every) + np.log(POINTS / 4)
        log_p += np.log(1 - np.square(centres[b, t])).sum()
        assert got[b, t] == pytest.approx(log_p, abs=2e-3)


def grid(number):
    """Centres of number x number cells of [-1, 1]^2, [number^2, 2]."""
    axis = (np.arange(number) + 0.5) / number * 2 - 1
    return np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)


def densities(params, t, points=POINTS, number=60):
    """p(centre) of object t at each cell of a grid, given the boxes of the first image."""
    states, shift, scale = (x[:1] for x in some_boxes())
    cells = grid(number)
    many = [jnp.repeat(x, len(cells), axis=0) for x in (states, shift, scale)]
    many[1] = many[1].at[:, t].set(jnp.arctanh(jnp.float32(cells)))
    density = jax.jit(Placement(CANVAS, points).apply)(params, *many)
    log_p = log_prob(density, many[1])[:, t]
    return cells, np.exp(np.float64(log_p)) / (1 - np.square(cells)).prod(-1)


@pytest.mark.parametrize("points, error", [(POINTS, 0.06), (POINTS_TO_DRAW, 0.01)])
def test_a_density_integrates_to_one_up_to_its_lattice(points, error):
    for t in range(STEPS):
        cells, density = densities(params_of(0.5), t, points)
        assert density.max() / density.min() > 1.5  # it is not flat
        assert density.mean() * 4 == pytest.approx(1, abs=error)


def test_the_slope_of_tanh_is_finite_far_out():
    found = along(PARAMS, *some_boxes())
    for far in (-30.0, 30.0):
        got = log_prob(found, jnp.full((BATCH, STEPS, 2), far)) - log_prob(
            found, jnp.zeros((BATCH, STEPS, 2))
        )
        np.testing.assert_allclose(got, 2 * (2 * np.log(2) - 60), rtol=1e-5)  # 4 e^-2|z| each


def test_draws_follow_the_density():
    """Counts in 6 x 6 cells by the chi-square test; the density from a grid ten times as fine."""
    params, number, t = params_of(0.35), 20_000, 2
    states, shift, scale = (x[:1] for x in some_boxes())
    rng = np.random.default_rng(5)
    where, which = rng.uniform(size=(number, 2)), rng.uniform(size=number)
    earlier = tuple(jnp.repeat(x[:, :t], number, axis=0) for x in (shift, scale))

    @jax.jit
    def draw(state, scale, where, which):
        return PLACEMENT.apply(params, state, scale, earlier, where, which, method="draw")

    state, side = (jnp.repeat(x[:, t], number, axis=0) for x in (states, scale))
    drawn = np.tanh(np.float64(draw(state, side, jnp.float32(where), jnp.float32(which))))
    cells, density = densities(params, t)

    def count(points, weights=None):
        column, row = np.clip(((points + 1) / 2 * 6).astype(int), 0, 5).T
        return np.bincount(row * 6 + column, weights, minlength=36)

    expected = count(cells, density)
    expected *= number / expected.sum()
    large = expected > 20  # where the test's distribution is what it says
    assert large.sum() > 20
    found, expected = (np.append(x[large], x[~large].sum()) for x in (count(drawn), expected))
    assert scipy.stats.chisquare(found, expected).pvalue > 0.01
    # Within a cell of the lattice, too, places are continuous.
    assert len(np.unique(drawn[:, 0])) > 0.99 * number


def test_a_place_depends_on_its_own_side_and_on_earlier_boxes_only():
    states, shift, scale = some_boxes(batch=1)
    shift_of, scale_of = jax.jit(
        jax.jacrev(lambda *x: log_prob(PLACEMENT.apply(PARAMS, states, *x), shift)[0], (0, 1))
    )(shift, scale)
    on_shift, on_scale = (np.abs(x[:, 0]).max(-1) for x in (shift_of, scale_of))  # [t, i]
    up_to_now = np.tril(np.ones((STEPS, STEPS), bool))
    for found in (on_shift, on_scale):
        np.testing.assert_array_equal(found[~up_to_now], 0)
        assert np.all(found[up_to_now] > 1e-4)


def test_gradients_are_those_of_the_density():
    """In a shift and in an earlier one, against differences of exp(f) over a fine integral."""
    params = params_of(0.3, seed=3)
    states, shift, scale = some_boxes(seed=2, batch=1)
    fine = Placement(CANVAS, points=144)

    def of_last(shift):
        return log_prob(fine.apply(params, states, shift, scale), shift)[0, 2]

    gradient = jax.jit(jax.grad(of_last))(shift)
    _, sides = boxes_of(shift, scale)
    state = np.float64(states[0, 2])

    def log_p(shift):
        centres = np.tanh(shift)
        others = [(centres[i], sides[0, i]) for i in range(2)]
        every = [f_of(params, c, state, sides[0, 2], others) for c in grid(30)]
        at = f_of(params, centres[2], state, sides[0, 2], others)
        return at - logsumexp(every) + np.log(1 - np.square(centres[2])).sum()

    for index in ((2, 0), (2, 1), (0, 0), (1, 1)):
        moved = np.zeros((STEPS, 2))
        moved[index] = 1e-3
        start = np.float64(shift[0])
        expected = (log_p(start + moved) - log_p(start - moved)) / 2e-3
        # By the rounding of tanh's kinks, and of an integral of 144 points.
        assert gradient[0][index] == pytest.approx(expected, abs=0.05), index
