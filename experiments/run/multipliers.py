"""What multipliers that set themselves came to, and which constraints they could not hold."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping

import asr_jax
from asr_jax.constraints import default_tolerances
from asr_jax.constraints.multipliers import MOST
from experiments.run.from_config import Run

AT_LIMIT = 0.99 * MOST


def found(run: Run, multipliers: asr_jax.constraints.Multipliers) -> dict[str, dict[str, dict]]:
    """{posterior, prior} -> constraint -> its multiplier, violation (a running mean), tolerance."""
    tolerances = {
        "posterior": default_tolerances(run.constraints),
        "prior": run.prior_tolerances,
    }
    return {
        where: {
            name: {
                "multiplier": float(multipliers.weights[where][name]),
                "violation": float(multipliers.violation[where][name]),
                "tolerance": float(tolerance),
            }
            for name, tolerance in of.items()
        }
        for where, of in tolerances.items()
    }


def with_found(run: Run, rows: Mapping[str, Mapping[str, Mapping]] | None) -> Run:
    """The run with the multipliers of `found` for weights; None: it had weights of its own."""
    if not rows:
        return run
    weights = {name: row["multiplier"] for name, row in rows["posterior"].items()}
    constraints = (dataclasses.replace(c, weight=weights[c.name]) for c in run.constraints)
    return dataclasses.replace(run, constraints=tuple(constraints))


def warn_of_unmet(rows: Mapping[str, Mapping[str, Mapping]]) -> None:
    """Warns of constraints that are violated although their multiplier is as large as it gets."""
    for where, of in rows.items():
        for name, row in of.items():
            if row["multiplier"] >= AT_LIMIT and row["violation"] > row["tolerance"]:
                warnings.warn(
                    f"{name} cannot be met on {where}: its multiplier is at its limit of {MOST:g} "
                    f"and the violation is {row['violation']:.3g} where "
                    f"config.constraints.{'prior_' * (where == 'prior')}tolerances.{name}="
                    f"{row['tolerance']:g} is allowed: allow more, or see whether it contradicts "
                    "another constraint or the images",
                    stacklevel=2,
                )
