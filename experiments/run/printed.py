"""Results as text: rows of named cells, aligned."""

from __future__ import annotations

from collections.abc import Mapping

from experiments.run.evaluation import COLUMNS, OF_MASKS, OF_REFINED

# The accuracy of the ELBO's own choice of n, the refined posterior, a bound of log p(x), and the
# share of samples whose boxes are disjoint and inside, go beyond the paper's table.
TABLE = (*COLUMNS, *OF_MASKS, "acc_elbo", *OF_REFINED, "iwae", "tidy")


def table(final: dict, paper: dict[str, str]) -> str:
    """Our row against the paper's, as text."""
    rows = {"this run": cells(final), "paper": paper}
    title = f"\n{final['name']}, {final['images']} {final['split']} scenes"
    note = "± this run: standard error over images; paper: standard deviation over 3 runs."
    lines = [title, columns(rows), note]
    names = {"model": "samples", "data": "held-out scenes"}
    for who, row in final.get("generation", {}).items():
        parts = [f"nearest training scene at {row['nearest']:.2f}"]
        if row.get("side_mean") is not None:
            parts.append(f"sides {row['side_mean']:.1f} ± {row['side_std']:.1f} pixels")
        if "count_tv" in row:
            parts.append(f"counts differ from the data's by {row['count_tv']:.3f}")
        if "place_tv" in row:
            parts.append(f"places by {row['place_tv']:.3f}")
        lines.append(f"{names[who]}: {', '.join(parts)}")
    for n, row in final.get("counts", {}).items():
        means = ", ".join(f"{name} {row[name]:.3f}" for name in COLUMNS if name in row)
        found = ", ".join(f"{k}: {images}" for k, images in enumerate(row["inferred"]) if images)
        lines.append(f"{row['images']} scenes of {n}: {means}; inferred {{{found}}}")
    return "\n".join(lines)


def seeds(final: Mapping, finals: Mapping[int, dict], paper: dict[str, str]) -> str:
    """Every seed's row, their mean, and the paper's, as text.

    Args:
      final: over all seeds, of `report.finish_seeds`.
      finals: seed -> its own, of those that finished.
      paper: name -> text.
    """
    rows = {f"seed {seed}": cells(row) for seed, row in finals.items()}
    rows |= {f"seed {seed}": {COLUMNS[0]: "failed"} for seed in final["failed"]}
    rows["mean of seeds"] = {
        c: f"{final[c]:.3f} ± {final[c + '_std']:.3f}"
        for c in TABLE
        if final.get(c + "_std") is not None
    }
    rows["paper"] = paper
    title = f"\n{final['name']}, {len(final['seeds'])} seeds, {len(final['failed'])} failed"
    note = "± a seed: standard error over images; mean, paper: standard deviation over runs."
    return "\n".join([title, columns(rows), note])


def cells(final: dict) -> dict[str, str]:
    """The metrics of a final.json as text."""
    return {c: f"{final[c]:.3f} ± {final[c + '_stderr']:.3f}" for c in TABLE if c in final}


def columns(rows: dict[str, dict[str, str | float]]) -> str:
    """Rows of named cells, aligned, metrics first: numbers with four digits, a dash for no cell."""
    metrics = [name for name in TABLE if any(name in row for row in rows.values())]
    names = dict.fromkeys([*metrics, *(name for row in rows.values() for name in row)])
    lines = [["", *names]]
    lines += [
        [label, *(_cell(row.get(name, "–")) for name in names)] for label, row in rows.items()
    ]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        for line in lines
    )


def _cell(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"
