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
    draw_from_mixture,
    gaussian,
    kl,
    known_presence,
    log_prob,
    mixed,
    mixture,
    restrict,
)
from asr_jax.types import Gaussian, Mixture

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


def mixture_logpdf(p, z):
    """log p(z) of values [..., D] in float64, whatever p is made of -> [...]."""
    log_w, loc, std = (np.asarray(x, np.float64) for x in (p.log_weights, p.loc, p.std))
    each = scipy.stats.norm.logpdf(np.asarray(z, np.float64)[..., None, :], loc, std).sum(-1)
    return scipy.special.logsumexp(log_w + each, axis=-1)


def some_mixture(batch=(), components=3, seed=5):
    """Components of different weights that are apart by a few of their stds, in float64."""
    rng = np.random.default_rng(seed)
    shape = (*batch, components)
    log_w = scipy.special.log_softmax(rng.normal(size=shape), axis=-1)
    return Mixture(log_w, rng.normal(size=(*shape, 2)), rng.uniform(0.2, 0.8, (*shape, 2)))


def test_mixture_density_equals_scipy():
    p = some_mixture((4,))
    z = np.random.default_rng(6).normal(size=(4, 2))
    z[0] = 40.0  # where every component is exp(-10,000)
    got = log_prob(jax.tree.map(jnp.float32, p), jnp.float32(z))
    np.testing.assert_allclose(got, mixture_logpdf(p, z), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(got, mixture(jax.tree.map(jnp.float32, p)).log_prob(z))


def test_kl_to_a_mixture_is_unbiased_by_one_sample():
    """Against the integral over a grid; gradients of loc and std against those of the integral."""
    p, number = some_mixture(), 40_000
    q = Gaussian(np.array([0.2, -0.4]), np.array([0.5, 0.3]))
    noise = np.random.default_rng(7).normal(size=(number, 2))
    axis = np.linspace(-6, 6, 601)  # stds: the Riemann sum of a Gaussian is exact
    unit = np.stack(np.meshgrid(axis, axis), -1)
    weight = np.exp(-0.5 * np.square(unit).sum(-1))

    def integral(loc, std):
        z = loc + std * unit
        log_ratio = scipy.stats.norm.logpdf(z, loc, std).sum(-1) - mixture_logpdf(p, z)
        return np.sum(weight * log_ratio) / np.sum(weight)

    def of_samples(loc, std, noise):  # [number]
        own = Gaussian(*(jnp.broadcast_to(x, noise.shape) for x in (loc, std)))
        there = jax.tree.map(lambda x: jnp.broadcast_to(x, (len(noise), *x.shape)), p32)
        return kl(own, there, own.loc + own.std * noise)

    p32 = jax.tree.map(jnp.float32, p)
    loc, std = jnp.float32(q.loc), jnp.float32(q.std)
    got = np.float64(of_samples(loc, std, jnp.float32(noise)))
    error = got.std() / np.sqrt(number)
    assert error < 0.01
    assert got.mean() == pytest.approx(integral(q.loc, q.std), abs=4 * error)
    one = jax.vmap(lambda e: jax.grad(lambda *x: of_samples(*x, e[None])[0], (0, 1))(loc, std))
    for k, gradients in enumerate(one(jnp.float32(noise))):
        for d in range(2):
            step = 1e-4 * np.eye(2)[d]
            moved = [
                integral(q.loc + s * step * (k == 0), q.std + s * step * (k == 1)) for s in (1, -1)
            ]
            expected = (moved[0] - moved[1]) / 2e-4
            some = np.float64(gradients[:, d])
            assert some.mean() == pytest.approx(expected, abs=4 * some.std() / np.sqrt(number))


def test_kl_to_a_mixture_of_equals_is_that_of_gaussians_on_average():
    q, p = gaussians()
    same = Mixture(np.log([[0.2, 0.8]] * 2), *(np.repeat(x[:, None], 2, 1) for x in (p.loc, p.std)))
    q, p, same = jax.tree.map(jnp.float32, (q, p, same))
    number = 20_000
    noise = jax.random.normal(jax.random.key(0), (number, 2, 3))
    got = jax.jit(jax.vmap(lambda e: kl(q, same, q.loc + q.std * e)))(noise)  # [number, 2]
    error = np.std(got, axis=0) / np.sqrt(number)
    expected = kl(q, p, q.loc)  # in closed form, tested above
    assert np.all(np.abs(np.mean(got, axis=0) - expected) < 4 * error)


def test_samples_of_a_mixture_follow_its_density():
    """Counts in cells, by the chi-square test; a cell's probability is a sum of products."""
    p, number = some_mixture(), 20_000
    rng = np.random.default_rng(8)
    uniform, normal = rng.uniform(size=number), rng.normal(size=(number, 2))
    many = jax.tree.map(lambda x: jnp.broadcast_to(jnp.float32(x), (number, *x.shape)), p)
    z = np.float64(draw_from_mixture(many, jnp.float32(uniform), jnp.float32(normal)))
    edges = np.array([-np.inf, -1.2, -0.6, 0.0, 0.6, 1.2, np.inf])
    cdf = scipy.stats.norm.cdf(edges[:, None, None], p.loc, p.std)  # [E, M, 2]
    x, y = np.moveaxis(np.diff(cdf, axis=0), -1, 0)  # [E - 1, M]
    expected = number * np.einsum("m,im,jm->ij", np.exp(p.log_weights), x, y)
    found, _, _ = np.histogram2d(z[:, 0], z[:, 1], bins=[np.clip(edges, -99, 99)] * 2)
    large = expected > 5  # where the test's distribution is what it says
    assert large.sum() > 12
    counts, chances = (np.append(a[large], a[~large].sum()) for a in (found, expected))
    assert scipy.stats.chisquare(counts, chances).pvalue > 0.01


def test_a_uniform_number_chooses_the_component():
    p = jax.tree.map(jnp.float32, some_mixture((1,)))
    p = p.replace(log_weights=jnp.log(jnp.array([[0.2, 0.5, 0.3 - 1e-6]])))  # less than 1 in all
    normal = jnp.array([[0.3, -2.0]])
    for uniform, chosen in ((0.0, 0), (0.19, 0), (0.21, 1), (0.69, 1), (0.71, 2), (1.0, 2)):
        expected = p.loc[0, chosen] + p.std[0, chosen] * normal[0]
        got = jax.jit(draw_from_mixture)(p, jnp.array([uniform]), normal)
        np.testing.assert_allclose(got[0], expected, rtol=1e-6)


def test_gradients_of_mixture_samples_are_those_of_the_expectation_but_for_the_weights():
    """E f of f = (x + 2 y)^2 and of a cosine in closed form, by differences in float64."""
    p, number = some_mixture(), 40_000
    rng = np.random.default_rng(9)
    uniform, normal = (
        jnp.float32(x) for x in (rng.uniform(size=number), rng.normal(size=(number, 2)))
    )
    direction = np.array([1.0, 2.0])

    def expectation(log_w, loc, std):
        w = scipy.special.softmax(log_w)
        mean, variance = loc @ direction, np.square(std) @ np.square(direction)
        return np.array([w @ (mean**2 + variance), w @ (np.cos(mean) * np.exp(-variance / 2))])

    def of_a_sample(p, uniform, normal):
        z = draw_from_mixture(p, uniform, normal)
        x = z @ jnp.float32(direction)
        return jnp.stack([x**2, jnp.cos(x)])

    p32 = jax.tree.map(jnp.float32, p)
    logits = p32.log_weights  # as a network has them: any numbers

    def of_parameters(logits, loc, std, *noise):
        return of_a_sample(Mixture(jax.nn.log_softmax(logits), loc, std), *noise)

    jacobian = jax.jit(jax.vmap(jax.jacrev(of_parameters, (0, 1, 2)), (None,) * 3 + (0, 0)))
    found = jacobian(logits, p32.loc, p32.std, uniform, normal)
    parameters = (p.log_weights, p.loc, p.std)
    np.testing.assert_array_equal(found[0], 0)  # which component it is, is discrete
    for k, gradients in enumerate(found[1:], 1):  # [number, 2, ...]
        for index in np.ndindex(*parameters[k].shape):
            moved = []
            for step in (1e-5, -1e-5):
                there = [x.copy() for x in parameters]
                there[k][index] += step
                moved.append(expectation(*there))
            expected = (moved[0] - moved[1]) / 2e-5
            one = np.float64(gradients[(slice(None), slice(None), *index)])  # [number, 2]
            error = one.std(0) / np.sqrt(number)
            assert np.all(error < 0.5)
            assert np.all(np.abs(one.mean(0) - expected) < 4 * error), (k, index)


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
