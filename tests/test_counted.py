"""Counts that are known for some images: what they cost, and how they get there."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import asr_jax
from asr_jax import parallel
from asr_jax.constraints.number import counted
from configs import mnist13
from data_gen.scenes import Scenes
from experiments.run import evaluation, multipliers
from experiments.run.from_config import from_config
from tests.small import BATCH, image_keys, small_images, small_model, small_params

COUNTS = np.array([2, -1, 0, 3], np.int32)
CONSTRAINTS = (asr_jax.counted_constraint(), *asr_jax.number_constraints((1, 2)))


@pytest.fixture(scope="module")
def setting():
    model = small_model()
    return model, small_params(model), small_images()


def test_the_constraint_is_the_surprise_of_the_known_count(setting):
    """Enumerated in float64; where no count is known, it and its gradient are 0."""
    model, params, images = setting
    posterior = model.posterior(params, image_keys(), images)
    more = 1 / (1 + np.exp(-np.asarray(posterior.presence_logits, np.float64)))
    found = counted(posterior.replace(known_count=jnp.asarray(COUNTS)), (12, 12))
    for value, n, u in zip(found, COUNTS, more, strict=True):
        q = [np.prod(u[:k]) * (1 - u[k] if k < 3 else 1) for k in range(4)]
        assert value == pytest.approx(-np.log(q[n]) if n >= 0 else 0.0, rel=1e-5)
    assert not counted(posterior, (12, 12)).any()

    def total(logits):
        known = posterior.replace(presence_logits=logits, known_count=jnp.asarray(COUNTS))
        return counted(known, (12, 12)).sum()

    gradient = jax.grad(total)(posterior.presence_logits)
    assert not gradient[1].any() and np.abs(np.asarray(gradient)[[0, 2, 3]]).max(1).all()


def test_counts_reach_the_objective_and_change_nothing_else(setting):
    model, params, images = setting
    of = functools.partial(asr_jax.elbo_with_penalty, model=model, constraints=CONSTRAINTS)
    without, plain = of(params, jax.random.key(0), images)
    objective, terms = of(params, jax.random.key(0), images, counts=COUNTS)
    surprise = np.asarray(terms.constraints["counted"])
    assert (surprise > 0).tolist() == [True, False, True, True]
    assert not plain.constraints["counted"].any()
    assert float(objective) == pytest.approx(float(without) - 10 * surprise.mean(), rel=1e-5)
    # Two programs, which may round the last bits of a float32 in their own ways.
    np.testing.assert_allclose(terms.elbo, plain.elbo, rtol=1e-6)
    number, same = (found.constraints["number"] for found in (terms, plain))
    np.testing.assert_allclose(number, same, rtol=1e-6)
    with pytest.raises(
        ValueError, match=r"counts must have shape \(4,\), one an image, got \(3,\)"
    ):
        of(params, jax.random.key(0), images, counts=COUNTS[:3])


def steps_of(setting, images, indices, **how):
    """Parameters and the metric `counted` after a step of plain ascent, on some devices."""
    model, params, _ = setting
    tx = optax.sgd(1e-2)
    state = asr_jax.init_state(model, tx, 0).replace(params=params)
    weights = {c.name: np.full(len(indices), c.weight, np.float32) for c in CONSTRAINTS}
    steps = functools.partial(asr_jax.train_steps, model=model, constraints=CONSTRAINTS, tx=tx)
    devices = jax.devices()[: how.pop("devices")]
    program = parallel.data_parallel(steps, devices=devices, **how)
    state, metrics = program(state, images, indices, asr_jax.Schedule(weights))
    return jax.device_get((state.params, metrics["counted"]))


@pytest.mark.parametrize("kind", ["auto", "shard_map"])
def test_each_image_of_a_batch_keeps_its_count(setting, kind):
    """On one device and on two, shuffled: as the objective says of the very images."""
    model, params, images = setting
    order = np.array([[2, 0, 3, 1]])
    data = asr_jax.Counted(images, COUNTS)
    updated, metric = steps_of(setting, data, order, devices=1)
    key = jax.random.fold_in(asr_jax.init_state(model, optax.sgd(1), 0).key, 0)
    (_, terms), gradient = jax.value_and_grad(asr_jax.elbo_with_penalty, has_aux=True)(
        params, key, images[order[0]], counts=COUNTS[order[0]], model=model, constraints=CONSTRAINTS
    )
    assert metric[0] == pytest.approx(float(terms.constraints["counted"].mean()), rel=1e-5)
    expected = jax.tree.map(lambda p, g: p + 1e-2 * g, params, gradient)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), updated, expected)
    other, shared = steps_of(setting, data, order, devices=2, kind=kind)
    assert shared[0] == pytest.approx(metric[0], rel=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), updated, other)


def test_images_with_counts_are_divided_over_devices():
    data = asr_jax.Counted(np.zeros((8, 3, 4), np.uint8), np.arange(8))
    placed = parallel.shard(data)
    assert [shard.data.shape for shard in placed.images.addressable_shards] == [(1, 3, 4)] * 8
    assert [int(shard.data[0]) for shard in placed.count.addressable_shards] == list(range(8))


def test_evaluation_says_what_is_known_of_all(setting):
    model, params, images = setting
    count = np.array([2, 1, 0, 3])
    found = asr_jax.evaluate(
        params, jax.random.key(0), images, count, model=model, constraints=CONSTRAINTS
    )
    # It comes from a sample of the posterior, whose later steps see the earlier ones.
    _, terms = asr_jax.elbo_with_penalty(
        params, jax.random.key(0), images, counts=count, model=model, constraints=CONSTRAINTS
    )
    np.testing.assert_allclose(found["counted"], terms.constraints["counted"], rtol=1e-4)
    assert len(found["counted"]) == BATCH


def test_a_run_is_measured_where_counts_are_known(monkeypatch):
    """By hand: two of three known counts are right, and what the wrong one costs."""
    found = {
        "count": np.array([2, 1, 0, 1]),
        "count_probs": np.array(
            [[0.1, 0.2, 0.7], [0.1, 0.8, 0.1], [0.6, 0.2, 0.2], [0.0, 0.75, 0.25]]
        ),
        "nelbo": np.arange(4.0),
        **{name: np.zeros(4) for name in ("number", "counted", "F6", "side")},
    }
    given = []
    monkeypatch.setattr(
        asr_jax, "evaluate", lambda *arguments, **_: given.append(arguments[3]) or dict(found)
    )
    config = mnist13.get_config()
    config.constraints.tolerances = {"counted": 0.001}
    run = multipliers.with_found(from_config(config), None)
    known = Scenes(np.zeros((4, 50, 50), np.uint8), np.array([2, -1, 0, 2]), None, None, None)
    result = evaluation.explanations(run, known, params=None, seed=0)
    assert given == [None] and "counts" not in result  # those are of images that all are counted
    assert result["acc"] == pytest.approx(2 / 3)
    cost = -(np.log(0.7) + np.log(0.6) + np.log(0.25)) / 4
    assert result["counted"] == pytest.approx(cost)
    assert result["penalty"] == pytest.approx(10 * cost)
