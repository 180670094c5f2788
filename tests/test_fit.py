"""A whole training in one call: the steps of a run, multipliers, what a caller may ask and stop."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from asr_jax import (
    Constraint,
    OptimizerConfig,
    Schedule,
    dual,
    elbo_with_penalty,
    fit,
    fixed,
    init_state,
    number_constraints,
    optimizer,
    overlap_constraints,
    train_steps,
)
from asr_jax.constraints import default_weights
from tests.small import small_images, small_model, small_params, tree_max_difference

TINY = dict(max_objects=1, encoder="raw", hidden=(8,))  # a gradient takes long to compile
MODEL = small_model(**TINY)
KNOWN = small_model(**TINY, count=1)
IMAGES = (small_images(20) * 255).astype(np.uint8)
SIZE = overlap_constraints(2.0, 5.0)[5]  # F6
STILL = optax.set_to_zero()


def always(posterior, canvas):
    """Violated by 1 in every image."""
    return jnp.ones(len(posterior.presence_logits))


def never(posterior, canvas):
    return -always(posterior, canvas)


VIOLATED = Constraint("always", always, weight=2.0, tolerance=0.1)
HELD = Constraint("never", never, weight=3.0, tolerance=0.1)


def quick(images=IMAGES, **changes):
    """A fit of four steps of eight images."""
    settings = dict(model=KNOWN, steps=4, batch_size=8, log_every=4, progress=False)
    return fit(images, **(settings | changes))


def same(a, b):
    return tree_max_difference(a, b) == 0.0


@pytest.fixture(scope="module")
def fitted():
    return quick(constraints=(SIZE,))


def test_it_equals_a_loop_of_train_steps_bit_for_bit():
    """Three steps in dispatches of two and one: batches, counts mixed and multipliers by hand."""
    constraints, config = (SIZE, *number_constraints((0, 1))), OptimizerConfig(learning_rate=1e-2)
    params, history = quick(
        model=MODEL,
        constraints=constraints,
        steps=3,
        batch_size=12,
        log_every=2,
        seed=5,
        optimizer=config,
        count_mix_until=0.5,
    )
    tx = optimizer(config, 3)
    tolerances = dict(F6=0.05, number=0.02, balance=0.02, possible=0.0001)
    rule = dual({"posterior": tolerances, "prior": {}})
    run = jax.jit(
        functools.partial(train_steps, model=MODEL, constraints=constraints, tx=tx, rule=rule)
    )
    # 36 images: an epoch of all 20, and 16 of the next.
    order = [np.random.default_rng((5, epoch)).permutation(20) for epoch in (0, 1)]
    indices = np.concatenate(order)[:36].reshape(3, 12)
    state, mix = init_state(MODEL, tx, 5, rule), np.float32([1, 1 / 3, 0])
    state, one = run(state, IMAGES, indices[:2], Schedule({}, count_mix=mix[:2]))
    state, two = run(state, IMAGES, indices[2:], Schedule({}, count_mix=mix[2:]))
    assert same(params, state.params)
    assert history["step"].tolist() == [2, 3] and set(history) == {"step", *one}
    for name, values in one.items():
        expected = np.float32(values).mean(), np.float32(two[name])[0]
        np.testing.assert_array_equal(history[name], np.float64(expected), err_msg=name)


def test_equal_seeds_are_equal_bit_for_bit_and_others_are_not(fitted):
    params, history = quick(constraints=(SIZE,))
    assert same(params, fitted[0])
    assert all(np.array_equal(history[name], fitted[1][name]) for name in history)
    assert not same(quick(constraints=(SIZE,), seed=1)[0], fitted[0])


def test_the_objective_of_images_rises_and_the_loss_falls():
    """Measured apart from the training, with the same noise before and after; all images a step."""
    config, start = OptimizerConfig(learning_rate=1e-2, warmup=0), small_params(KNOWN)
    params, history = quick(params=start, optimizer=config, steps=60, log_every=20, batch_size=20)
    key = jax.random.key(9)
    before, after = (elbo_with_penalty(p, key, IMAGES, model=KNOWN)[0] for p in (start, params))
    assert after > before + 5  # nats
    assert (np.diff(history["loss"]) < 0).all()
    assert history["step"].tolist() == [20, 40, 60]
    np.testing.assert_allclose(history["loss"], history["nelbo"], rtol=1e-5)  # no constraints


def test_multipliers_follow_the_tolerances_by_default():
    """By hand, where F is constant: e is 1 after the first step, so log w goes up by the damping
    and the rate, 0.3 + 0.01, and by 0.01 then; what holds gets cheaper."""
    _, history = quick(constraints=(VIOLATED, HELD), log_every=1)
    expected = np.exp([0, 0.31, 0.32, 0.33])
    np.testing.assert_allclose(history["weight_always"], expected, rtol=1e-5)
    assert (np.diff(history["weight_never"]) < 0).all() and history["weight_never"][0] == 1
    np.testing.assert_allclose(history["penalty"], expected, rtol=1e-5)  # times F = 1


def test_fixed_multipliers_are_what_the_constraints_carry_along_their_ramps():
    ramped = Constraint("ramped", always, weight=4.0, ramp=(0.0, 0.5))
    _, history = quick(constraints=(VIOLATED, HELD, ramped), multipliers="fixed", log_every=1)
    # Before the four steps lie 0, 1/4, 1/2 and 3/4 of the run.
    np.testing.assert_allclose(history["penalty"], 2.0 + np.array([0, 2, 4, 4]), rtol=1e-6)
    assert not any(name.startswith("weight_") for name in history)


def test_a_rule_of_the_callers():
    weights = {"posterior": {"always": 7.0}, "prior": {}}
    _, history = quick(constraints=(VIOLATED,), multipliers=fixed(weights), log_every=2)
    assert history["penalty"].tolist() == history["weight_always"].tolist() == [7.0, 7.0]


def test_parameters_to_begin_with():
    """An optimiser that does not move returns them, and the first loss is theirs."""
    start = small_params(KNOWN, 3)
    params, history = quick(
        params=start, optimizer=STILL, constraints=(SIZE,), multipliers="fixed", steps=1
    )
    assert same(params, start)
    batch = IMAGES[np.random.default_rng((0, 0)).permutation(20)[:8]]
    _, of_steps = jax.random.split(jax.random.key(0))
    objective, _ = elbo_with_penalty(
        start,
        jax.random.fold_in(of_steps, 0),
        batch,
        default_weights((SIZE,)),
        model=KNOWN,
        constraints=(SIZE,),
    )
    np.testing.assert_allclose(history["loss"], [-objective], rtol=1e-5)


def test_a_callback_sees_every_dispatch_and_may_stop():
    seen = []

    def stop_at_two(step, params, metrics):
        seen.append((step, params, metrics))
        return step == 2

    params, history = quick(log_every=1, callback=stop_at_two)
    assert [step for step, _, _ in seen] == history["step"].tolist() == [1, 2]
    assert same(params, seen[-1][1]) and not same(params, seen[0][1])
    assert {name: [row[name] for *_, row in seen] for name in seen[0][2]} == {
        name: values.tolist() for name, values in history.items() if name != "step"
    }
    _, history = quick(log_every=2, callback=lambda *_: None)
    assert history["step"].tolist() == [2, 4]


def test_the_bar_shows_the_negative_elbo_and_can_be_silent(capsys):
    _, history = quick(progress=True)
    shown = capsys.readouterr()
    assert "4/4" in shown.out and f"nELBO={history['nelbo'][0]:.1f}" in shown.out
    quick()
    assert capsys.readouterr().out == ""


def test_a_loss_that_is_not_finite_ends_it_and_says_when():
    with pytest.raises(FloatingPointError, match="is not finite at step [234]: .* learning rate"):
        quick(optimizer=optax.sgd(1e30))


UNTOLERANT = Constraint("always", always)
BAD = {
    "images": (dict(images=IMAGES[0]), "images must have shape"),
    "steps": (dict(steps=0), "steps must be a whole number from 1 to 2147483647, got 0"),
    "half": (dict(steps=1.5), "steps must be a whole number from 1"),
    "batch": (dict(batch_size=21), "batch_size must be a whole number from 1 to 20, the 20 images"),
    "seed": (dict(seed=-1), "seed must be a whole number from 0"),
    "log": (dict(log_every=0), "log_every must be a whole number from 1"),
    "mix": (dict(count_mix_until=2), "count_mix_until must be a fraction of the steps"),
    "word": (dict(multipliers="free"), "multipliers must be 'dual', 'fixed' or a rule, got 'free'"),
    "flat": (dict(multipliers=fixed({"F6": 1.0})), r"a rule over .* got one over \['F6'\]"),
    "tolerance": (dict(constraints=(UNTOLERANT,)), "the tolerance of 'always' must be above 0"),
    "twice": (dict(constraints=(SIZE, SIZE)), "two constraints are named 'F6'"),
    "optimizer": (dict(optimizer=1e-3), "optimizer must be an OptimizerConfig or an optax transf"),
    "params": (dict(params=small_params(MODEL)), r"params\[.*\] must have shape"),
    "path": (dict(images="x.npy"), "images must be an array, got 'x.npy': load it first"),
    "callback": (dict(callback=1), "callback must be a function, or None, got 1"),
    "mix text": (dict(count_mix_until="x"), "count_mix_until must be a fraction .* got 'x'"),
    "one": (
        dict(constraints="F6"),
        "constraints must be a sequence of asr_jax.Constraint, got",
    ),
    "bare": (
        dict(constraints=always),
        "constraints must be a sequence of asr_jax.Constraint, got",
    ),
    "silent": (
        dict(constraints=(Constraint("silent", lambda *_: None, tolerance=1.0),)),
        "the functional of 'silent' must return an array, got None: compute it with jax.numpy",
    ),
    "config": (
        dict(model=MODEL.config),
        "model must be an asr_jax.Model, got ModelConfig.*Model",
    ),
    "none": (dict(params={}), r"params\[.*\] must have shape .* got \(none\)"),
}


@pytest.mark.parametrize("changes, message", BAD.values(), ids=BAD.keys())
def test_bad_input_is_one_error_of_one_line(changes, message):
    model = {"model": small_model(**TINY, appearance=3)} if "params" in changes else {}
    with pytest.raises(ValueError, match=message) as error:
        quick(**(model | changes))
    assert "\n" not in str(error.value)


def test_a_bright_background_is_warned_of():
    with pytest.warns(UserWarning, match="bright background"):
        quick(255 - IMAGES, steps=1)
