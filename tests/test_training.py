"""The training step: an independent SGD step, many steps in one dispatch, one step on 8 devices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from asr_jax import (
    OptimizerConfig,
    Schedule,
    elbo,
    elbo_with_penalty,
    init_state,
    number_constraints,
    optimizer,
    overlap_constraints,
    train_seeds,
)
from asr_jax import train_steps as train_steps_
from asr_jax.parallel import data_parallel, replicate
from asr_jax.training import train_step
from tests.small import CANVAS, small_model, tree_max_difference, with_leaf
from tests.test_objective import PRESENCE_KERNEL

MODEL = small_model(max_objects=2)
CONSTRAINTS = overlap_constraints(2.0, 5.0)
WEIGHTS = {c.name: 0.5 for c in CONSTRAINTS}
COUNTING = small_model(prior="fixed")  # n is inferred
R_NUM = number_constraints((1, 3))
R_NUM_WEIGHTS = {"number": 10.0, "balance": 100.0}


def images(count=32, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.random((count, *CANVAS)) * 255 * (rng.random((count, *CANVAS)) < 0.3)).astype(
        np.uint8
    )


def full_batch_step(
    state, batch, rate, weights=WEIGHTS, model=MODEL, constraints=CONSTRAINTS, prior_weights=None
):
    """One step of gradient ascent, written out."""
    key = jax.random.fold_in(state.key, state.step)
    gradient, _ = jax.grad(elbo_with_penalty, has_aux=True)(
        state.params,
        key,
        batch,
        weights,
        model=model,
        constraints=constraints,
        prior_weights=prior_weights,
    )
    return jax.tree.map(lambda p, g: p + rate * g, state.params, gradient)


def test_one_step_of_sgd_climbs_the_objective():
    tx = optax.sgd(1e-3)
    state = init_state(MODEL, tx, 0)
    batch = images(8).astype(np.float32) / 255
    after, metrics = train_step(
        state, batch, Schedule(WEIGHTS), model=MODEL, constraints=CONSTRAINTS, tx=tx
    )
    expected = full_batch_step(state, batch, 1e-3)
    assert tree_max_difference(after.params, expected) < 1e-6
    assert tree_max_difference(after.params, state.params) > 1e-4  # it did move
    assert int(after.step) == 1
    assert float(metrics["loss"]) == pytest.approx(
        float(metrics["nelbo"] + metrics["penalty"]), rel=1e-6
    )


def constant(weights, steps, presence_prior=None):
    """A schedule of so many equal steps."""
    weights = {name: np.full(steps, w, np.float32) for name, w in weights.items()}
    return Schedule(weights, presence_prior)


@pytest.mark.parametrize("kind", ["pmap", "shard_map"])
@pytest.mark.parametrize("devices", [2, 8])
def test_one_step_on_many_devices_equals_the_full_batch_step(kind, devices):
    tx = optax.sgd(1e-3)
    state, data = init_state(MODEL, tx, 0), images(32)
    index = np.random.default_rng(1).permutation(32)[:16][None]
    steps = functools.partial(train_steps_, model=MODEL, constraints=CONSTRAINTS, tx=tx)
    run = data_parallel(steps, kind=kind, devices=jax.devices()[:devices])
    start = replicate((state, data), jax.devices()[:devices])
    schedule = constant(WEIGHTS, 1).replace(prior_weights=constant({"F2": 9.0}, 1).weights)
    after, metrics = run(*start, index, schedule)
    batch = data[index[0]].astype(np.float32) / 255
    expected = full_batch_step(state, batch, 1e-3, prior_weights={"F2": 9.0})
    moved = tree_max_difference(expected, state.params)
    # Rounding only: with shard_map's default check_vma the step would be `devices` times as long.
    assert tree_max_difference(after.params, expected) < 1e-4 * moved
    assert metrics["loss"].shape == (1,) and metrics["prior_penalty"] > 0
    terms = metrics["nelbo"] + metrics["penalty"] + metrics["prior_penalty"]
    np.testing.assert_allclose(metrics["loss"], terms, rtol=1e-6)


def balance(params, key, batch, shares):
    """Written out; of several shares, the average of what each would say of its own images."""
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(len(batch)))
    u = jax.nn.sigmoid(COUNTING.posterior(params, keys, batch).presence_logits)
    q = jnp.stack([u[:, 0] * (1 - u[:, 1]), u[:, 0] * u[:, 1] * u[:, 2]], 1)  # n = 1, n = 3
    return -jnp.log(2 * q.reshape(shares, -1, 2).mean(1)).mean()


@pytest.mark.parametrize("kind", ["pmap", "shard_map"])
@pytest.mark.parametrize("devices", [1, 8])
def test_a_constraint_on_the_mean_sees_the_images_of_all_devices(kind, devices):
    tx, data = optax.sgd(1e-3), images(16)
    state = init_state(COUNTING, tx, 0)
    decided = with_leaf(state.params, PRESENCE_KERNEL, lambda kernel: 30 * kernel)
    state = state.replace(params=decided)  # its counts differ from image to image
    batch, key = data / np.float32(255), jax.random.fold_in(state.key, 0)
    static = dict(model=COUNTING, constraints=R_NUM)
    steps = functools.partial(train_steps_, **static, tx=tx)
    run = data_parallel(steps, kind=kind, devices=jax.devices()[:devices])
    start = replicate((state, data), jax.devices()[:devices])
    after, metrics = run(*start, np.arange(16)[None], constant(R_NUM_WEIGHTS, 1))

    objective, _ = elbo_with_penalty(state.params, key, batch, R_NUM_WEIGHTS, **static)
    expected = full_batch_step(state, batch, 1e-3, R_NUM_WEIGHTS, **static)
    moved = tree_max_difference(expected, state.params)
    assert tree_max_difference(after.params, expected) < 1e-4 * moved
    np.testing.assert_allclose(metrics["loss"], [-objective], rtol=1e-5)

    values, gradients = zip(
        *(jax.value_and_grad(balance)(state.params, key, batch, n) for n in (1, 8)), strict=True
    )
    np.testing.assert_allclose(metrics["balance"], values[:1], rtol=1e-4)
    # A mean over each device's images alone would be another number, and another step.
    assert values[1] > values[0] + 0.1
    assert 1e-3 * 100 * tree_max_difference(*gradients) > 0.1 * moved


@pytest.mark.parametrize("kind", [None, "pmap", "shard_map"])
def test_seeds_side_by_side_are_the_runs_one_by_one(kind):
    tx, data = optax.sgd(1e-4), images(32)
    states = [init_state(COUNTING, tx, seed) for seed in (3, 4)]
    indices = np.random.default_rng(5).integers(0, 32, (3, 16, 2))
    schedule = constant(R_NUM_WEIGHTS, 3, np.array([9.2, 0.0, -20.0], np.float32))
    static = dict(model=COUNTING, constraints=R_NUM, tx=tx)
    seeds = functools.partial(train_seeds, **static)
    run = jax.jit(seeds) if kind is None else data_parallel(seeds, kind=kind)
    start = jax.tree.map(lambda *x: jnp.stack(x), *states), data
    together, metrics = run(*(start if kind is None else replicate(start)), indices, schedule)
    one = jax.jit(functools.partial(train_steps_, **static))
    for s, state in enumerate(states):
        alone, values = one(state, data, indices[..., s], schedule)
        mine = jax.tree.map(lambda x, s=s: x[s], together)
        moved = tree_max_difference(alone.params, state.params)
        assert tree_max_difference(mine.params, alone.params) < 1e-4 * moved
        assert int(mine.step) == 3 and (mine.key == alone.key)
        for name, value in values.items():
            assert metrics[name].shape == (2, 3)
            np.testing.assert_allclose(metrics[name][s], value, rtol=1e-4, atol=1e-5, err_msg=name)
    assert np.all(np.abs(np.diff(metrics["loss"], axis=0)) > 1e-2)  # two different runs


def test_each_step_has_the_presence_prior_of_the_schedule():
    tx, data = optax.sgd(0.0), images(8)  # the parameters stay
    state, ramp = init_state(COUNTING, tx, 0), np.array([9.2, 0.0, -20.0], np.float32)
    steps = functools.partial(train_steps_, model=COUNTING, constraints=(), tx=tx)
    _, metrics = jax.jit(steps)(state, data, np.tile(np.arange(8), (3, 1)), Schedule({}, ramp))
    for t, log_odds in enumerate(ramp):
        model, key = small_model(prior="fixed", presence_prior=float(log_odds)), state.key
        terms = elbo(state.params, jax.random.fold_in(key, t), data / np.float32(255), model=model)
        # A KL near 0 is a sum of numbers near 1 that cancel: exact to their rounding, not its own.
        kl = np.mean(terms.kl_count)
        np.testing.assert_allclose(metrics["kl_count"][t], kl, rtol=1e-5, atol=3e-7)
        np.testing.assert_allclose(metrics["nelbo"][t], -np.mean(terms.elbo), rtol=1e-5)


def test_many_steps_in_one_dispatch_are_the_same_steps():
    tx = optimizer(OptimizerConfig(warmup=2), 20)
    state, data = init_state(MODEL, tx, 3), images(32)
    indices = np.random.default_rng(2).integers(0, 32, (6, 4))
    ramp = np.linspace(0, 1, 6, dtype=np.float32)
    weights = {name: ramp for name in WEIGHTS}
    static = dict(model=MODEL, constraints=CONSTRAINTS, tx=tx)
    together, metrics = jax.jit(functools.partial(train_steps_, **static))(
        state, data, indices, Schedule(weights)
    )
    one = jax.jit(functools.partial(train_step, **static))
    for t in range(6):
        batch = data[indices[t]].astype(np.float32) / 255
        state, values = one(state, batch, Schedule({name: ramp[t] for name in WEIGHTS}))
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
    _, metrics = jax.jit(steps)(state, squares, rng.integers(0, 64, (400, 16)), Schedule({}))
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
        (dict(learning_rate=0.0), "learning_rate must be > 0 and finite, got 0.0"),
        (dict(learning_rate=float("nan")), "learning_rate must be > 0 and finite, got nan"),
        (dict(learning_rate=float("inf")), "learning_rate must be > 0 and finite, got inf"),
        (dict(clip=float("nan")), "optimizer.clip must not be negative, and finite, got nan"),
        (dict(weight_decay=float("inf")), "weight_decay must not be .*, and finite, got inf"),
        (dict(b1=1.0), r"optimizer.b1 must lie in \[0, 0.999999\], got 1.0"),
        (dict(b2=float("nan")), r"optimizer.b2 must lie in \[0, 0.999999\], got nan"),
        (dict(clip=-1.0), "optimizer.clip must not be negative, and finite, got -1.0"),
    ],
)
def test_bad_optimizer_settings_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        OptimizerConfig(**fields)


def test_a_batch_that_does_not_divide_is_refused_with_the_nearest_that_do():
    run = data_parallel(lambda *_, axis_name: None, devices=jax.devices())
    with pytest.raises(ValueError, match="12 does not divide over 8 devices.*batch_size=8 or 16"):
        run(None, None, np.zeros((1, 12), int), Schedule({}))
    with pytest.raises(ValueError, match="parallel must be one of auto, pmap, shard_map, got 'x'"):
        data_parallel(lambda: None, kind="x")
