"""The bound with a structural penalty (Eqn. 10 of the paper), which training maximises::

    mean over images of ELBO(x) - sum_i weight_i max(F_i(q), 0)

The penalty is on the posterior, from which the prior learns. It can be on the places of the prior
as well: a density has tails, and generates what no posterior has seen unless it is told.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp

from asr_jax.bound import elbo
from asr_jax.constraints.base import (
    Constraint,
    check_constraints,
    check_known,
    default_weights,
    penalty,
)
from asr_jax.model import Model, Params
from asr_jax.types import Terms


def elbo_with_penalty(
    params: Params,
    key: jax.Array,
    images: jax.Array,
    weights: Mapping[str, jax.Array] | None = None,
    *,
    model: Model,
    constraints: Sequence[Constraint] = (),
    presence_prior: jax.Array | None = None,
    count_mix: jax.Array | None = None,
    prior_weights: Mapping[str, jax.Array] | None = None,
    counts: jax.Array | None = None,
    axis_name: str | None = None,
) -> tuple[jax.Array, Terms]:
    """The objective of ASR, to be *maximised*: the batch's mean of ELBO - gap - penalty.

    The gap is `Terms.count_gap` times the model's `count_gap_weight`, by default 0. The penalty is
    sum_i weights_i max(F_i, 0). Compiled once for a model, constraints and shapes.
    `jax.value_and_grad(elbo_with_penalty, has_aux=True)` is all that training does.

    Args:
      params: from `model.init`.
      key: one random key, or one an image.
      images: [B, H, W], or [B, H, W, 3] in colour: uint8, or floats in [0, 1].
      weights: one multiplier for each constraint, under its name; traced, so that another value
        does not compile again. None: the weights that the constraints carry.
      model: what to evaluate (static).
      constraints: functionals of the posterior (static).
      presence_prior: log-odds of one more object in the geometric prior over n, traced, for a
        schedule; None: the model's. Other priors over n do not look at it.
      count_mix: share of a uniform distribution over the counts in the q(n) that the ELBO sees,
        traced, for a schedule: latents learn to explain an image with every n before q(n) has
        settled on one. None: of q(n) alone. Gap and constraints are of q(n) itself.
      prior_weights: multipliers for some of the constraints, evaluated on the places that the
        prior would draw (`constraints.places`) instead of on the posterior; None: the prior learns
        from the posterior alone.
      counts: [B] numbers of objects, -1 where it is not known, which constraints see as
        `Posterior.known_count`; None: none is known.
      axis_name: the mapped axis over devices, where there is one. Noise follows the *global*
        index of an example, and constraints on the mean see every device's images, so that a
        batch split over devices gives the same values.

    Returns:
      The objective, a scalar (nats), and its `Terms`, [B] each.

    Raises:
      ValueError: images or keys that do not fit; constraints that are none; one without a weight,
        or a weight (of either kind) without a constraint; counts of another number of images; a
        functional that does not return [B]; prior_weights for a prior whose places are Gaussian, or
        for a constraint on the mean.
    """
    images, constraints = model.check(images), check_constraints(constraints)
    if prior_weights:
        check_known("prior_weights", prior_weights, [c.name for c in constraints])
    if counts is not None and counts.shape != images.shape[:1]:
        raise ValueError(
            f"counts must have shape {images.shape[:1]}, one an image, got {counts.shape}: -1 "
            "stands for one that is not known"
        )
    return _elbo_with_penalty(
        params,
        key,
        images,
        default_weights(constraints) if weights is None else dict(weights),
        dict(prior_weights or {}),
        presence_prior,
        count_mix,
        counts,
        model=model,
        constraints=constraints,
        axis_name=axis_name,
    )


@functools.partial(jax.jit, static_argnames=("model", "constraints", "axis_name"))
def _elbo_with_penalty(
    params,
    key,
    images,
    weights,
    prior_weights,
    presence_prior,
    count_mix,
    counts,
    *,
    model,
    constraints,
    axis_name,
):
    terms = elbo(
        params,
        key,
        images,
        model=model,
        constraints=constraints,
        prior_constraints=tuple(c for c in constraints if c.name in prior_weights),
        presence_prior=presence_prior,
        count_mix=count_mix,
        counts=counts,
        axis_name=axis_name,
    )
    none = jnp.zeros_like(terms.elbo)  # [B]
    terms = terms.replace(
        penalty=none + penalty(terms.constraints, weights),
        prior_penalty=none + penalty(terms.prior_constraints, prior_weights),
    )
    objective = terms.elbo - terms.penalty - terms.prior_penalty
    if model.config.count_gap_weight:
        objective -= model.config.count_gap_weight * terms.count_gap
    return jnp.mean(objective), terms
