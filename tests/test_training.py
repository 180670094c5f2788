"""The training step: an independent SGD step, many steps in one dispatch, one step on 8 devices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from asr_jax import OptimizerConfig, elbo_with_penalty, init_state, optimizer, overlap_constraints
from asr_jax import train_steps as train_steps_
from asr_jax.parallel import data_parallel, replicate
from asr_jax.training import train_step
from tests.small import CANVAS, small_model, tree_max_difference

MODEL = small_model(max_steps=2)
CONSTRAINTS = overlap_constraints(2.0, 5.0)
WEIGHTS = {c.name: 0.5 for c in CONSTRAINTS}


def images(count=32, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.random((count, *CANVAS)) * 255 * (rng.random((count, *CANVAS)) < 0.3)).astype(
        np.uint8
    )


def full_batch_step(state, batch, rate):
    """One step of gradient ascent, written out."""
    key = jax.random.fold_in(state.key, state.step)
    gradient, _ = jax.grad(elbo_with_penalty, has_aux=True)(
        state.params, key, batch, WEIGHTS, model=MODEL, constraints=CONSTRAINTS
    )
    return jax.tree.map(lambda p, g: p + rate * g, state.params, gradient)


def test_one_step_of_sgd_climbs_the_objective():
    tx = optax.sgd(1e-3)
    state = init_state(MODEL, tx, 0)
    batch = images(8).astype(np.float32) / 255
    after, metrics = train_step(state, batch, WEIGHTS, model=MODEL, constraints=CONSTRAINTS, tx=tx)
    expected = full_batch_step(state, batch, 1e-3)
    assert tree_max_difference(after.params, expected) < 1e-6
    assert tree_max_difference(after.params, state.params) > 1e-4  # it did move
    assert int(after.step) == 1
    assert float(metrics["loss"]) == pytest.approx(
        float(metrics["nelbo"] + metrics["penalty"]), rel=1e-6
    )


@pytest.mark.parametrize("kind", ["pmap", "shard_map"])
@pytest.mark.parametrize("devices", [2, 8])
def test_one_step_on_many_devices_equals_the_full_batch_step(kind, devices):
    tx = optax.sgd(1e-3)
    state, data = init_state(MODEL, tx, 0), images(32)
    index = np.random.default_rng(1).permutation(32)[:16][None]
    steps = functools.partial(train_steps_, model=MODEL, constraints=CONSTRAINTS, tx=tx)
    run = data_parallel(steps, kind=kind, devices=jax.devices()[:devices])
    weights = {name: np.full(1, w, np.float32) for name, w in WEIGHTS.items()}
    start = replicate((state, data), jax.devices()[:devices])
    after, metrics = run(*start, index, weights)
    expected = full_batch_step(state, data[index[0]].astype(np.float32) / 255, 1e-3)
    moved = tree_max_difference(expected, state.params)
    # Rounding only: with shard_map's default check_vma the step would be `devices` times as long.
    assert tree_max_difference(after.params, expected) < 1e-4 * moved
    assert metrics["loss"].shape == (1,)


def test_many_steps_in_one_dispatch_are_the_same_steps():
    tx = optimizer(OptimizerConfig(warmup=2), 20)
    state, data = init_state(MODEL, tx, 3), images(32)
    indices = np.random.default_rng(2).integers(0, 32, (6, 4))
    ramp = np.linspace(0, 1, 6, dtype=np.float32)
    weights = {name: ramp for name in WEIGHTS}
    static = dict(model=MODEL, constraints=CONSTRAINTS, tx=tx)
    together, metrics = jax.jit(functools.partial(train_steps_, **static))(
        state, data, indices, weights
    )
    one = jax.jit(functools.partial(train_step, **static))
    for t in range(6):
        batch = data[indices[t]].astype(np.float32) / 255
        state, values = one(state, batch, {name: ramp[t] for name in WEIGHTS})
        for name, value in values.items():
            np.testing.assert_allclose(metrics[name][t], value, rtol=1e-4, atol=1e-5, err_msg=name)
    assert tree_max_difference(together.params, state.params) < 1e-5
    assert all(np.isfinite(value).all() for value in metrics.values())


def test_training_explains_white_squares():
    """Squares of 5 x 5 pixels anywhere: half the nats of an untrained model are gone."""
    rng = np.random.default_rng(0)
    squares = np.zeros((64, *CANVAS), np.uint8)
    for square, (x, y) in zip(squares, rng.integers(0, 8, (64, 2)), strict=True):
        square[y : y + 5, x : x + 5] = 255
    tx = optimizer(OptimizerConfig(learning_rate=3e-3, warmup=10), 400)
    state = init_state(MODEL, tx, 0)
    steps = functools.partial(train_steps_, model=MODEL, constraints=(), tx=tx)
    _, metrics = jax.jit(steps)(state, squares, rng.integers(0, 64, (400, 16)), {})
    assert np.mean(metrics["nelbo"][-20:]) < 0.5 * np.mean(metrics["nelbo"][:10])


def test_the_same_seed_gives_the_same_start_and_another_seed_another():
    tx = optax.sgd(1.0)
    a, b, c = (init_state(MODEL, tx, seed).params for seed in (0, 0, 1))
    assert tree_max_difference(a, b) == 0
    assert tree_max_difference(a, c) > 0


def rates(config, steps):
    """Adam's first update is the learning rate itself: read it off, step by step."""
    tx = optimizer(config, steps)
    params = jnp.zeros(())
    state, seen = tx.init(params), []
    for _ in range(steps):
        update, state = tx.update(jnp.ones(()), state, params)
        seen.append(-float(update))  # a constant gradient: |update| is the rate
    return np.array(seen)


