"""What the tables of the page measure: names, digits, which way is better, and means over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from experiments.results.store import Results

HEADS = {
    "nelbo": "nELBO (nats)",
    "acc": "ACC",
    "se": "SE",
    "miou": "mean IoU",
    "mask_miou": "mask mIoU",
    "fg_ari": "FG-ARI",
    "iwae": "log p(x) ≥",
    "tidy": "tidy",
    "centre": "centre off by (pixels)",
    "centre_off": "share off by over 2",
}
DIGITS = {name: 1 if name in ("nelbo", "se", "iwae") else 3 for name in HEADS}
DIGITS |= {"kl_count": 1, "centre": 2}
HIGHER = {"acc", "miou", "mask_miou", "fg_ari"}  # is better


def mean(results: Results, columns: Sequence[str]) -> dict[str, float]:
    """name -> mean over the seeds that have it, rounded as it is shown; without what none has."""
    found = {name: of_seeds(results, name) for name in columns}
    return {
        name: round(float(np.mean(values)), DIGITS[name])
        for name, values in found.items()
        if values
    }


def of_seeds(results: Results, name: str) -> list[float]:
    """A measure of the seeds that have it."""
    return [f[name] for f in results.finals.values() if f.get(name) is not None]


def cell(values: Sequence[float], digits: int) -> str:
    """Mean ± standard deviation over seeds; one seed says nothing of the latter."""
    if not values:
        return ""
    text = f"{np.mean(values):.{digits}f}"
    return f"{text} ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else text


def better(name: str, one: float, other: float) -> bool:
    return one > other if name in HIGHER else one < other


def best(means: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """column -> the best mean of all rows."""
    columns = {name for of_row in means for name in of_row}
    return {
        name: (max if name in HIGHER else min)(of_row[name] for of_row in means if name in of_row)
        for name in columns
    }
