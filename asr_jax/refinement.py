"""The semi-amortised posterior: each image's places and sides, improved by the objective itself.

An amortised posterior answers at once, for all images alike, and is now and then wrong. Refinement
starts there and climbs, with the model's parameters fixed, what training maximises::

    J(m) = ELBO(x; m) - sum_i weight_i max(F_i(m), 0)

Here m are the means of shift and scale of all K steps. J is taken at the means, without noise, so
that it is one number an image. Appearance is encoded anew wherever a box goes; counts, and the
standard deviations of shift and scale, stay what they are.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from asr_jax import backgrounds, boxes, compositing, inference
from asr_jax.appearance import Appearance, depth, scopes
from asr_jax.batches import checked, in_batches
from asr_jax.bound import elbo_terms, exact
from asr_jax.config import whole
from asr_jax.constraints.base import (
    Constraint,
    check_constraints,
    check_names,
    default_weights,
    penalty,
    values,
)
from asr_jax.distributions import CountChain
from asr_jax.images import to_float
from asr_jax.model import Model, Params
from asr_jax.types import Gaussian, Latents, Noise, Posterior


class Means(NamedTuple):
    """The means of the boxes of an image's K steps: what is refined."""

    shift: jax.Array  # [B, K, 2]
    scale: jax.Array  # [B, K, 1]


Objective = Callable[[Means], jax.Array]  # -> [B], nats


def refine(
    params: Params,
    images: jax.Array,
    posterior: Posterior,
    *,
    model: Model,
    steps: int,
    moves: int,
    constraints: Sequence[Constraint],
    weights: Mapping[str, jax.Array] | None,
    learning_rate: float,
    batch_size: int | None,
) -> Posterior:
    """`Model.refine`, where arguments and errors are described."""
    images, constraints = model.check(images), check_constraints(constraints)
    weights = default_weights(constraints) if weights is None else dict(weights)
    _check(posterior, images, steps, moves, learning_rate, model.config)
    check_names([constraint.name for constraint in constraints], weights)
    checked(batch_size)
    if not steps and not moves:
        return posterior
    # Constraints on the mean of a batch would let images decide about each other.
    of_image = tuple(constraint for constraint in constraints if constraint.of_mean is None)
    return _refine(
        params,
        images,
        posterior,
        {constraint.name: weights[constraint.name] for constraint in of_image},
        learning_rate,
        model=exact(model),
        constraints=of_image,
        steps=steps,
        moves=moves,
        batch_size=batch_size,
    )


@functools.partial(
    jax.jit, static_argnames=("model", "constraints", "steps", "moves", "batch_size")
)
def _refine(
    params,
    images,
    posterior,
    weights,
    learning_rate,
    *,
    model,
    constraints,
    steps,
    moves,
    batch_size,
):
    fixed = jax.lax.stop_gradient(params)  # a search gives numbers: no gradient flows through it

    def one_batch(posterior, pixels):
        pixels, start = to_float(pixels), jax.lax.stop_gradient(posterior)

        def mean(places: Means) -> Posterior:
            q, noise = _with_means(start, places), inference.no_noise(len(pixels), model.config)
            return place(fixed, pixels, q, noise, model=model)

        def objective(places: Means) -> jax.Array:  # [B]
            q = model.decoded(fixed, mean(places))
            terms, _ = elbo_terms(fixed, q, pixels, model=model)
            found = values(constraints, q, model.config.canvas)
            return terms.elbo - penalty(found, weights)

        def unexplained(places: Means, t: jax.Array) -> jax.Array:  # [B, H, W]
            q = mean(places)
            others = CountChain(q.presence_logits).survival.at[:, t].set(0)  # [B, K]
            layers = compositing.exist(model.layers(fixed, q.latents), others)
            behind, every = model.background(fixed, q.latents), (model.config.max_objects,)
            missing = pixels - compositing.canvases(layers, behind, every)[:, 0]
            if model.config.coloured:
                return jnp.sqrt(jnp.square(missing).reshape(*pixels.shape[:3], -1).sum(-1))
            return jnp.maximum(missing, 0)

        places = Means(start.shift.loc, start.scale.loc)
        best = _move(objective, unexplained, (objective(places), places), moves)
        _, places = _climb(objective, best, steps, learning_rate)
        return place(
            params, pixels, _with_means(posterior, places), noise_of(posterior), model=model
        )

    return in_batches(one_batch, batch_size, posterior, images)