def test_the_schedule_warms_up_and_decays_as_a_cosine():
    seen = rates(OptimizerConfig(learning_rate=0.1, warmup=10, clip=0.0), 110)
    np.testing.assert_allclose(seen[:10], 0.1 * np.arange(10) / 10, atol=1e-6)
    t = np.arange(100) / 100
    np.testing.assert_allclose(seen[10:], 0.05 * (1 + np.cos(np.pi * t)), atol=1e-6)
    constant = rates(OptimizerConfig(learning_rate=0.1, warmup=10, schedule="constant"), 40)
    np.testing.assert_allclose(constant[10:], 0.1, atol=1e-6)
    at_once = rates(OptimizerConfig(learning_rate=0.1, warmup=0, schedule="constant"), 5)
    np.testing.assert_allclose(at_once, 0.1, atol=1e-6)


def test_gradients_are_clipped_by_their_global_norm():
    """Adam's first moment is (1 - b1) times what it was given: read the clipped gradient off it."""
    gradient = {"a": jnp.array([3.0, 0.0]), "b": jnp.array([4.0])}  # norm 5
    for clip, factor in ((1.0, 0.2), (10.0, 1.0), (0.0, 1.0)):
        tx = optimizer(OptimizerConfig(clip=clip, b1=0.9), 10)
        _, state = tx.update(gradient, tx.init(gradient), gradient)
        moments = [x.mu for x in jax.tree.leaves(state, is_leaf=is_adam) if is_adam(x)]
        np.testing.assert_allclose(moments[0]["a"], [0.3 * factor, 0.0], rtol=1e-5)
        np.testing.assert_allclose(moments[0]["b"], [0.4 * factor], rtol=1e-5)


def is_adam(x):
    return isinstance(x, optax.ScaleByAdamState)


def test_weight_decay_shrinks_by_the_rate_times_the_decay():
    config = OptimizerConfig(learning_rate=0.1, schedule="constant", warmup=0, weight_decay=0.5)
    tx = optimizer(config, 10)
    params = jnp.array([2.0, -4.0])
    update, _ = tx.update(jnp.zeros(2), tx.init(params), params)
    np.testing.assert_allclose(params + update, [1.9, -3.8], rtol=1e-6)


@pytest.mark.parametrize(
    "fields, message",
    [
        (dict(schedule="linear"), "schedule must be one of cosine, constant, got 'linear'"),
        (dict(learning_rate=0.0), "learning_rate must be > 0, got 0.0"),
        (dict(clip=-1.0), "optimizer.clip must not be negative, got -1.0"),
    ],
)
def test_bad_optimizer_settings_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        OptimizerConfig(**fields)


def test_a_batch_that_does_not_divide_is_refused_with_the_nearest_that_do():
    run = data_parallel(lambda *_, axis_name: None, devices=jax.devices())
    with pytest.raises(ValueError, match="12 does not divide over 8 devices.*batch_size=8 or 16"):
        run(None, None, np.zeros((1, 12), int), {})
    with pytest.raises(ValueError, match="parallel must be one of auto, pmap, shard_map, got 'x'"):
        data_parallel(lambda: None, kind="x")
