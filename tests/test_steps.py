"""What steps see, as functions of run, seed and step: images, weights, the prior, noise."""

import jax
import numpy as np
import pytest

import asr_jax
from asr_jax.steps import batches
from configs import dsprites3, mnist3, mnist13
from experiments.run import evaluation
from experiments.run.from_config import from_config
from experiments.run.steps import key, schedule
from tests.small import small_model


def test_every_image_is_seen_once_an_epoch():
    stream = batches(images=10, batch_size=4, seed=0, first=0, last=10).ravel()  # 4 epochs
    for epoch in range(4):
        assert sorted(stream[epoch * 10 : epoch * 10 + 10]) == list(range(10))
    assert list(stream[:10]) != list(stream[10:20])


def test_a_stretch_of_batches_is_the_same_wherever_it_starts():
    whole = batches(10, 4, 3, 0, 12)
    pieces = [batches(10, 4, 3, first, first + 3) for first in (0, 3, 6, 9)]
    np.testing.assert_array_equal(whole, np.concatenate(pieces))
    assert not np.array_equal(whole, batches(10, 4, 4, 0, 12))


def test_shapes_are_found_first_and_kept_apart_then():
    weights = schedule(from_config(dsprites3.get_config("fixed")), 0, 10, 10).weights
    rise = [0, 0, 1 / 3, 2 / 3, 1, 1, 1, 1, 1, 1]  # from 0.1 to 0.4 of the run
    np.testing.assert_allclose(weights["F1"], rise, rtol=1e-6)
    np.testing.assert_allclose(weights["F6"], 20 * np.float64(rise), rtol=1e-6)
    paper = schedule(from_config(dsprites3.get_config("asr,paper")), 0, 10, 10).weights
    assert all(np.ptp(weight) == 0 for weight in paper.values())


def test_multipliers_that_set_themselves_are_no_schedules():
    of = schedule(from_config(dsprites3.get_config("asr")), 0, 10, 10)
    assert of.weights == {} and of.prior_weights is None


def test_a_ramp_raises_a_weight_between_its_two_ends():
    config = mnist3.get_config("fixed")
    config.constraints.ramps.tight = (0.2, 0.6)
    weights = schedule(from_config(config), 0, 100, 100).weights
    assert weights["F6"].tolist() == [20.0] * 100
    tight = weights["tight"]
    assert tight[:20].tolist() == [0.0] * 20 and tight[60:].tolist() == [20.0] * 40
    assert tight[40] == pytest.approx(10.0)
    later = schedule(from_config(config), 30, 50, 100).weights["tight"]
    assert later.tolist() == tight[30:50].tolist()


def test_the_geometric_prior_goes_from_many_objects_to_few_in_half_of_the_run():
    config = mnist13.get_config("air")
    log_odds = schedule(from_config(config), 0, 400, 400).presence_prior
    assert log_odds.shape == (400,) and log_odds.dtype == np.float32
    # A straight line from 9.2 to -20 over 200 steps: half of it is (9.2 - 20) / 2 = -5.4.
    assert log_odds[[0, 50, 100, 150]] == pytest.approx([9.2, 1.9, -5.4, -12.7], abs=1e-5)
    assert log_odds[200:].tolist() == [-20.0] * 200
    later = schedule(from_config(config), 150, 250, 400).presence_prior
    assert later.tolist() == log_odds[150:250].tolist()
    assert schedule(from_config(config), 399, 400, 400).presence_prior.tolist() == [-20.0]


def test_all_counts_alike_fade_from_what_the_elbo_sees():
    config = mnist13.get_config("pprior")
    config.train.count_mix_until = 0.25
    share = schedule(from_config(config), 0, 400, 400).count_mix
    assert share.dtype == np.float32
    assert share[[0, 25, 50, 75, 99]] == pytest.approx([1.0, 0.75, 0.5, 0.25, 0.01], abs=1e-6)
    assert share[100:].tolist() == [0.0] * 300
    config.train.count_mix_until = 0.0
    assert schedule(from_config(config), 0, 8, 8).count_mix is None
    assert schedule(from_config(mnist3.get_config("asr")), 0, 8, 8).count_mix is None


def test_the_geometric_prior_stays_where_it_is_without_a_schedule():
    config = mnist13.get_config("air")
    config.train.presence_prior_until = 0.0
    assert schedule(from_config(config), 0, 8, 8).presence_prior.tolist() == [-20.0] * 8
    config.model.presence_prior = 1.5
    assert schedule(from_config(config), 0, 8, 8).presence_prior.tolist() == [1.5] * 8
    config = mnist3.get_config("air")  # the count is known: nothing to anneal
    assert schedule(from_config(config), 0, 8, 8).presence_prior.tolist() == [0.0] * 8


def streams(seed):
    """The keys of a seed: of parameters, of steps, and of what is measured and drawn."""
    tx = asr_jax.optimizer(asr_jax.config.OptimizerConfig(), 10)
    of_steps = asr_jax.init_state(small_model(), tx, key(seed)).key
    init, also = jax.random.split(key(seed))
    assert (jax.random.key_data(also) == jax.random.key_data(of_steps)).all()
    yield from (key(seed), init, of_steps)
    yield from (jax.random.fold_in(of_steps, step) for step in range(11))
    parts = evaluation.EXPLAIN, evaluation.GENERATE, evaluation.SAMPLE, evaluation.LOOK
    yield from (jax.random.fold_in(key(seed), part) for part in parts)


def test_no_two_streams_of_noise_coincide():
    """Within a seed, and between seeds that follow each other."""
    keys = [tuple(jax.random.key_data(k).tolist()) for seed in range(3) for k in streams(seed)]
    assert len(set(keys)) == len(keys) == 3 * (3 + 11 + 4)
    # Nor is one of them what an image's index makes of another: those of measured images.
    folded = {
        tuple(jax.random.key_data(jax.random.fold_in(key(seed), index)).tolist())
        for seed in range(3)
        for index in range(11)
    }
    measured = {k for i, k in enumerate(keys) if i % 18 >= 14}
    assert len(measured) == 12 and not measured & folded


def test_keys_are_of_one_kind_whatever_the_environment_says():
    with jax.default_prng_impl("rbg"):
        other = key(7)
    assert other.dtype == key(7).dtype
    np.testing.assert_array_equal(jax.random.key_data(other), jax.random.key_data(key(7)))
