"""Multipliers that set themselves: dual ascent on what a constraint is allowed.

A constraint asks that its violation v = E max(F, 0) be at most its tolerance tau. Its multiplier w
belongs to the saddle point (Boyd and Vandenberghe 2004, chapter 5)::

    max over parameters, min over w >= 0 of  E ELBO - sum_i w_i (v_i - tau_i)

The parameters climb by their optimiser. The multipliers climb in log w, which keeps them positive
and needs no unit (GECO, Rezende and Viola 2018). An optimiser such as Adam answers late, and as
fast to a high price as to a low one, so two terms damp the swing: a proportional one (nuPI,
Sohrabi et al. 2024), and a look ahead along the slope of the violation::

    p = m + lead (m - s)                     m and s: a fast and a slow running mean of v
    e = clip(p / tau - 1, -1, 1)
    log w <- clip(log w + rate e + damping (e - e of the step before), log least, log most)

A constraint that holds without its price loses it: e is then negative until w is `least`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

MOST = 1e3  # the largest multiplier, nats per unit of F
Tree = Any  # a dict of numbers, or a dict of such dicts, the same at every place


@struct.dataclass
class Multipliers:
    """The state of a rule; each is a tree of [], as the tolerances are."""

    weights: Tree  # what the objective gets
    violation: Tree  # running mean of E max(F, 0), in the unit of F; {} where nothing follows it
    slow: Tree  # the same over a longer time


class Rule(NamedTuple):
    """Two pure functions, in the way of an optax transformation."""

    init: Callable[[], Multipliers]
    update: Callable[[Multipliers, Tree], Multipliers]  # the state, and v of this step


def fixed(weights: Tree) -> Rule:
    """Multipliers that stay as they are, as the paper's; `weights`: name -> multiplier."""
    state = Multipliers(jax.tree.map(jnp.float32, weights), {}, {})
    return Rule(lambda: state, lambda state, _: state)


def dual(
    tolerances: Tree,
    *,
    start: float = 1.0,
    rate: float = 0.01,
    damping: float = 0.3,
    lead: float = 4.0,
    memory: tuple[float, float] = (0.95, 0.98),
    least: float = 1e-2,
    most: float = MOST,
) -> Rule:
    """Multipliers that rise while a constraint is violated by more than its tolerance, else fall.

    Args:
      tolerances: name -> the violation that is allowed, in the unit of F, above 0.
      start: every multiplier's first value, nats per unit of F.
      rate: by how much log w changes in a step, at most.
      damping: how much of a change of e goes into log w at once.
      lead: how far ahead the violation is seen, in differences of the two means.
      memory: of the fast and the slow mean, the share of the past; 1 / (1 - memory) steps.
      least, most: multipliers stay between them.

    Raises:
      ValueError: a tolerance that is not above 0 and finite: a violation of exactly 0 has no price
        that is high enough; bounds that do not hold the start.
    """
    for path, tolerance in jax.tree_util.tree_leaves_with_path(tolerances):
        if not 0 < tolerance < math.inf:
            name = jax.tree_util.keystr(path, simple=True, separator=".")
            raise ValueError(
                f"the tolerance of {name!r} must be above 0 and finite, got {tolerance}: no "
                "multiplier is high enough for a violation of exactly 0"
            )
    if not 0 < least <= start <= most < math.inf:
        raise ValueError(
            f"multipliers need 0 < least <= start <= most, got {least}, {start} and {most}"
        )
    fast, slow = memory
    if not (rate > 0 and damping >= 0 and lead >= 0 and 0 <= fast <= slow < 1):
        raise ValueError(
            "multipliers need rate > 0, damping and lead >= 0 and 0 <= fast <= slow < 1, got "
            f"{rate}, {damping}, {lead} and {memory}"
        )
    tolerances = jax.tree.map(jnp.float32, tolerances)

    def init() -> Multipliers:
        weights = jax.tree.map(lambda _: jnp.float32(start), tolerances)
        return Multipliers(weights, tolerances, tolerances)  # as if each held just so

    def excess(means: Multipliers) -> Tree:
        def one(m, s, tolerance):
            return jnp.clip((m + lead * (m - s)) / tolerance - 1, -1, 1)

        return jax.tree.map(one, means.violation, means.slow, tolerances)

    def update(state: Multipliers, violations: Tree) -> Multipliers:
        def remember(memory, means):
            return jax.tree.map(lambda m, v: memory * m + (1 - memory) * v, means, violations)

        def move(weight, before, now):
            step = rate * now + damping * (now - before)
            return jnp.clip(weight * jnp.exp(step), least, most)

        after = state.replace(
            violation=remember(fast, state.violation), slow=remember(slow, state.slow)
        )
        weights = jax.tree.map(move, state.weights, excess(state), excess(after))
        return after.replace(weights=weights)

    return Rule(init, update)


def violations(found: Tree) -> Tree:
    """F of every image, [B], as `Terms.constraints` has it -> E max(F, 0), what a rule looks at."""
    return jax.tree.map(lambda f: jnp.mean(jnp.maximum(f, 0)), found)
