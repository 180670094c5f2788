"""Constraints on a posterior (Eqns. 6 and 10 of the paper): R(q) = sum_i weight_i max(F_i(q), 0).

A constraint is a name and any differentiable functional F of the posterior, with F <= 0 where it
holds. Its weight is a traced number under the same name, so a sweep over weights compiles once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence

import jax
import jax.numpy as jnp

from asr_jax.types import Posterior, Terms

# Names that constraints share a table of metrics with.
RESERVED = {field.name for field in dataclasses.fields(Terms)} | {
    *("loss", "nelbo", "se", "acc", "miou", "count", "gradient_norm", "step")
}

Functional = Callable[[Posterior, tuple[int, int]], jax.Array]


@dataclasses.dataclass(frozen=True)
class Constraint:
    """A named functional of the posterior.

    `functional(posterior, canvas)` gets the posterior of a batch and the canvas's (H, W) in
    pixels, and returns F for each image, [B]. Two constraints are equal, and share a compiled
    objective, when name and functional are: write the functional at module level, or as a frozen
    dataclass with `__call__`.

    With `of_mean` the constraint is on the data as a whole: the functional then returns a
    statistic of each image, [B, ...], and F is `of_mean` of its mean over the batch, a scalar.

    Raises:
      ValueError: a name that a metric has.
    """

    name: str
    functional: Functional
    of_mean: Callable[[jax.Array], jax.Array] | None = None

    def __post_init__(self):
        if self.name in RESERVED:
            raise ValueError(
                f"a constraint cannot be named {self.name!r}, the name of a metric: choose another"
            )


def evaluate(
    constraints: Sequence[Constraint],
    posterior: Posterior,
    canvas: tuple[int, int],
    axis_name: str | None = None,
) -> dict[str, jax.Array]:
    """F of every constraint under its name, [B] each; a constraint on the mean says it B times.

    Args:
      constraints: with different names.
      posterior: of this device's share of the batch, B images.
      canvas: (H, W) in pixels.
      axis_name: the mapped axis over devices: means are taken over all of them.

    Raises:
      ValueError: two constraints of one name; a functional that does not return [B], or an
        `of_mean` that does not return a scalar.
    """
    batch = posterior.presence_logits.shape[:1]
    values = statistics(constraints, posterior, canvas)
    for constraint in constraints:
        if constraint.of_mean is not None:
            mean = values[constraint.name].mean(0)
            if axis_name is not None:
                mean = jax.lax.pmean(mean, axis_name)
            value = constraint.of_mean(mean)
            if value.shape:
                raise ValueError(
                    f"of_mean of {constraint.name!r} must return a scalar, got {value.shape}: "
                    "reduce it"
                )
            values[constraint.name] = jnp.broadcast_to(value, batch)
    return values


def statistics(
    constraints: Sequence[Constraint], posterior: Posterior, canvas: tuple[int, int]
) -> dict[str, jax.Array]:
    """What every functional says of each image: F [B], or the statistic [B, ...] of `of_mean`.

    Raises:
      ValueError: as `evaluate`.
    """
    values, batch = {}, posterior.presence_logits.shape[:1]
    for constraint in constraints:
        if constraint.name in values:
            raise ValueError(f"two constraints are named {constraint.name!r}: rename one")
        value = constraint.functional(posterior, canvas)
        expected = batch if constraint.of_mean is None else batch + value.shape[1:]
        if value.shape != expected:  # [B, 1] would broadcast to [B, B] in silence
            raise ValueError(
                f"the functional of {constraint.name!r} must return one value an image, {batch}, "
                f"got {value.shape}: sum over objects"
            )
        values[constraint.name] = value
    return values


def penalty(
    values: Mapping[str, jax.Array], weights: Mapping[str, jax.Array], like: jax.Array
) -> jax.Array:
    """sum_i weights_i max(values_i, 0), with the shape of `like`, [B].

    Raises:
      ValueError: a constraint without a weight, or a weight without a constraint.
    """
    check_names(values, weights)
    terms = (weights[name] * jnp.maximum(value, 0) for name, value in values.items())
    return sum(terms, jnp.zeros_like(like))


def check_names(constraints: Iterable[str], weights: Iterable[str]) -> None:
    """Raises ValueError unless both name the same constraints."""
    missing, unknown = set(constraints) - set(weights), set(weights) - set(constraints)
    if missing:
        raise ValueError(
            f"constraints without a weight: {', '.join(sorted(missing))}: "
            "add them to weights, or leave the constraints out"
        )
    if unknown:
        raise ValueError(
            f"weights without a constraint: {', '.join(sorted(unknown))}; the constraints are "
            f"{', '.join(sorted(constraints)) or '(none)'}: check the spelling"
        )
