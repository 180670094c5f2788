"""Structural constraints: the framework (`base`), and the paper's F1..F7 (`overlap`)."""

from asr_jax.constraints.base import Constraint
from asr_jax.constraints.overlap import overlap_constraints

__all__ = ["Constraint", "overlap_constraints"]
