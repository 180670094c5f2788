"""Rows as text."""

from __future__ import annotations

from collections.abc import Sequence


def table(rows: Sequence[dict[str, float | str]]) -> str:
    """A line for each row, and a column for each name that one of them has."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [names, *([text(row.get(name, "")) for name in names] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) for line in cells)
    return "\n".join(line.rstrip() for line in lines)


def text(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"
