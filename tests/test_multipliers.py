"""Multipliers: saddle points that are known, the update in float64, what a rule refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from asr_jax import dual, fixed, overlap_constraints
from asr_jax.constraints import default_tolerances, violations


def play(rule, violated, slope, steps=5_000, tx=None):
    """Descent from 3 on (x - 3)^2 / 2 + w v(x), and the rule, a step each -> (x, w) [steps].

    violated(x) is v(x), slope(x) its derivative; plain gradient descent, or the optimiser given.
    """
    tx = tx or optax.sgd(0.01)

    def step(carry, _):
        x, of_tx, state = carry
        move, of_tx = tx.update(x - 3 + state.weights["a"] * slope(x), of_tx)
        x, state = x + move, rule.update(state, {"a": violated(x)})
        return (x, of_tx, state), (x, state.weights["a"])

    start = jnp.float32(3)
    return jax.lax.scan(step, (start, tx.init(start), rule.init()), None, steps)[1]


def linear(x):
    return jnp.maximum(x, 0)


def linear_slope(x):
    return jnp.where(x > 0, 1.0, 0.0)


@pytest.mark.parametrize("settings", [{}, dict(damping=0.0), dict(lead=0.0), dict(damping=1.0)])
@pytest.mark.parametrize("start", [0.05, 1.0, 100.0])
def test_a_quadratic_with_a_linear_constraint_comes_to_its_multiplier(settings, start):
    """min (x - 3)^2 / 2 where x <= 1: x = 1 and w = 2, from the condition x - 3 + w = 0."""
    rule = dual({"a": 1.0}, start=start, **settings)
    x, w = play(rule, linear, linear_slope)
    np.testing.assert_allclose([x[-1], w[-1]], [1.0, 2.0], rtol=1e-3)


def test_damping_shortens_the_swing():
    def after_500(damping):
        _, w = play(dual({"a": 1.0}, damping=damping, lead=0.0), linear, linear_slope)
        return abs(float(w[500]) - 2)

    assert after_500(0.0) > 0.2 and after_500(0.3) < 0.05


def test_a_look_ahead_settles_with_an_optimiser_that_answers_late():
    """Adam moves as fast at a high price as at a low one: who only waits for it swings for long."""

    def last(lead):
        x, w = play(dual({"a": 1.0}, lead=lead), linear, linear_slope, tx=optax.adam(0.003))
        return np.array(x[-1000:]), np.array(w[-1000:]), float(w.max())

    x, w, high = last(4.0)
    np.testing.assert_allclose(x, 1.0, rtol=1e-2)
    np.testing.assert_allclose(w, 2.0, rtol=1e-2)
    swinging, _, higher = last(0.0)
    assert np.std(swinging) > 0.1 and higher > 2 * high


def test_a_functional_that_is_never_negative_has_a_multiplier_that_stays():
    """min (x - 3)^2 / 2 where max(x - 1, 0) <= 0.1: x = 1.1 and w = 1.9."""
    rule = dual({"a": 0.1})
    x, w = play(rule, lambda x: jnp.maximum(x - 1, 0), lambda x: jnp.where(x > 1, 1.0, 0.0))
    np.testing.assert_allclose([x[-1], w[-1]], [1.1, 1.9], rtol=1e-2)
    assert float(w.max()) < 20


def test_a_constraint_that_holds_costs_nothing_in_the_end():
    rule = dual({"a": 5.0})
    x, w = play(rule, linear, linear_slope)
    np.testing.assert_allclose(x[-1], 3.0, atol=2e-2)
    assert w[-1] == pytest.approx(1e-2) and float(w.max()) <= 1.0


def test_a_constraint_that_cannot_be_met_stops_at_the_limit():
    rule = dual({"a": 0.1}, most=50.0)
    state = rule.init()
    for _ in range(1_000):
        state = rule.update(state, {"a": jnp.float32(7.0)})
    assert state.weights["a"] == 50.0 and state.violation["a"] == pytest.approx(7.0, rel=1e-5)


def test_the_update_is_its_equation_in_float64():
    tolerances = {"posterior": {"a": 0.3, "b": 2.0}, "prior": {"a": 0.02}}
    rule = dual(
        tolerances, start=0.5, rate=0.05, damping=0.4, memory=(0.8, 0.9), least=0.2, most=3.0
    )
    seen = np.random.default_rng(0).gamma(1.0, 1.0, (60, 3)) * [0.4, 2.0, 0.01]
    state, weights = rule.init(), []
    for a, b, c in seen:
        state = rule.update(state, {"posterior": {"a": a, "b": b}, "prior": {"a": c}})
        of = state.weights
        weights.append([of["posterior"]["a"], of["posterior"]["b"], of["prior"]["a"]])
    tau, w = np.array([0.3, 2.0, 0.02]), np.full(3, 0.5)
    m, s, last, expected = tau.copy(), tau.copy(), np.zeros(3), []
    for v in seen:
        m, s = 0.8 * m + 0.2 * v, 0.9 * s + 0.1 * v
        e = np.clip((m + 4 * (m - s)) / tau - 1, -1, 1)
        w = np.exp(np.clip(np.log(w) + 0.05 * e + 0.4 * (e - last), np.log(0.2), np.log(3.0)))
        last = e
        expected.append(w)
    np.testing.assert_allclose(weights, expected, rtol=1e-4)
    assert np.min(expected) == pytest.approx(0.2) and np.ptp(expected) > 1  # bounds are reached


def test_fixed_multipliers_stay():
    rule = fixed({"F1": 2.0, "F2": 0.0})
    state = rule.update(rule.init(), {"F1": jnp.float32(9.0), "F2": jnp.float32(0.0)})
    assert jax.tree.map(float, state.weights) == {"F1": 2.0, "F2": 0.0}


def test_violations_are_means_of_positive_parts():
    found = violations({"posterior": {"a": jnp.array([-3.0, 1.0, 5.0])}, "prior": {}})
    assert found == {"posterior": {"a": 2.0}, "prior": {}}


def test_the_constraints_carry_tolerances_that_a_rule_takes():
    constraints = overlap_constraints(side=12.0)
    weights = dual(default_tolerances(constraints)).init().weights
    assert set(weights) == {*(f"F{i}" for i in range(1, 8)), "side"}


@pytest.mark.parametrize(
    "arguments, message",
    [
        (({"F1": 0.0},), "tolerance of 'F1' must be above 0 and finite, got 0.0: no multiplier is"),
        (({"prior": {"F2": -1.0}},), "tolerance of 'prior.F2' must be above 0 and finite, got -1"),
        (({"F1": float("nan")},), "tolerance of 'F1' must be above 0 and finite, got nan"),
        (({"F1": float("inf")},), "tolerance of 'F1' must be above 0 and finite, got inf"),
    ],
)
def test_tolerances_that_no_multiplier_can_meet_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        dual(*arguments)


@pytest.mark.parametrize(
    "settings, message",
    [
        (dict(start=2.0, most=1.0), "need 0 < least <= start <= most, got 0.01, 2.0 and 1.0"),
        (dict(least=0.0), "need 0 < least <= start <= most, got 0.0, 1.0 and 1000.0"),
        (dict(rate=0.0), "need rate > 0, .*, got 0.0, 0.3, 4.0 and"),
        (dict(damping=-0.1), "damping and lead >= 0 .*, got 0.01, -0.1, 4.0 and"),
        (dict(lead=-1.0), "damping and lead >= 0 .*, got 0.01, 0.3, -1.0 and"),
        (dict(memory=(0.9, 1.0)), r"0 <= fast <= slow < 1, got .* and \(0.9, 1.0\)"),
        (dict(memory=(0.9, 0.8)), r"0 <= fast <= slow < 1, got .* and \(0.9, 0.8\)"),
    ],
)
def test_rules_that_cannot_work_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        dual({"F1": 1.0}, **settings)
