"""Where a step's time goes: each part compiled on its own, so that they do not add up exactly."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax

import asr_jax
from asr_jax import training as asr_training
from asr_jax.compositing import canvases
from asr_jax.constraints.base import penalty, values
from asr_jax.generative import log_likelihood
from benchmarks import timing
from benchmarks.cases import Case, Training, training

NAMES = ("mnist3", "mnist14")


def cases(quick: bool) -> dict[str, Case]:
    return {name: Case(name) for name in (NAMES[:1] if quick else NAMES)}


def measure(case: Case, quick: bool) -> dict[str, float]:
    """Milliseconds of each part of a step on one batch; backward and optimiser as differences."""
    times = timing.together(calls(training(case)), 2 if quick else 3 * timing.REPEATS)
    ms = {f"{name} ms": 1e3 * value for name, value in times.items()}
    forward, gradient = ms.pop("forward ms"), ms.pop("gradient ms")
    return ms | {"all forward ms": forward, "backward ms": gradient - forward}


def calls(setting: Training) -> dict[str, object]:
    """part -> a call of it, with what it needs from the parts before it computed already."""
    model, params, images = setting.model, setting.state.params, setting.batch()
    key, config = jax.random.key(0), setting.model.config
    keys = jax.random.split(key, len(images))
    _, schedule = setting.inputs(1)
    schedule = jax.tree.map(lambda x: jnp.asarray(x)[0], schedule)
    static = dict(model=model, constraints=setting.constraints)
    weights, prior_weights = asr_training.weights_of(setting.state, schedule)
    posterior = model.posterior(params, keys, images)
    layers = model.layers(params, posterior.latents)

    @jax.jit
    def likelihood(layers, images):
        return log_likelihood(images, canvases(layers, None, config.counts), config)

    @jax.jit
    def penalise(posterior):
        found = values(setting.constraints, posterior, config.canvas)
        return penalty(found, weights)

    @jax.jit
    def objective(params):
        return asr_jax.elbo_with_penalty(
            params,
            key,
            images,
            weights,
            presence_prior=schedule.presence_prior,
            prior_weights=prior_weights,
            **static,
        )

    gradient = jax.jit(jax.grad(objective, has_aux=True))
    slopes, _ = gradient(params)

    @jax.jit
    def optimise(slopes, state):
        updates, opt_state = setting.tx.update(slopes, state.opt_state, state.params)
        return optax.apply_updates(state.params, updates), opt_state

    step = jax.jit(lambda state: asr_training.train_step(state, images, schedule, **setting.static))
    return {
        "posterior": lambda: model.posterior(params, keys, images),
        "prior": lambda: model.prior(params, posterior.latents),
        "render": lambda: model.layers(params, posterior.latents),
        "likelihood": lambda: likelihood(layers, images),
        "penalty": lambda: penalise(posterior),
        "forward": lambda: objective(params),
        "gradient": lambda: gradient(params),
        "optimiser": lambda: optimise(slopes, setting.state),
        "step": lambda: step(setting.state),
    }
