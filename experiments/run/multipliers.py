"""What multipliers that set themselves came to, and which constraints they could not hold."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping

import asr_jax
from asr_jax.constraints import default_tolerances
from experiments.run.from_config import Run

AT_LIMIT = 0.99  # of the largest multiplier
FALLS = 0.95  # a mean of the last 20 steps below this share of that of the last 50


def found(run: Run, multipliers: asr_jax.constraints.Multipliers) -> dict[str, dict[str, dict]]:
    """{posterior, prior} -> constraint -> multiplier, violation (a running mean), whether it falls,
    tolerance."""
    tolerances = {
        "posterior": default_tolerances(run.constraints),
        "prior": run.prior_tolerances,
    }
    return {
        where: {
            name: {
                "multiplier": float(multipliers.weights[where][name]),
                "violation": float(multipliers.violation[where][name]),
                "falls": bool(
                    multipliers.violation[where][name] < FALLS * multipliers.slow[where][name]
                ),
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


def warn_of_unmet(rows: Mapping[str, Mapping[str, Mapping]], largest: float) -> None:
    """Warns of constraints whose violation does not fall at the largest multiplier there is."""
    for where, of in rows.items():
        for name, row in of.items():
            violated = row["violation"] > row["tolerance"] and not row["falls"]
            if violated and row["multiplier"] >= AT_LIMIT * largest:
                warnings.warn(
                    f"{name} cannot be met on {where}: its multiplier is at its limit of "
                    f"{largest:g} and the violation stays at {row['violation']:.3g} where "
                    f"config.constraints.{'prior_' * (where == 'prior')}tolerances.{name}="
                    f"{row['tolerance']:g} is allowed: allow more, or see whether it contradicts "
                    "another constraint or the images",
                    stacklevel=2,
                )
