"""Structural constraints: the framework (`base`), R_num (`number`) and F1..F7 (`overlap`)."""

from asr_jax.constraints.base import Constraint
from asr_jax.constraints.number import number_constraints
from asr_jax.constraints.overlap import overlap_constraints

__all__ = ["Constraint", "number_constraints", "overlap_constraints"]
