"""RESULTS.md: our tables beside the paper's, every seed, what ran where, and the figures."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from experiments.results.measures import DIGITS, HEADS, best, cell, mean, of_seeds
from experiments.results.paper import COLUMNS, PAPER, PUBLISHED
from experiments.results.rows import Row, Table
from experiments.results.store import Results
from experiments.results.verdict import verdict

FIGURES = {
    "": "The first held-out scenes, and how each method explains them (seed 0, or as said).",
    "-samples": "Samples of each method's prior (seed 0, or as said), below true scenes.",
    "-curves": "Training: the negative ELBO, a line a seed.",
    "-counts": "How many objects each method finds in the held-out scenes (seed 0).",
}
TEMPLATE = Path(__file__).with_suffix(".md")  # the prose


def page(
    tables: Mapping[str, Sequence[Table]],
    results: Mapping[Row, Results],
    folder: Path,
    figures: Path,
    beside: Path,
) -> str:
    """The text of the page.

    Args:
      tables: of `rows.TABLES`.
      results: of every row.
      folder: where results are kept.
      figures: where the figures are.
      beside: the folder that the page will lie in, from which it names them.
    """
    parts = {
        "number": [_section(table, results, figures, beside) for table in tables["number"]],
        "overlap": [_section(table, results, figures, beside) for table in tables["overlap"]],
        "colour": [_section(table, results, figures, beside) for table in tables["colour"]],
        "ablation": [_short(table, results) for table in tables["ablation"]],
    }
    filled = {name: "\n".join(sections) for name, sections in parts.items()}
    return TEMPLATE.read_text("utf-8").format(**filled, results=_from(beside, folder))


def _section(table: Table, results: Mapping[Row, Results], figures: Path, beside: Path) -> str:
    """A table of the page, what it says, and its figures."""
    of_paper = PAPER.get((table.name, "asr"), {})
    columns = table.columns or [name for name in COLUMNS if name in of_paper]
    heads = ["", "seeds", "epochs", "time a seed"]
    for name in columns:
        heads += [HEADS[name], "*paper*"] if name in of_paper else [HEADS[name]]
    means = {row: mean(results[row], columns) for row in table.rows}
    first = best([*means.values()])
    lines = []
    for row in table.rows:
        config, (finals, failed) = row.config(), results[row]
        seeds = f"{len(finals)}" + (f", {len(failed)} failed" if failed else "")
        cells = [row.label, seeds if finals or failed else "not yet run"]
        cells += [str(config.train.epochs), _time(finals.values())]
        paper = {} if config.model.possible_counts else PAPER.get((row.data, config.method), {})
        for name in columns:
            ours = cell(of_seeds(results[row], name), DIGITS[name])
            ours = f"**{ours}**" if ours and means[row][name] == first[name] else ours
            cells.append(ours)
            if name in of_paper:
                cells.append(f"*{paper[name]}*" if name in paper else "")
        lines.append(cells)
    for label, texts in PUBLISHED.get(table.name, {}).items():
        cells = [f"*{texts[name]}*" if name in texts else "" for name in columns]
        lines.append([f"*{label}*", "*published*", "", "", *cells])
    said = (
        textwrap.fill(text, 118, break_on_hyphens=False) + "\n"
        for text in verdict(table, results, columns)
    )
    parts = [f"### {table.title}\n", markdown(heads, lines), *said]
    for end, caption in FIGURES.items():
        parts += _figure(figures / f"{table.name}{end}.png", caption, beside)
    for row in table.rows:
        caption = (
            f"{row.label}: image, explanation, masks, background, and the objects, one by one."
        )
        parts += _figure(figures / f"{row.name}-apart.png", caption, beside)
    return "\n".join([*parts, _details(table, results, columns)])


def _figure(figure: Path, caption: str, beside: Path) -> list[str]:
    """A figure with its caption, if it is there."""
    if not figure.exists():
        return []
    return [f"![{caption}]({_from(beside, figure)})\n\n{caption}\n"]


def _from(folder: Path, path: Path) -> str:
    """The path as a link names it in a page of that folder."""
    return Path(os.path.relpath(path, folder)).as_posix()


def _time(finals: Sequence[Mapping]) -> str:
    """8 min, 1 CPU core."""
    if not finals:
        return ""
    minutes = np.mean([final["seconds"] / 60 for final in finals])
    return ", ".join([f"{minutes:.0f} min", *sorted({_hardware(final) for final in finals})])


def _hardware(final: Mapping) -> str:
    return final.get("hardware", "not recorded")  # by runs of old


def _details(table: Table, results: Mapping[Row, Results], columns: Sequence[str]) -> str:
    """Every seed, and the command of every row, folded away."""
    names = [*columns, "iwae", "tidy"]
    lines, commands = [], []
    for row in table.rows:
        finals, failed = results[row]
        for seed, final in sorted(finals.items()):
            cells = [_of_seed(final, name) for name in names]
            minutes = f"{final['seconds'] / 60:.0f}"
            lines.append([row.label, seed, *cells, final["steps"], minutes, _hardware(final)])
        for seed, why in sorted(failed.items()):
            lines.append([row.label, seed, f"failed: {why}"])
        commands.append(row.shown(seeds=max(3, len(finals) + len(failed))))
    heads = ["", "seed", *(HEADS[name] for name in names), "steps", "minutes", "on"]
    summary = "<details><summary>Every seed ± its standard error over images, and the commands"
    summary += "</summary>\n\n"
    return f"{summary}{markdown(heads, lines)}\n{_code(commands)}\n</details>\n"


def _of_seed(final: Mapping, name: str) -> str:
    """A measure, and its standard error over images where it has one."""
    if final.get(name) is None:
        return ""
    error = final.get(f"{name}_stderr")
    plus = "" if error is None else f" ± {error:.{DIGITS[name]}f}"
    return f"{final[name]:.{DIGITS[name]}f}{plus}"


def _short(table: Table, results: Mapping[Row, Results]) -> str:
    """A table of shortened runs: means over seeds, or every seed where it has a single row."""
    names = ["nelbo", "acc", "se", "miou", "tidy"]
    own = []
    if table.rows[0].config().model.count > 0:  # the count is known, and F1 to F7 are constraints
        names.remove("acc")
        own = [f"F{i}" for i in range(1, 8)]
    digits = DIGITS | dict.fromkeys(own, 3)
    lines = []
    for row in table.rows:
        finals, failed = results[row]
        shown = {row.label: [*finals.values()]}
        if len(table.rows) == 1:
            shown = {f"seed {seed}": [final] for seed, final in finals.items()}
        for label, those in shown.items():
            cells = [
                cell([final[name] for final in those], digits[name]) for name in [*names, *own]
            ]
            lines.append([label, len(those) or "not yet run", *cells])
        lines += [[f"{row.label}, seed {s}", f"failed: {why}"] for s, why in failed.items()]
    epochs = table.rows[0].config().train.epochs
    commands = _code(row.shown(row.seeds or table.seeds or 1) for row in table.rows)
    begun = any(results[row].finals or results[row].failed for row in table.rows)
    heads = ["", "seeds", *(HEADS[name] for name in names), *own]
    parts = [
        f"### {table.title} ({epochs} epochs)\n",
        markdown(heads, lines) if begun else "Not yet run in this state.\n",
        f"<details><summary>The commands</summary>\n\n{commands}\n</details>\n",
    ]
    return "\n".join(parts)


def markdown(heads: Sequence[str], lines: Sequence[Sequence[object]]) -> str:
    """A table; a line that is too short is filled up."""
    filled = [[*line, *[""] * (len(heads) - len(line))] for line in lines]
    every = [heads, ["---"] * len(heads), *filled]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in every) + "\n"


def _code(lines) -> str:
    return "\n".join(["```bash", *lines, "```"]) + "\n"
