"""The count chain against enumeration and samples; Gaussians and the Concrete in closed form."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats

from asr_jax.distributions import (
    CERTAIN,
    CountChain,
    binary_concrete,
    bounded,
    gaussian,
    known_presence,
    mixed,
    restrict,
)
from asr_jax.types import Gaussian

LOGITS = np.array([[0.3, -1.2, 2.0, 0.7], [-3.0, 4.0, -0.5, 1.5], [5.0, 5.0, 5.0, -5.0]])
OTHER = np.array([[-0.4, 0.9, 0.1, -2.0], [0.0, 0.0, 0.0, 0.0], [1.0, 2.0, -3.0, 4.0]])


def enumerated_pmf(logits):
    """P(n = k), summed in float64 over all 2^K vectors of independent coin flips: n is the
    number of heads before the first tail."""
    heads = 1 / (1 + np.exp(-np.float64(logits)))
    pmf = np.zeros(len(logits) + 1)
    for presence in itertools.product((0, 1), repeat=len(logits)):
        probability = np.prod(np.where(presence, heads, 1 - heads))
        pmf[(presence + (0,)).index(0)] += probability
    return pmf


def chain(logits):
    return CountChain(jnp.asarray(logits, jnp.float32))


PMF = np.stack([enumerated_pmf(row) for row in LOGITS])
OTHER_PMF = np.stack([enumerated_pmf(row) for row in OTHER])


def test_pmf_sums_to_one():
    logits = np.random.default_rng(0).normal(0, 5, (50, 6))
    np.testing.assert_allclose(np.exp(chain(logits).log_probs).sum(-1), 1, rtol=2e-6)


def test_pmf_equals_enumeration():
    assert chain(LOGITS).log_probs.shape == (3, 5)
    np.testing.assert_allclose(np.exp(chain(LOGITS).log_probs), PMF, rtol=2e-6)


def test_log_prob_picks_the_count():
    value = jnp.array([0, 4, 3])
    expected = np.log([PMF[0, 0], PMF[1, 4], PMF[2, 3]])
    np.testing.assert_allclose(chain(LOGITS).log_prob(value), expected, rtol=1e-6)


def test_extreme_logits_keep_log_probs_finite_and_right():
    # log P(n = 2) = -60, far below what a probability in float32 could tell from 0.
    got = chain([40.0, -60.0, 0.0]).log_probs
    expected = [-40.0, 0.0, -60.0 + np.log(0.5), -60.0 + np.log(0.5)]
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6)


def test_samples_follow_the_enumerated_pmf():
    number = 20_000
    samples = np.array(chain(LOGITS).sample(seed=jax.random.key(0), sample_shape=(number,)))
    assert samples.shape == (number, 3)
    for row in range(2):  # the third has cells that are too small for a chi-square test
        observed = np.bincount(samples[:, row], minlength=5)
        assert scipy.stats.chisquare(observed, number * PMF[row] / PMF[row].sum()).pvalue > 0.01
    # Rows are drawn independently: the table of the first two has no correlation.
    assert scipy.stats.pearsonr(samples[:, 0], samples[:, 1]).pvalue > 0.01


def test_kl_equals_enumeration():
    expected = np.sum(PMF * np.log(PMF / OTHER_PMF), axis=-1)
    np.testing.assert_allclose(chain(LOGITS).kl_divergence(chain(OTHER)), expected, rtol=1e-5)


def test_kl_with_itself_is_exactly_zero():
    np.testing.assert_array_equal(chain(LOGITS).kl_divergence(chain(LOGITS)), np.zeros(3))


def test_survival_equals_the_tails_of_the_pmf():
    tails = np.stack([PMF[:, t:].sum(-1) for t in range(1, 5)], axis=-1)
    np.testing.assert_allclose(chain(LOGITS).survival, tails, rtol=1e-6)
    np.testing.assert_allclose(chain(LOGITS).log_survival, np.log(tails), rtol=1e-5)


def test_mode_mean_and_entropy_equal_enumeration():
    q = chain(LOGITS)
    np.testing.assert_array_equal(q.mode(), PMF.argmax(-1))
    assert len(set(PMF.argmax(-1))) > 1
    np.testing.assert_allclose(q.mean(), PMF @ np.arange(5), rtol=1e-6)
    np.testing.assert_allclose(q.entropy(), scipy.stats.entropy(PMF, axis=-1), rtol=1e-5)


def test_mode_takes_the_smaller_of_equal_counts():
    assert chain([0.0]).mode() == 0  # 1/2 and 1/2


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_known_presence_makes_the_count_certain(count):
    logits = known_presence((count,), batch=2, steps=3)
    assert logits.shape == (2, 3)
    pmf = np.exp(np.float64(CountChain(logits).log_probs))
    np.testing.assert_array_equal(pmf[:, count], 1)
    # Any other count: exp(-100) = 4e-44, at the very end of float32's range.
    np.testing.assert_allclose(pmf, [np.eye(4)[count]] * 2, atol=1e-40)
    np.testing.assert_array_equal(CountChain(logits).mode(), [count, count])


@pytest.mark.parametrize("count", [0, 1, 3])
def test_known_presence_has_zero_kl_and_finite_gradients(count):
    logits = known_presence((count,), batch=2, steps=3)

    def kl(q, p):
        return CountChain(q).kl_divergence(CountChain(p)).sum()

    def entropy(q):
        return CountChain(q).entropy().sum()

    with jax.debug_nans(True):
        value, gradients = jax.value_and_grad(kl, argnums=(0, 1))(logits, logits)
        entropy_gradient = jax.grad(entropy)(logits)
    assert value == 0
    for gradient in (*gradients, entropy_gradient):
        # Even times a penalty of thousands, no gradient is left of what is certain.
        np.testing.assert_allclose(gradient, 0, atol=1e-30)


def test_known_presence_in_products_with_zero_is_zero():
    # P(n >= t) of absent objects times a large KL: 0, not NaN and not noise.
    survival = CountChain(known_presence((1,), batch=1, steps=3)).survival
    np.testing.assert_allclose(survival * 1e6, [[1e6, 0, 0]], atol=1e-30)
    assert np.isfinite(CERTAIN)


SETS = [(0, 2), (1, 3), (4, 1, 2), (0, 1, 2, 3, 4), (3,)]


@pytest.mark.parametrize("counts", SETS)
def test_known_presence_of_several_counts_is_uniform_over_them(counts):
    log_probs = np.float64(CountChain(known_presence(counts, batch=2, steps=4)).log_probs)
    assert log_probs.shape == (2, 5) and np.all(np.isfinite(log_probs))
    possible = np.isin(np.arange(5), counts)
    np.testing.assert_allclose(log_probs[:, possible], -np.log(len(counts)), rtol=2e-6, atol=1e-6)
    assert np.all(log_probs[:, ~possible] <= -100)


@pytest.mark.parametrize("counts", SETS)
def test_kl_to_several_possible_counts_equals_enumeration(counts):
    logits = known_presence(counts, batch=3, steps=4)
    # Of the float32 logits, where a probability in float64 would round to 0.
    reached = np.cumsum(scipy.special.log_expit(np.float64(logits)), -1)
    stop = scipy.special.log_expit(-np.float64(logits))
    log_p = np.pad(reached, [(0, 0), (1, 0)]) + np.pad(stop, [(0, 0), (0, 1)])
    expected = np.sum(PMF * (np.log(PMF) - log_p), -1)

    def kl(q, p):
        return CountChain(q).kl_divergence(CountChain(p))

    np.testing.assert_allclose(kl(jnp.float32(LOGITS), logits), expected, rtol=1e-5)
    with jax.debug_nans(True):
        gradients = jax.grad(lambda q, p: kl(q, p).sum(), (0, 1))(jnp.float32(LOGITS), logits)
        own = jax.grad(lambda q, p: kl(q, p).sum(), (0, 1))(logits, logits)
    assert all(np.all(np.isfinite(gradient)) for gradient in (*gradients, *own))
    np.testing.assert_allclose(own, 0, atol=1e-6)


SUBSETS = [L for size in range(1, 6) for L in itertools.combinations(range(5), size)]


@pytest.mark.parametrize("counts", SUBSETS, ids=str)
def test_a_restricted_chain_equals_enumeration_and_never_leaves_the_possible_counts(counts):
    """Of the possible counts in turn, in float64: stop here, or go on to the next of them."""
    extreme = np.array([[90.0, -90.0, 300.0, -300.0]])
    logits = np.concatenate([LOGITS, extreme])
    expected = np.full((4, 5), -np.inf)
    reached = np.zeros(4)
    for k in counts[:-1]:
        expected[:, k] = reached + scipy.special.log_expit(-logits[:, k])
        reached = reached + scipy.special.log_expit(logits[:, k])
    expected[:, counts[-1]] = reached
    np.testing.assert_allclose(np.exp(expected).sum(1), 1, rtol=1e-12)

    def log_probs(logits):
        return CountChain(restrict(logits, counts)).log_probs

    got = log_probs(jnp.float32(logits))
    possible = np.isin(np.arange(5), counts)
    np.testing.assert_allclose(got[:, possible], expected[:, possible], rtol=2e-6, atol=1e-6)
    assert got.dtype == jnp.float32 and np.all(np.isfinite(got))
    np.testing.assert_array_equal(jnp.exp(got)[:, ~possible], 0)
    again = restrict(jnp.float32(logits[0]), counts[::-1])  # in any order, any number of axes
    np.testing.assert_array_equal(CountChain(again).log_probs, got[0])
    with jax.debug_nans(True):
        gradient = jax.grad(lambda x: jnp.sum(jnp.exp(log_probs(x)) * log_probs(x)))(
            jnp.float32(logits)
        )
    assert np.all(np.isfinite(gradient))
    asked = [k in counts[:-1] for k in range(4)]
    np.testing.assert_array_equal(gradient[:, ~np.array(asked)], 0)
    assert np.all(gradient[:3, asked] != 0)


def test_bounded_logits_stay_within_the_bound_and_small_ones_as_they_are():
    logits = np.array([-1e4, -20.0, -3.0, -0.01, 0.0, 0.02, 1.0, 15.0, 1e30])
    got = bounded(jnp.float32(logits), 4.0)
    odds = scipy.special.expit(2 * logits / 4)  # tanh of a half is a logistic function
    np.testing.assert_allclose(got, 4 * (2 * odds - 1), rtol=1e-5, atol=1e-7)
    assert np.abs(got).max() <= 4
    np.testing.assert_allclose(got[3:6], logits[3:6], rtol=1e-4)
    with jax.debug_nans(True):
        gradient = jax.grad(lambda x: bounded(x, 4.0).sum())(jnp.float32(logits))
    slope = 4 * odds * (1 - odds)
    np.testing.assert_allclose(gradient, slope, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("counts", [(0, 1, 2, 3, 4), (1, 3), (4,)])
@pytest.mark.parametrize("share", [0.0, 1e-6, 0.3, 1.0])
def test_a_mixture_is_that_of_the_probabilities(counts, share):
    """Of a chain and of the counts alike, whether the chain is sure of itself or not."""
    sure = np.float32([[20.0, -20.0, 0.3, 15.0], [110.0, 110.0, 110.0, -110.0]])
    logits = restrict(jnp.concatenate([jnp.float32(LOGITS), sure]), counts)
    pmf = np.stack([enumerated_pmf(row) for row in logits])
    expected = (1 - share) * pmf + share * np.isin(np.arange(5), counts) / len(counts)

    def log_probs(logits):
        return CountChain(mixed(logits, counts, jnp.float32(share))).log_probs

    got = jnp.exp(jax.jit(log_probs)(logits))
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-30)
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(jnp.exp(log_probs(x)) * log_probs(x))))(logits)
    assert np.all(np.isfinite(gradient))
    if share == 1.0:
        np.testing.assert_array_equal(gradient, 0)


def gaussians():
    rng = np.random.default_rng(3)
    q, p = (Gaussian(rng.normal(size=(2, 3)), rng.uniform(0.7, 1.5, (2, 3))) for _ in "qp")
    return q, p


def test_gaussian_kl_equals_its_closed_form_in_float64():
    q, p = gaussians()
    ratio = (q.std / p.std) ** 2
    expected = 0.5 * (ratio + ((q.loc - p.loc) / p.std) ** 2 - 1 - np.log(ratio)).sum(-1)
    q, p = jax.tree.map(jnp.float32, (q, p))
    np.testing.assert_allclose(gaussian(q).kl_divergence(gaussian(p)), expected, rtol=1e-5)


def test_gaussian_kl_equals_monte_carlo():
    q, p = gaussians()
    number = 100_000
    z = q.loc + q.std * np.random.default_rng(4).normal(size=(number, 2, 3))
    log_ratio = scipy.stats.norm.logpdf(z, q.loc, q.std) - scipy.stats.norm.logpdf(z, p.loc, p.std)
    log_ratio = log_ratio.sum(-1)  # [number, 2]
    error = log_ratio.std(0) / np.sqrt(number)
    got = gaussian(jax.tree.map(jnp.float32, q)).kl_divergence(
        gaussian(jax.tree.map(jnp.float32, p))
    )
    assert np.all(error < 0.02)  # what follows can tell apart what it should
    assert np.all(np.abs(got - log_ratio.mean(0)) < 4 * error)


CONCRETE = [(0.7, 0.5), (-1.5, 1.0), (2.0, 0.2)]  # logit, temperature


@pytest.mark.parametrize("logit, temperature", CONCRETE)
def test_concrete_density_integrates_to_one(logit, temperature):
    density = jax.jit(lambda y: binary_concrete(jnp.float32(logit), temperature).prob(y))
    middle, width = logit / temperature, 20 / temperature  # mass outside: 2 e^-20
    integral, _ = scipy.integrate.quad(
        lambda y: float(density(jnp.float32(y))), middle - width, middle + width, epsabs=1e-5
    )
    assert integral == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("logit, temperature", CONCRETE)
def test_concrete_density_is_that_of_maddison_et_al(logit, temperature):
    # Their density of the relaxed presence x in (0, 1), with alpha = exp(logit):
    #   t a x^(-t-1) (1-x)^(-t-1) / (a x^(-t) + (1-x)^(-t))^2,
    # and p(y) = p(x) dx/dy with x = sigmoid(y), dx/dy = x (1 - x).
    x = np.array([0.003, 0.1, 0.4, 0.5, 0.77, 0.98])
    y = scipy.special.logit(x)
    alpha, t = np.exp(logit), temperature
    p_x = t * alpha * x ** (-t - 1) * (1 - x) ** (-t - 1)
    p_x = p_x / (alpha * x**-t + (1 - x) ** -t) ** 2
    got = binary_concrete(jnp.float32(logit), t).log_prob(jnp.float32(y))
    np.testing.assert_allclose(got, np.log(p_x * x * (1 - x)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("logit, temperature", CONCRETE)
def test_concrete_samples_are_positive_with_the_probability_of_presence(logit, temperature):
    number = 20_000
    y = binary_concrete(jnp.float32(logit), temperature).sample(
        seed=jax.random.key(1), sample_shape=(number,)
    )
    present = scipy.special.expit(logit)  # whatever the temperature
    tolerance = 3 * np.sqrt(present * (1 - present) / number)
    assert np.mean(np.array(y) > 0) == pytest.approx(present, abs=tolerance)
