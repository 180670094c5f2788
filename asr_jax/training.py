"""Training: the state, the per-device step, and many steps in one dispatch."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import optax
from flax import struct

from asr_jax.constraints.base import Constraint
from asr_jax.model import Model, Params
from asr_jax.objective import elbo_with_penalty

SCHEDULES = ("cosine", "constant")


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """Adam with warm-up, decay, decoupled weight decay and clipping by the global norm.

    Raises:
      ValueError: when a value breaks its rule; the message names both.
    """

    learning_rate: float = 1e-3
    schedule: str = "cosine"  # after the warm-up: "cosine" decay to 0, or "constant"
    warmup: int = 300  # steps of linear warm-up
    clip: float = 1000.0  # largest global norm of the gradient, nats; 0: no clipping
    weight_decay: float = 0.1  # decoupled, as in AdamW, and scaled by the learning rate
    b1: float = 0.9
    b2: float = 0.999

    def __post_init__(self):
        if self.schedule not in SCHEDULES:
            raise ValueError(
                f"optimizer.schedule must be one of {', '.join(SCHEDULES)}, got {self.schedule!r}"
            )
        if not 0 < self.learning_rate < float("inf"):
            raise ValueError(
                f"optimizer.learning_rate must be > 0 and finite, got {self.learning_rate}"
            )
        for field in ("warmup", "clip", "weight_decay"):
            if not 0 <= getattr(self, field) < float("inf"):
                raise ValueError(
                    f"optimizer.{field} must not be negative, and finite, got "
                    f"{getattr(self, field)}"
                )
        for field in ("b1", "b2"):  # 1 - b^step divides, and is 0 in float32 where b is nearer to 1
            if not 0 <= getattr(self, field) <= 0.999999:
                raise ValueError(
                    f"optimizer.{field} must lie in [0, 0.999999], got {getattr(self, field)}"
                )


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


@struct.dataclass
class Schedule:
    """What may change from step to step without compiling again; [] each, or [n] for n steps."""

    weights: dict[str, jax.Array]  # constraint name -> multiplier
    presence_prior: jax.Array | None = None  # log-odds of the geometric prior; None: the model's
    prior_weights: dict[str, jax.Array] | None = None  # the same for samples of the prior


def init_state(model: Model, tx: optax.GradientTransformation, seed: int) -> TrainState:
    """The state before the first step; parameters and all later noise follow from the seed."""
    key_init, key_steps = jax.random.split(jax.random.key(seed))
    params = model.init(key_init)
    return TrainState(jnp.zeros((), jnp.int32), params, tx.init(params), key_steps)


def train_step(
    state: TrainState,
    images: jax.Array,
    schedule: Schedule,
    *,
    model: Model,
    constraints: tuple[Constraint, ...],
    tx: optax.GradientTransformation,
    axis_name: str | None = None,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """One gradient step on this device's share of the batch.

    Args:
      state: the same on every device.
      images: [b, H, W] in [0, 1], this device's share.
      schedule: of this step.
      axis_name: the mapped axis over devices; gradients and metrics are averaged over it.

    Returns:
      The next state, and scalar metrics of this step (means over the whole batch).
    """

    def loss(params):
        key = jax.random.fold_in(state.key, state.step)
        objective, terms = elbo_with_penalty(
            params,
            key,
            images,
            schedule.weights,
            model=model,
            constraints=constraints,
            presence_prior=schedule.presence_prior,
            prior_weights=schedule.prior_weights,
            axis_name=axis_name,
        )
        return -objective, terms

    (value, terms), gradient = jax.value_and_grad(loss, has_aux=True)(state.params)
    metrics = {"loss": value} | _metrics(terms)
    if axis_name is not None:
        gradient, metrics = jax.lax.pmean((gradient, metrics), axis_name)
    metrics["gradient_norm"] = optax.tree.norm(gradient)
    updates, opt_state = tx.update(gradient, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    return TrainState(state.step + 1, params, opt_state, state.key), metrics


def train_steps(
    state: TrainState,
    images: jax.Array,
    indices: jax.Array,
    schedule: Schedule,
    **static,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """As many steps as there are rows of indices, in one dispatch.

    Args:
      state: as in `train_step`, and so are the keyword arguments.
      images: [N, H, W] uint8, the data set, on the device.
      indices: [n, b] which images each step sees.
      schedule: of these steps, [n] each.

    Returns:
      The state after n steps, and the metrics of each step, [n].
    """

    def step(state, inputs):
        index, schedule = inputs
        batch = images[index].astype(jnp.float32) / 255
        return train_step(state, batch, schedule, **static)

    return jax.lax.scan(step, state, (indices, schedule))


def train_seeds(
    state: TrainState, images: jax.Array, indices: jax.Array, schedule: Schedule, **static
) -> tuple[TrainState, dict[str, jax.Array]]:
    """`train_steps` of S runs that differ in their seed, side by side in one program.

    Args:
      state: of every run, its arrays with a leading axis [S].
      images: [N, H, W] uint8, shared.
      indices: [n, b, S] which images each step of each run sees.
      schedule: shared, [n].

    Returns:
      The states [S] and the metrics of each step, [S, n].
    """
    steps = functools.partial(train_steps, **static)
    return jax.vmap(steps, in_axes=(0, None, 2, None))(state, images, indices, schedule)


def _metrics(terms) -> dict[str, jax.Array]:
    """Batch means of the objective's terms; `nelbo` is the negative ELBO."""
    means = jax.tree.map(jnp.mean, terms)
    values = {f.name: getattr(means, f.name) for f in dataclasses.fields(means)}
    constraints, elbo = values.pop("constraints"), values.pop("elbo")
    return {"nelbo": -elbo} | values | constraints
