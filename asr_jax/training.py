"""Training: the state, the per-device step, and many steps in one dispatch."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from jax.flatten_util import ravel_pytree

from asr_jax.config import OptimizerConfig
from asr_jax.constraints.base import Constraint
from asr_jax.constraints.multipliers import Multipliers, Rule, violations
from asr_jax.model import Model, Params
from asr_jax.objective import elbo_with_penalty
from asr_jax.types import Counted

PRIOR = "prior_"  # before the name of a constraint: F of the prior's places
WEIGHT = "weight_"  # before the name of a constraint: its multiplier, where a rule sets it


def optimizer(config: OptimizerConfig, steps: int) -> optax.GradientTransformation:
    """The optax transformation for a run of `steps` steps; the warm-up takes half at most."""
    warmup = min(config.warmup, steps // 2)
    if config.schedule == "cosine":
        rate = optax.warmup_cosine_decay_schedule(0, config.learning_rate, warmup, steps)
    elif warmup:
        rate = optax.warmup_constant_schedule(0, config.learning_rate, warmup)
    else:  # that schedule would stay at its start, which is 0
        rate = config.learning_rate
    clip = optax.clip_by_global_norm(config.clip) if config.clip else optax.identity()
    adam = optax.adamw(rate, config.b1, config.b2, weight_decay=config.weight_decay)
    return optax.chain(clip, adam)


@struct.dataclass
class TrainState:
    """Everything a run needs to go on."""

    step: jax.Array  # [] steps taken
    params: Params
    opt_state: optax.OptState
    key: jax.Array  # [] the run's key; step s uses fold_in(key, s)
    # Of a rule over {"posterior": {name: ...}, "prior": {...}}; None: weights are the schedule's.
    multipliers: Multipliers | None = None


@struct.dataclass
class Schedule:
    """What may change from step to step without compiling again; [] each, or [n] for n steps."""

    weights: dict[str, jax.Array]  # constraint name -> multiplier
    presence_prior: jax.Array | None = None  # log-odds of the geometric prior; None: the model's
    prior_weights: dict[str, jax.Array] | None = None  # the same for the prior's places
    count_mix: jax.Array | None = None  # share of all counts alike in q(n); None: of q(n) alone


def init_state(
    model: Model,
    tx: optax.GradientTransformation,
    seed: int | jax.Array,
    rule: Rule | None = None,
    params: Params | None = None,
) -> TrainState:
    """The state before the first step; parameters and all later noise follow from the seed.

    `seed` is a number, or a random key. `rule`: of the multipliers, if they set themselves.
    `params`: to begin with, instead of fresh ones.
    """
    key = jax.random.key(seed) if isinstance(seed, int) else seed
    key_init, key_steps = jax.random.split(key)
    params = model.init(key_init) if params is None else params
    multipliers = None if rule is None else rule.init()
    return TrainState(jnp.zeros((), jnp.int32), params, tx.init(params), key_steps, multipliers)


def train_step(
    state: TrainState,
    images: jax.Array,
    schedule: Schedule,
    *,
    model: Model,
    constraints: tuple[Constraint, ...],
    tx: optax.GradientTransformation,
    rule: Rule | None = None,
    counts: jax.Array | None = None,
    axis_name: str | None = None,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """One gradient step on this device's share of the batch.

    Args:
      state: the same on every device.
      images: [b, H, W(, 3)], this device's share: uint8, or floats in [0, 1].
      schedule: of this step.
      model, constraints, tx: static.
      rule: of the state's multipliers, static; it sees the violations of the whole batch.
      counts: [b], as in `elbo_with_penalty`.
      axis_name: the mapped axis over devices; gradients and metrics are averaged over it.

    Returns:
      The next state, and scalar metrics of this step (means over the whole batch).

    Raises:
      ValueError: images that do not fit the model.
    """
    weights, prior_weights = weights_of(state, schedule)
    (objective, terms), gradient = jax.value_and_grad(elbo_with_penalty, has_aux=True)(
        state.params,
        jax.random.fold_in(state.key, state.step),
        images,
        weights,
        model=model,
        constraints=constraints,
        presence_prior=schedule.presence_prior,
        count_mix=schedule.count_mix,
        prior_weights=prior_weights,
        counts=counts,
        axis_name=axis_name,
    )
    metrics = {"loss": -objective} | _metrics(terms)
    violated = None
    if rule is not None:
        seen = {"posterior": terms.constraints, "prior": terms.prior_constraints}
        violated = violations(seen)
    if axis_name is not None:
        # One reduction for all: a metric that is constant would get one of its own.
        scalars, restore = ravel_pytree((metrics, violated))
        gradient, scalars = jax.lax.pmean((gradient, scalars), axis_name)
        metrics, violated = restore(scalars)
    multipliers = state.multipliers
    if rule is not None:
        metrics |= {WEIGHT + name: value for name, value in weights.items()}
        metrics |= {WEIGHT + PRIOR + name: value for name, value in prior_weights.items()}
        multipliers = rule.update(multipliers, violated)
    descent = jax.tree.map(jnp.negative, gradient)  # the objective is maximised
    metrics["gradient_norm"] = optax.tree.norm(descent)  # as the clipping has it: computed once
    updates, opt_state = tx.update(descent, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    return TrainState(state.step + 1, params, opt_state, state.key, multipliers), metrics


def weights_of(state: TrainState, schedule: Schedule) -> tuple[dict, dict | None]:
    """Weights and prior weights of a step: the state's multipliers, or else the schedule's."""
    if state.multipliers is None:
        return schedule.weights, schedule.prior_weights
    return state.multipliers.weights["posterior"], state.multipliers.weights["prior"]


def train_steps(
    state: TrainState,
    images: jax.Array | Counted,
    indices: jax.Array,
    schedule: Schedule,
    **static,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """As many steps as there are rows of indices, in one dispatch.

    Args:
      state: as in `train_step`, and so are the keyword arguments.
      images: [N, H, W(, 3)], the data set, on the device: uint8, or floats in [0, 1]; or
        `Counted`, the same with counts that are known.
      indices: [n, b] which images each step sees.
      schedule: of these steps, [n] each.

    Returns:
      The state after n steps, and the metrics of each step, [n].

    Raises:
      ValueError: images that do not fit the model.
    """
    data = images if isinstance(images, Counted) else Counted(images, None)
    images, names = static["model"].check(data.images), []

    def step(state, inputs):
        index, schedule = inputs
        counts = None if data.count is None else data.count[index]
        state, metrics = train_step(state, images[index], schedule, counts=counts, **static)
        names[:] = metrics
        return state, jnp.stack([*metrics.values()])  # as one array: each would be a kernel

    state, metrics = jax.lax.scan(step, state, (indices, schedule))
    return state, dict(zip(names, metrics.T, strict=True))


def train_seeds(
    state: TrainState, images: jax.Array | Counted, indices: jax.Array, schedule: Schedule, **static
) -> tuple[TrainState, dict[str, jax.Array]]:
    """`train_steps` of S runs that differ in their seed, side by side in one program.

    Args:
      state: of every run, its arrays with a leading axis [S].
      images: [N, H, W(, 3)], shared; or `Counted`.
      indices: [n, b, S] which images each step of each run sees.
      schedule: of every run, [S, n].

    Returns:
      The states [S] and the metrics of each step, [S, n].

    Raises:
      ValueError: images that do not fit the model.
    """
    steps = functools.partial(train_steps, **static)
    return jax.vmap(steps, in_axes=(0, None, 2, 0))(state, images, indices, schedule)


def first_non_finite(values: dict[str, np.ndarray]) -> tuple[int, str] | None:
    """The first step at which a metric [n] is not finite, and the metric that says most."""
    bad = {name: np.flatnonzero(~np.isfinite(value)) for name, value in values.items()}
    bad = {name: steps[0] for name, steps in bad.items() if len(steps)}
    if not bad:
        return None
    step = min(bad.values())
    # Sums and the gradient break with the term that broke: name the term.
    late = ("penalty", "nelbo", "loss", "gradient_norm")
    names = [name for name in bad if bad[name] == step]
    return int(step), min(names, key=lambda name: late.index(name) if name in late else -1)


def _metrics(terms) -> dict[str, jax.Array]:
    """Batch means of the objective's terms; `nelbo` is the negative ELBO."""
    means = jax.tree.map(jnp.mean, terms)
    values = {f.name: getattr(means, f.name) for f in dataclasses.fields(means)}
    if values["kl_background"] is None:
        del values["kl_background"]
    constraints, elbo = values.pop("constraints"), values.pop("elbo")
    of_prior = {PRIOR + name: value for name, value in values.pop("prior_constraints").items()}
    return {"nelbo": -elbo} | values | constraints | of_prior