def place(
    params: Params, images: jax.Array, posterior: Posterior, noise: Noise, *, model: Model
) -> Posterior:
    """A sample of given q(shift) and q(scale), and q(appearance | glimpse) at the sampled boxes.

    Args:
      params: of the model.
      images: [B, H, W(, 3)], floats in [0, 1].
      posterior: its shift and scale are taken as they are, independent of each other.
      noise: zeros give the means, and appearance there.
      model: static.
    """
    shift = posterior.shift.loc + posterior.shift.std * noise.shift  # [B, K, 2]
    scale = posterior.scale.loc + posterior.scale.std * noise.scale  # [B, K, 1]
    look = {"params": params["inference"]["params"]["appearance"]}
    seen, scope, deep, background = images, None, None, None
    if model.config.coloured:
        seen = backgrounds.planes(images, backgrounds.median(images))
    if model.config.scoped:
        scope, covered = scopes(model.cover(params), seen, shift, scale)
        deep = depth(covered, model.config)
    if posterior.background is not None:
        background = posterior.background.loc + posterior.background.std * noise.background
    q = Appearance(model.config).apply(look, seen, shift, scale, scope)
    latents = Latents(shift, scale, q.loc + q.std * noise.appearance, background, deep)
    return posterior.replace(appearance=q, latents=latents, windows=None)


def noise_of(posterior: Posterior) -> Noise:
    """What the latents of a posterior were sampled with."""

    def of(q: Gaussian, latent: jax.Array) -> jax.Array:
        return (latent - q.loc) / q.std

    latents, background = posterior.latents, None
    if posterior.background is not None:
        background = of(posterior.background, latents.background)
    return Noise(
        presence=posterior.presence_noise,
        shift=of(posterior.shift, latents.shift),
        scale=of(posterior.scale, latents.scale),
        appearance=of(posterior.appearance, latents.appearance),
        background=background,
    )


def _check(posterior, images, steps, moves, learning_rate, config) -> None:
    for name, value in (("steps", steps), ("moves", moves)):
        if not whole([value]) or value < 0:
            raise ValueError(f"{name} must be a whole number of at least 0, got {value!r}")
    if not 0 < learning_rate < math.inf:
        raise ValueError(f"learning_rate must be > 0 and finite, got {learning_rate}")
    expected = len(images), config.max_objects
    if posterior.presence_logits.shape != expected:
        raise ValueError(
            f"the posterior must be of these images, {expected} images and steps, got "
            f"{posterior.presence_logits.shape}: take model.posterior(params, None, images)"
        )


def _with_means(posterior: Posterior, places: Means) -> Posterior:
    """The posterior with other means of shift and scale."""
    return posterior.replace(
        shift=Gaussian(places.shift, posterior.shift.std),
        scale=Gaussian(places.scale, posterior.scale.std),
    )


def _climb(objective: Objective, best, steps: int, learning_rate):
    """The best of `steps` steps of Adam and of where they start, for each image.

    Adam works on each number by itself, so images do not see each other.
    """
    adam = optax.adam(learning_rate)

    def step(carry, _):
        places, state, best = carry
        downhill, value = jax.grad(_loss, has_aux=True)(places, objective)
        updates, state = adam.update(downhill, state)
        best = _better(best, (value, places))
        return (optax.apply_updates(places, updates), state, best), None

    if not steps:
        return best
    _, start = best
    (places, _, best), _ = jax.lax.scan(step, (start, adam.init(start), best), length=steps)
    return _better(best, (objective(places), places))


def _loss(places: Means, objective: Objective):
    value = objective(places)
    return -value.sum(), value


def _move(objective: Objective, unexplained: Callable, best, rounds: int):
    """Each object in turn is tried where most light is unexplained; it stays if that is better."""
    steps = best[1].shift.shape[1]  # K

    def move(i, best):
        t, places = i % steps, best[1]
        shift = brightest(unexplained(places, t), boxes.side(places.scale[:, t]))
        moved = places._replace(shift=places.shift.at[:, t].set(shift))
        return _better(best, (objective(moved), moved))

    return jax.lax.fori_loop(0, rounds * steps, move, best)


def brightest(images: jax.Array, side: jax.Array) -> jax.Array:
    """Where a box holds most light: the shift of its centre, which is the centre of a pixel.

    Args:
      images: [B, H, W].
      side: [B, 1] of the box, a fraction of the shorter edge.

    Returns:
      [B, 2], before tanh; the first in reading order of equals.
    """
    height, width = canvas = images.shape[1:]
    size = boxes.side_in_pixels(side, canvas)[..., None]  # [B, 1, 1]

    def cover(length):  # how much of pixel j lies in a box around pixel i: [B, length, length]
        edges = jnp.arange(length, dtype=jnp.float32)
        middle, left = edges[None, :, None] + 0.5, edges[None, None]
        right_end = jnp.minimum(middle + size / 2, left + 1)
        return jnp.maximum(right_end - jnp.maximum(middle - size / 2, left), 0)

    light = cover(height) @ images @ cover(width).mT  # [B, H, W]
    first = jnp.argmax(light.reshape(len(images), -1), axis=1)
    pixel = jnp.stack([first % width, first // width], axis=-1) + 0.5  # (x, y)
    return jnp.arctanh(2 * pixel / jnp.array([[width, height]], jnp.float32) - 1)


def _better(one, other):
    """The (value [B], places) with the higher value, image by image; the first of equals."""
    (value, places), (new_value, new_places) = one, other
    higher = new_value > value  # [B]; no NaN is higher
    chosen = jax.tree.map(
        lambda new, old: jnp.where(higher[:, None, None], new, old), new_places, places
    )
    return jnp.where(higher, new_value, value), chosen
