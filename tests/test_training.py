"""The training step: an independent SGD step, many steps in one dispatch, one step on 8 devices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import log_expit

from asr_jax import (
    OptimizerConfig,
    Schedule,
    TrainState,
    dual,
    elbo_with_penalty,
    init_state,
    number_constraints,
    optimizer,
    overlap_constraints,
    parallel,
    train_seeds,
    train_steps,
)
from asr_jax.constraints import default_tolerances, default_weights
from asr_jax.parallel import data_parallel, replicate
from asr_jax.training import train_step
from tests.small import (
    CANVAS,
    PRESENCE_KERNEL,
    image_keys,
    small_images,
    small_model,
    small_params,
    tree_max_difference,
    with_leaf,
)

TINY = dict(max_objects=1, encoder="raw", hidden=(8,))  # a gradient takes long to compile
GAP = 0.5
MODEL = small_model(**TINY, count_gap_weight=GAP, place_prior="relations")
# Of each image, and of the batch's mean.
CONSTRAINTS = (overlap_constraints(2.0, 5.0)[1], *number_constraints((0, 1)))
WEIGHTS = default_weights(CONSTRAINTS)
IMAGES = (small_images(32) * 255).astype(np.uint8)
RATE = 1e-3
SGD = dict(model=MODEL, constraints=CONSTRAINTS, tx=optax.sgd(RATE))


def state_of(tx, seed=0):
    """With parameters of which the counts differ from image to image."""
    decided = with_leaf(small_params(MODEL, seed), PRESENCE_KERNEL, lambda kernel: 100 * kernel)
    return TrainState(jnp.int32(0), decided, tx.init(decided), jax.random.key(seed))


def constant(steps, **weights):
    """Weights of so many equal steps."""
    return {name: np.full(steps, weight, np.float32) for name, weight in weights.items()}


@pytest.fixture(scope="module")
def full_batch():
    """(state, places of its 16 images, its objective, the parameters that it leads to)."""
    state, index = state_of(SGD["tx"]), np.random.default_rng(1).permutation(32)[:16]
    (objective, _), gradient = jax.value_and_grad(elbo_with_penalty, has_aux=True)(
        state.params,
        jax.random.fold_in(state.key, 0),
        IMAGES[index] / np.float32(255),
        WEIGHTS,
        model=MODEL,
        constraints=CONSTRAINTS,
        prior_weights={"F2": 9.0},
    )
    after = jax.tree.map(lambda p, g: p + RATE * g, state.params, gradient)
    return state, index, float(objective), after


def test_one_step_of_sgd_climbs_the_objective(full_batch):
    state, index, objective, expected = full_batch
    batch = IMAGES[index] / np.float32(255)
    schedule = Schedule(WEIGHTS, prior_weights={"F2": 9.0})
    after, metrics = train_step(state, batch, schedule, **SGD)
    assert tree_max_difference(after.params, expected) < 1e-6
    assert tree_max_difference(after.params, state.params) > 1e-4  # it did move
    assert int(after.step) == 1
    assert float(metrics["loss"]) == pytest.approx(-objective, rel=1e-6)
    terms = metrics["nelbo"] + metrics["penalty"] + metrics["prior_penalty"]
    terms += GAP * metrics["count_gap"]
    assert float(metrics["loss"]) == pytest.approx(float(terms), rel=1e-6)


@pytest.fixture(scope="module")
def on_devices(full_batch):
    """(kind, devices) -> the step on so many, once for all tests."""

    @functools.cache
    def step(kind, devices):
        state, index, *_ = full_batch
        run = data_parallel(
            functools.partial(train_steps, **SGD), kind=kind, devices=jax.devices()[:devices]
        )
        start = replicate((state, IMAGES), jax.devices()[:devices])
        schedule = Schedule(constant(1, **WEIGHTS), prior_weights=constant(1, F2=9.0))
        return run(*start, index[None], schedule)

    return step


KINDS = [("pmap", 8), ("shard_map", 8), ("shard_map", 2)]


@pytest.mark.parametrize("kind, devices", KINDS)
def test_one_step_on_many_devices_equals_the_full_batch_step(full_batch, on_devices, kind, devices):
    state, _, objective, expected = full_batch
    after, metrics = on_devices(kind, devices)
    moved = tree_max_difference(expected, state.params)
    # Rounding only: with shard_map's default check_vma the step would be `devices` times as long.
    assert tree_max_difference(after.params, expected) < 1e-4 * moved
    assert metrics["prior_penalty"] > 0
    np.testing.assert_allclose(metrics["loss"], [-objective], rtol=1e-5)
    terms = metrics["nelbo"] + metrics["penalty"] + metrics["prior_penalty"]
    terms += GAP * metrics["count_gap"]
    np.testing.assert_allclose(metrics["loss"], terms, rtol=1e-6)


@jax.jit
def balances(params, key, batch):
    """Written out; with 8 shares, the average of what each would say of its own images."""

    def balance(params, shares):
        u = jax.nn.sigmoid(MODEL.posterior(params, key, batch).presence_logits)
        q = jnp.concatenate([1 - u, u], axis=1)  # n = 0, n = 1
        return -jnp.log(2 * q.reshape(shares, -1, 2).mean(1)).mean()

    return [jax.value_and_grad(balance)(params, shares) for shares in (1, 8)]


@pytest.mark.parametrize("kind", ["pmap", "shard_map"])
def test_a_constraint_on_the_mean_sees_the_images_of_all_devices(full_batch, on_devices, kind):
    state, index, _, expected = full_batch
    key = jax.random.fold_in(state.key, 0)
    (whole, gradient), (local, other) = balances(state.params, key, IMAGES[index])
    np.testing.assert_allclose(on_devices(kind, 8)[1]["balance"], [whole], rtol=1e-4)
    # A mean over each device's images alone would be another number, and another step.
    assert local > whole + 0.1
    moved = tree_max_difference(expected, state.params)
    assert RATE * WEIGHTS["balance"] * tree_max_difference(gradient, other) > 0.1 * moved


RULE = dual({"posterior": default_tolerances(CONSTRAINTS), "prior": {"F2": 0.02}})
RULED = SGD | {"rule": RULE}


def ruled(state, **weights):
    """The state with multipliers, of which these are not what they start from."""
    multipliers = RULE.init()
    weights = {"posterior": multipliers.weights["posterior"] | weights, "prior": {"F2": 3.0}}
    weights = jax.tree.map(jnp.float32, weights)
    return state.replace(multipliers=multipliers.replace(weights=weights))


@pytest.mark.parametrize("kind, devices", [(None, 1), *KINDS[:2]])
def test_multipliers_follow_the_violations_of_the_whole_batch(full_batch, kind, devices):
    """They weigh the step that they see, and change for the next, the same on every device."""
    state, index, *_ = full_batch
    state, steps = ruled(state, number=2.5), functools.partial(train_steps, **RULED)
    run = jax.jit(steps) if kind is None else data_parallel(steps, kind=kind)
    start = (state, IMAGES) if kind is None else replicate((state, IMAGES))
    after, metrics = run(*start, index[None], Schedule({}))
    weights = {"F2": 1.0, "number": 2.5, "balance": 1.0, "possible": 1.0}
    objective, terms = elbo_with_penalty(
        state.params,
        jax.random.fold_in(state.key, 0),
        IMAGES[index],
        weights,
        model=MODEL,
        constraints=CONSTRAINTS,
        prior_weights={"F2": 3.0},
    )
    np.testing.assert_allclose(metrics["loss"], [-objective], rtol=1e-5)
    seen = {"posterior": terms.constraints, "prior": terms.prior_constraints}
    expected = RULE.update(
        state.multipliers, jax.tree.map(lambda f: np.maximum(np.asarray(f), 0).mean(), seen)
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), after.multipliers, expected
    )
    for name, weight in (weights | {"prior_F2": 3.0}).items():
        np.testing.assert_array_equal(metrics[f"weight_{name}"], [weight])
    assert tree_max_difference(after.multipliers.weights, state.multipliers.weights) > 1e-3


def test_other_multipliers_do_not_compile_again(full_batch):
    state, index, *_ = full_batch
    step = jax.jit(functools.partial(train_step, **RULED))
    batch = IMAGES[index]
    first, _ = step(ruled(state), batch, Schedule({}))
    second, _ = step(first, batch, Schedule({}))
    assert second.multipliers.weights["posterior"] != first.multipliers.weights["posterior"]
    assert step._cache_size() == 1


def test_seeds_side_by_side_have_multipliers_of_their_own(full_batch):
    _, index, *_ = full_batch
    states = [ruled(state_of(SGD["tx"], 3)), ruled(state_of(SGD["tx"], 4), F2=9.0)]
    indices = np.stack([index, index[::-1]], axis=-1)[None]
    together, _ = jax.jit(functools.partial(train_seeds, **RULED))(
        jax.tree.map(lambda *x: jnp.stack(x), *states), IMAGES, indices, Schedule({})
    )
    alone = jax.jit(functools.partial(train_steps, **RULED))
    for s, state in enumerate(states):
        expected, _ = alone(state, IMAGES, indices[..., s], Schedule({}))
        jax.tree.map(
            lambda a, b, s=s: np.testing.assert_allclose(a[s], b, rtol=1e-4),
            together.multipliers,
            expected.multipliers,
        )


SLOWLY = SGD | {"tx": optax.sgd(1e-4)}  # what rounds differently does not grow in three steps


@pytest.mark.parametrize("kind", [None, "pmap", "shard_map"])
def test_seeds_side_by_side_are_the_runs_one_by_one(kind, one_by_one):
    indices, schedules, states, alone = one_by_one
    seeds = functools.partial(train_seeds, **SLOWLY)
    run = jax.jit(seeds) if kind is None else data_parallel(seeds, kind=kind)
    start = jax.tree.map(lambda *x: jnp.stack(x), *states), IMAGES
    schedule = jax.tree.map(lambda *x: np.stack(x), *schedules)
    together, metrics = run(*(start if kind is None else replicate(start)), indices, schedule)
    for s, (after, values) in enumerate(alone):
        mine = jax.tree.map(lambda x, s=s: x[s], together)
        moved = tree_max_difference(after.params, states[s].params)
        assert tree_max_difference(mine.params, after.params) < 1e-4 * moved
        assert int(mine.step) == 3 and (mine.key == after.key)
        for name, value in values.items():
            assert metrics[name].shape == (2, 3)
            np.testing.assert_allclose(metrics[name][s], value, rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.fixture(scope="module")
def one_by_one():
    """(indices, schedules, states, results) of two runs that differ in all that they can."""
    states = [state_of(SLOWLY["tx"], seed) for seed in (3, 4)]
    indices = np.random.default_rng(5).integers(0, 32, (3, 16, 2))
    schedules = [Schedule(constant(3, **WEIGHTS | {"F2": weight})) for weight in (1.0, 7.0)]
    one = jax.jit(functools.partial(train_steps, **SLOWLY))
    alone = [one(states[s], IMAGES, indices[..., s], schedules[s]) for s in range(2)]
    assert np.all(np.abs(alone[0][1]["loss"] - alone[1][1]["loss"]) > 1e-2)
    return indices, schedules, states, alone


def test_many_steps_in_one_dispatch_are_the_same_steps():
    """Each with what the schedule says of it."""
    static = SGD | dict(
        model=small_model(prior="fixed", **TINY),
        tx=optimizer(OptimizerConfig(warmup=2), 20),
    )
    state = state_of(static["tx"], 3)
    indices = np.random.default_rng(2).integers(0, 32, (3, 4))
    ramp, log_odds = np.float32([0.0, 0.5, 1.0]), np.float32([9.2, 0.0, -20.0])
    schedule = Schedule({name: ramp * weight for name, weight in WEIGHTS.items()}, log_odds)
    together, metrics = jax.jit(functools.partial(train_steps, **static))(
        state, IMAGES, indices, schedule
    )
    one = jax.jit(functools.partial(train_step, **static))
    for t in range(3):
        before, batch = state, IMAGES[indices[t]] / np.float32(255)
        of_step = jax.tree.map(lambda x, t=t: x[t], schedule)
        state, values = one(state, batch, of_step)
        for name, value in values.items():
            np.testing.assert_allclose(metrics[name][t], value, rtol=1e-4, atol=1e-5, err_msg=name)
        # The geometric prior over n = 0, 1 is that of the step: its KL, in float64.
        keys = image_keys(key=jax.random.fold_in(before.key, t))
        logits = np.float64(MODEL.posterior(before.params, keys, batch).presence_logits[:, 0])
        log_q, log_p = (log_expit([-x, x]) for x in (logits, np.full(4, log_odds[t])))
        kl_count = np.sum(np.exp(log_q) * (log_q - log_p), axis=0).mean()
        # A KL near 0 is a sum of numbers near 1 that cancel: exact to their rounding, not its own.
        np.testing.assert_allclose(metrics["kl_count"][t], kl_count, rtol=1e-5, atol=3e-7)
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
    steps = functools.partial(train_steps, model=MODEL, constraints=(), tx=tx)
    _, metrics = jax.jit(steps)(state, squares, rng.integers(0, 64, (400, 16)), Schedule({}))
    assert np.mean(metrics["nelbo"][-20:]) < 0.5 * np.mean(metrics["nelbo"][:10])


def test_the_same_seed_gives_the_same_start_and_another_seed_another():
    tx = optax.sgd(1.0)
    a, b, c = (init_state(MODEL, tx, seed) for seed in (0, jax.random.key(0), 1))
    assert tree_max_difference(a.params, b.params) == 0 and a.key == b.key
    assert tree_max_difference(a.params, c.params) > 0 and a.key != c.key


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


def test_a_batch_that_does_not_divide_is_refused_with_the_nearest_that_do():
    run = data_parallel(lambda *_, axis_name: None, devices=jax.devices())
    with pytest.raises(ValueError, match="batch_size=12 does not divide over 8 devices: take 8 or"):
        run(None, None, np.zeros((1, 12), int), Schedule({}))
    with pytest.raises(ValueError, match="batch_size=5 does not divide over 8 devices: take 8$"):
        parallel.check("auto", 5, 8)
    for batch in (8, 16):
        parallel.check("auto", batch, 8)


def test_unknown_ways_over_devices_are_refused_with_those_that_there_are():
    with pytest.raises(ValueError, match="parallel must be one of auto, pmap, shard_map, got 'x'"):
        data_parallel(lambda: None, kind="x")
    with pytest.raises(ValueError, match="placement must be one of replicated, sharded, got 'x'"):
        data_parallel(lambda: None, placement="x")
    with pytest.raises(ValueError, match="got placement='sharded': take parallel=shard_map"):
        data_parallel(lambda: None, kind="pmap", placement="sharded")
    data_parallel(lambda: None, kind="shard_map", placement="sharded")
