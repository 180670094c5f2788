"""How the cost of a step grows with K and with the canvas."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks import training
from benchmarks.cases import Case

STEPS, INFERRED, SIDES = (2, 3, 4, 6, 8, 12), (3, 4, 6, 10), (50, 64, 96, 128)
FAMILIES = ("K, known", "K, inferred", "side")


def cases(quick: bool) -> dict[str, tuple[Case, int]]:
    """K objects whose number is known, K steps over counts from 0 to K, and sides of the canvas."""
    families = (
        {k: dict(config="mnist3", model=(("max_objects", k), ("count", k))) for k in STEPS},
        {k: dict(config="mnist13", model=(("max_objects", k),)) for k in INFERRED},
        {side: dict(config="mnist3", canvas=side) for side in SIDES},
    )
    found = {
        f"{family} = {size}": (Case(**fields), 1)
        for family, sizes in zip(FAMILIES, families, strict=True)
        for size, fields in sizes.items()
    }
    return dict(list(found.items())[:2]) if quick else found


def measure(argument: tuple[Case, int], quick: bool) -> dict[str, float]:
    row = training.measure(argument, quick)
    return {name: row[name] for name in ("ms/step", "steps/s", "GFLOP/step", "compile s")}


def summary(rows: Sequence[dict]) -> list[str]:
    """The exponents p of ms = a size^p, fitted to the logarithms."""
    lines = []
    for family in FAMILIES:
        points = [
            (float(row["case"].split(" = ")[1]), row["ms/step"], row["GFLOP/step"])
            for row in rows
            if row["case"].startswith(family + " = ") and "ms/step" in row
        ]
        if len(points) > 1:
            size, ms, flops = np.log(points).T
            slopes = np.polyfit(size, ms, 1)[0], np.polyfit(size, flops, 1)[0]
            lines.append(f"{family}: ms ~ size^{slopes[0]:.2f}, FLOP ~ size^{slopes[1]:.2f}")
    return lines
