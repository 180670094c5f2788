"""Structural constraints: the framework (`base`), R_num (`number`), F1..F7 (`overlap`), the same of
the prior's places (`places`), and multipliers that set themselves (`multipliers`)."""

from asr_jax.constraints.base import Constraint, default_tolerances, default_weights
from asr_jax.constraints.multipliers import Multipliers, Rule, dual, fixed, violations
from asr_jax.constraints.number import counted_constraint, number_constraints
from asr_jax.constraints.overlap import overlap_constraints
from asr_jax.constraints.windows import snug_constraints, visible_constraint

__all__ = [
    "Constraint",
    "Multipliers",
    "Rule",
    "counted_constraint",
    "default_tolerances",
    "default_weights",
    "dual",
    "fixed",
    "number_constraints",
    "overlap_constraints",
    "snug_constraints",
    "violations",
    "visible_constraint",
]
