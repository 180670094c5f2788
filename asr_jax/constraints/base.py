"""Constraints on a posterior (Eqns. 6 and 10 of the paper)::

    R(q) = sum_i weight_i max(F_i(q), 0)

A constraint is a name, any differentiable functional F of the posterior, with F <= 0 where it
holds, and the weight that it has unless another is given. Weights are traced numbers under the
constraints' names, so a sweep over them compiles once, and so a rule can set them while a model
trains: see `asr_jax.constraints.multipliers`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Real
from typing import Any

import jax
import jax.numpy as jnp

from asr_jax.types import Posterior, Terms

# Names that constraints share a table of metrics with.
RESERVED = {field.name for field in dataclasses.fields(Terms)} | {
    *("loss", "nelbo", "se", "acc", "miou", "count", "gradient_norm", "step", "iwae"),
    *("count_probs", "count_elbo", "acc_elbo", "mask_miou", "fg_ari", "fg_ari_defined", "tidy"),
    *("centre", "centre_off"),
}
MARKS = ("weight_", "prior_"), ("_refined", "_stderr")  # before and after what a table has of it

Functional = Callable[[Posterior, tuple[int, int]], jax.Array]


@dataclasses.dataclass(frozen=True)
class Constraint:
    """A named functional of the posterior.

    `functional(posterior, canvas)` gets the posterior of a batch and the canvas's (H, W) in
    pixels, and returns F for each image, [B]. Two constraints are equal, and share a compiled
    objective, when name, functional and of_mean are: write the functional at module
    level, or as a frozen dataclass with `__call__`.

    With `of_mean` the constraint is on the data as a whole: the functional then returns a
    statistic of each image, [B, ...], and F is `of_mean` of its mean over the batch, a scalar.

    Raises:
      ValueError: a name that a metric has; a weight or tolerance that is negative or not finite;
        a ramp that does not rise.
    """

    name: str
    functional: Functional
    # The multiplier, unless the objective is given another. No part of what is compiled.
    weight: float = dataclasses.field(default=1.0, compare=False)
    # What the mean of max(F, 0) over images may be, in the unit of F. Multipliers that set
    # themselves aim at it, and need one above 0; to others it is a number to compare with.
    tolerance: float = dataclasses.field(default=0.0, compare=False)
    # A run raises the weight from 0 between these fractions of its steps; None: it is constant.
    ramp: tuple[float, float] | None = dataclasses.field(default=None, compare=False)
    of_mean: Callable[[jax.Array], jax.Array] | None = None

    def __post_init__(self):
        first, last = MARKS
        if self.name in RESERVED or self.name.startswith(first) or self.name.endswith(last):
            raise ValueError(
                f"a constraint cannot be named {self.name!r}, the name of a metric: choose another"
            )
        if not 0 <= self.weight < math.inf:
            raise ValueError(
                f"the weight of {self.name!r} must be at least 0 and finite, got {self.weight}: "
                "a negative one rewards what the constraint forbids"
            )
        if not 0 <= self.tolerance < math.inf:
            raise ValueError(
                f"the tolerance of {self.name!r} must be at least 0 and finite, got "
                f"{self.tolerance}"
            )
        if self.ramp is not None:
            pair = isinstance(self.ramp, Sequence) and len(self.ramp) == 2
            pair = pair and all(isinstance(value, Real) for value in self.ramp)
            if not pair or not 0 <= self.ramp[0] < self.ramp[1] < math.inf:
                raise ValueError(
                    f"the ramp of {self.name!r} must be (start, end) with 0 <= start < end, in "
                    f"fractions of the run, got {self.ramp}"
                )


def default_weights(constraints: Iterable[Constraint]) -> dict[str, float]:
    """name -> the weight that the constraint carries."""
    return {constraint.name: constraint.weight for constraint in constraints}


def default_tolerances(constraints: Iterable[Constraint]) -> dict[str, float]:
    """name -> the tolerance that the constraint carries."""
    return {constraint.name: constraint.tolerance for constraint in constraints}


def values(
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
    found = statistics(constraints, posterior, canvas)
    of_mean = {c.name: c.of_mean for c in constraints if c.of_mean is not None}
    means = {name: found[name].mean(0) for name in of_mean}
    if axis_name is not None:
        # The gradient is of this device's share, as all gradients are that training then averages:
        # that of a reduction would be a second reduction, of equal numbers.
        fixed = jax.lax.stop_gradient(means)
        whole = jax.lax.pmean(fixed, axis_name)
        means = jax.tree.map(lambda of_all, mine, same: of_all + (mine - same), whole, means, fixed)
    for name, mean in means.items():
        value = of_mean[name](mean)
        if value.shape:
            raise ValueError(
                f"of_mean of {name!r} must return a scalar, got {value.shape}: reduce it"
            )
        found[name] = jnp.broadcast_to(value, batch)
    return found


def statistics(
    constraints: Sequence[Constraint], posterior: Posterior, canvas: tuple[int, int]
) -> dict[str, jax.Array]:
    """What every functional says of each image: F [B], or the statistic [B, ...] of `of_mean`.

    Raises:
      ValueError: as `values`.
    """
    found, batch = {}, posterior.presence_logits.shape[:1]
    for constraint in constraints:
        if constraint.name in found:
            raise ValueError(f"two constraints are named {constraint.name!r}: rename one")
        value = constraint.functional(posterior, canvas)
        if not hasattr(value, "shape"):
            raise ValueError(
                f"the functional of {constraint.name!r} must return an array, got {value!r}: "
                "compute it with jax.numpy, and return it"
            )
        expected = batch if constraint.of_mean is None else batch + value.shape[1:]
        if value.shape != expected:  # [B, 1] would broadcast to [B, B] in silence
            raise ValueError(
                f"the functional of {constraint.name!r} must return one value an image, {batch}, "
                f"got {value.shape}: sum over objects"
            )
        found[constraint.name] = value
    return found


def penalty(found: Mapping[str, jax.Array], weights: Mapping[str, jax.Array]) -> jax.Array | float:
    """sum_i weights_i max(F_i, 0), [B]; 0 where there are no constraints.

    Args:
      found: F of each constraint, of `values`.
      weights: a multiplier for each.

    Raises:
      ValueError: a constraint without a weight, or a weight without a constraint.
    """
    check_names(found, weights)
    return sum((weights[name] * jnp.maximum(value, 0) for name, value in found.items()), 0.0)


def check_constraints(constraints: Any) -> tuple[Constraint, ...]:
    """Several constraints as a tuple; raises ValueError for anything else."""
    several = tuple(constraints) if isinstance(constraints, Iterable) else (constraints,)
    for one in several:
        if not isinstance(one, Constraint):
            raise ValueError(
                f"constraints must be a sequence of asr_jax.Constraint, got {one!r}: "
                "asr_jax.Constraint(name, functional)"
            )
    return several


def check_names(constraints: Iterable[str], weights: Iterable[str]) -> None:
    """Raises ValueError unless both name the same constraints."""
    missing = set(constraints) - set(weights)
    if missing:
        raise ValueError(
            f"constraints without a weight: {', '.join(sorted(missing))}: "
            "add them to weights, or leave the constraints out"
        )
    check_known("weights", weights, constraints)


def check_known(what: str, names: Iterable[str], constraints: Iterable[str]) -> None:
    """Raises ValueError for a name that no constraint has."""
    unknown = set(names) - set(constraints)
    if unknown:
        raise ValueError(
            f"{what} without a constraint: {', '.join(sorted(unknown))}; the constraints are "
            f"{', '.join(sorted(constraints)) or '(none)'}: check the spelling"
        )
