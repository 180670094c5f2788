"""R_num against enumeration over all presence vectors in float64, at its zero, ends and ties."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import rel_entr

from asr_jax import Posterior, number_constraints
from asr_jax.constraints.base import values
from configs import colour_dsprites
from configs.base import TOLERANCES, balance_tolerance
from tests.test_distributions import enumerated_pmf

LOGITS = np.random.default_rng(0).normal(0, 2, (6, 4))
COUNTS = [(1, 3), (0, 2), (3,), (4, 0, 1)]


def terms(logits, counts):
    """number, balance and possible of the library, [B] each."""
    posterior = Posterior(jnp.asarray(logits, jnp.float32), None, None, None, None, None)
    found = values(number_constraints(counts), posterior, (50, 50))
    assert list(found) == ["number", "balance", "possible"]
    return tuple(found.values())


def r_num(logits, counts):
    """The two of the paper."""
    return terms(logits, counts)[:2]


def enumerated(logits, counts):
    """The same in float64: number [B], balance, of which there is only one, and possible [B]."""
    q = np.stack([enumerated_pmf(row) for row in logits])[:, counts]  # [B, |L|]
    balance = rel_entr(1 / len(counts), q.mean(0)).sum()
    return -np.log(q).max(1), balance, -np.log(q.sum(1))


def certain(counts, steps=4):
    """Logits [B, K] of images that have these numbers of objects, for certain."""
    return np.where(np.arange(steps) < np.array(counts)[:, None], 60.0, -60.0)


@pytest.mark.parametrize("counts", COUNTS)
def test_all_terms_equal_enumeration(counts):
    number, balance, possible = terms(LOGITS, counts)
    expected_number, expected_balance, expected_possible = enumerated(LOGITS, counts)
    assert expected_balance > 0.1
    np.testing.assert_allclose(number, expected_number, rtol=1e-5)
    np.testing.assert_allclose(balance, np.full(6, expected_balance), rtol=1e-5)
    np.testing.assert_allclose(possible, expected_possible, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("counts", COUNTS)
def test_gradients_equal_finite_differences(counts):
    expected = np.zeros((3, *LOGITS.shape))
    for place in np.ndindex(LOGITS.shape):
        step = np.zeros_like(LOGITS)
        step[place] = 1e-5
        above, below = enumerated(LOGITS + step, counts), enumerated(LOGITS - step, counts)
        for term in range(3):
            expected[(term, *place)] = np.sum(above[term] - below[term]) / 2e-5
    for term in range(3):
        gradient = jax.jacobian(lambda x, term=term: terms(x, counts)[term])(jnp.float32(LOGITS))
        # The sum over images, of which each has its own; but `balance` is the same for each.
        gradient = gradient[0] if term == 1 else gradient.sum(0)
        np.testing.assert_allclose(gradient, expected[term], rtol=1e-4, atol=1e-6)


def test_certain_and_equally_frequent_possible_counts_cost_nothing():
    number, balance = r_num(certain([1, 3, 3, 1]), (1, 3))
    np.testing.assert_allclose(number, 0, atol=1e-6)
    np.testing.assert_allclose(balance, 0, atol=1e-6)


def test_each_term_costs_what_it_is_for():
    # Certain, but three images of four have one object: -1/2 log(2 * 3/4) - 1/2 log(2 * 1/4).
    number, balance = r_num(certain([1, 3, 1, 1]), (1, 3))
    np.testing.assert_allclose(number, 0, atol=1e-6)
    np.testing.assert_allclose(balance, np.log(2 / np.sqrt(3)), rtol=1e-5)
    # Balanced, but no image says which: every q is 1/2, 1/2.
    number, balance = r_num([[0.0], [0.0]], (0, 1))
    np.testing.assert_allclose(number, np.log(2), rtol=1e-6)
    np.testing.assert_allclose(balance, 0, atol=1e-6)
    assert terms([[0.0], [0.0]], (0, 1))[2] == pytest.approx(0, abs=1e-6)  # each is possible
    # Certain of a count that is not possible.
    number, _, possible = terms(certain([2]), (1, 3))
    np.testing.assert_allclose(number, 60, rtol=1e-6)
    np.testing.assert_allclose(possible, 60 - np.log(2), rtol=1e-6)


@pytest.mark.parametrize("logit, expected", [(-60.0, -0.5), (-200.0, 0.0)])
def test_the_gradient_of_a_count_that_no_image_has_stays_finite(logit, expected):
    """Of -1/2 log u - 1/2 log(1 - u): u - 1/2, until u underflows to 0."""
    with jax.debug_nans(True), jax.debug_infs(True):
        balance = r_num([[logit]], (0, 1))[1]
        gradient = jax.grad(lambda x: r_num(x, (0, 1))[1][0])(jnp.array([[logit]]))
    assert balance[0] > 29
    np.testing.assert_allclose(gradient, [[expected]], atol=1e-3)


@pytest.mark.parametrize(
    "logits, counts", [([0.0], (0, 1)), ([np.log(2), 0.0], (0, 1, 2)), ([0.0, -60.0], (1, 0))]
)
def test_the_gradient_at_a_tie_lies_between_those_of_the_tied_counts(logits, counts):
    with jax.debug_nans(True):
        gradient = jax.grad(lambda x: r_num(x, counts)[0][0])(jnp.float32([logits]))[0]
    u = 1 / (1 + np.exp(-np.array(logits)))
    # -log q(n): step t pulls up by 1 - u_t if it is among the n, down by u_t if it ends them.
    sides = [
        [u[t] - 1 if t < n else u[t] if t == n else 0.0 for t in range(len(u))] for n in counts
    ]
    assert np.all(np.min(sides, 0) - 1e-6 <= gradient)
    assert np.all(gradient <= np.max(sides, 0) + 1e-6)


def test_counts_beyond_the_last_step_are_refused():
    message = r"must lie in 0\.\.K=4, got \(1, 5\): raise max_objects or lower the counts"
    with pytest.raises(ValueError, match=message):
        r_num(LOGITS, (1, 5))
    r_num(np.zeros((2, 5)), (1, 5))


@pytest.mark.parametrize("counts", [(), (1, 1), (-1, 2), (1.5, 2)])
def test_counts_that_are_no_set_of_numbers_are_refused(counts):
    with pytest.raises(ValueError, match="different whole numbers of 0 or more, got "):
        number_constraints(counts)


def test_the_tolerance_of_balance_follows_a_batch_that_is_set_later():
    config = colour_dsprites.get_config()
    assert config.constraints.tolerances.balance == pytest.approx(0.02 + 2 / 128)
    config.train.batch_size = 256
    assert config.constraints.tolerances.balance == pytest.approx(0.02 + 2 / 512)
    config.constraints.tolerances.balance = 0.5
    config.train.batch_size = 64
    assert config.constraints.tolerances.balance == 0.5


def test_equal_counts_give_equal_constraints():
    for same in ([1, 3], iter((1, 3)), np.array([1, 3])):
        assert number_constraints(same) == number_constraints((1, 3))
        assert hash(number_constraints((1, 3))) == hash(number_constraints([1, 3]))
    assert number_constraints((1, 3)) != number_constraints((1, 4))


@pytest.mark.parametrize("counts", [(1, 3), (2, 3, 4, 5)])
def test_the_tolerance_of_balance_leaves_as_much_beyond_chance_for_any_number_of_counts(counts):
    """Batches of 64 images whose counts are certain, and drawn alike."""
    rng, batch = np.random.default_rng(0), 64
    share = rng.multinomial(batch, np.ones(len(counts)) / len(counts), 20_000) / batch
    share = share[(share > 0).all(1)]
    by_chance = np.mean(-np.log(len(counts)) - np.log(share).mean(1))
    left = balance_tolerance(counts, batch) - by_chance
    assert left == pytest.approx(TOLERANCES["balance"] - 1 / (2 * batch), abs=0.0015)
