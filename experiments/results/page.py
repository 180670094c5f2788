"""RESULTS.md: our tables beside the paper's, every seed, what ran where, and the figures."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from experiments.results.paper import COLUMNS, PAPER, PUBLISHED
from experiments.results.rows import Row, Table
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
}
DIGITS = {name: 1 if name in ("nelbo", "se", "iwae") else 3 for name in HEADS}
HIGHER = {"acc", "miou", "mask_miou", "fg_ari"}  # is better
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
        "ablation": [_ablation(table, results) for table in tables["ablation"]],
    }
    filled = {name: "\n".join(sections) for name, sections in parts.items()}
    return TEMPLATE.read_text("utf-8").format(**filled, results=_from(beside, folder))


def _section(table: Table, results: Mapping[Row, Results], figures: Path, beside: Path) -> str:
    """A table of the page, what it says, and its figures."""
    of_paper = PAPER.get((table.name, "asr"), {})
    columns = table.columns or [name for name in COLUMNS if name in of_paper]
    heads = ["", "seeds", "epochs", "time a seed"]
    for name in columns:
        heads += [HEADS[name], "*paper*"] if of_paper else [HEADS[name]]
    best = _best({row.label: mean(results[row], columns) for row in table.rows})
    lines = []
    for row in table.rows:
        config, (finals, failed) = row.config(), results[row]
        seeds = f"{len(finals)}" + (f", {len(failed)} failed" if failed else "")
        cells = [row.label, seeds if finals or failed else "not yet run"]
        cells += [str(config.train.epochs), _time(finals.values())]
        paper = {} if config.model.possible_counts else PAPER.get((row.data, config.method), {})
        for name in columns:
            ours = cell([final[name] for final in finals.values()], DIGITS[name])
            ours = f"**{ours}**" if best.get(name) == row.label else ours
            cells.append(ours)
            if of_paper:
                cells.append(f"*{paper[name]}*" if name in paper else "")
        lines.append(cells)
    for label, published in PUBLISHED.get(table.name, {}).items():
        cells = [f"*{published[name]}*" if name in published else "" for name in columns]
        lines.append([f"*{label}*", "*published*", "", "", *cells])
    said = (textwrap.fill(text, 118) + "\n" for text in verdict(table, results, columns))
    parts = [f"### {table.title}\n", markdown(heads, lines), *said]
    for end, caption in FIGURES.items():
        parts += _figure(figures / f"{table.name}{end}.png", caption, beside)
    for row in table.rows:
        caption = (
            f"{row.label}: image, explanation, masks, background, and the objects, front first."
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


def verdict(table: Table, results: Mapping[Row, Results], columns: Sequence[str]) -> list[str]:
    """Sentences that say where AIR-ASR is ahead, and where not.

    Rows on other scenes than AIR-ASR's are not compared.
    """
    asr = next(row for row in table.rows if row.label == "AIR-ASR")
    scenes = asr.config().data
    means = {row: mean(results[row], columns) for row in table.rows if row.config().data == scenes}
    if not means[asr]:
        return []
    sentences = []
    if (table.name, "asr") in PAPER:
        paper = _numbers(PAPER[table.name, "asr"])
        behind = [name for name in columns if not better(name, means[asr][name], paper[name])]
        sentences.append(
            "Our AIR-ASR is ahead of the paper's in every column."
            if not behind
            else f"Our AIR-ASR is not ahead of the paper's in {_names(behind)}."
        )
    published = {
        (label, name): better(name, means[asr][name], value)
        for label, texts in PUBLISHED.get(table.name, {}).items()
        for name, value in _numbers(texts).items()
    }
    for ahead, words in ((True, "ahead of"), (False, "not ahead of")):
        those = [
            f"{HEADS[name]} of {label}"
            for (label, name), is_so in published.items()
            if is_so == ahead
        ]
        if those:
            sentences.append(f"Our AIR-ASR is {words} the published {_listed(those)}.")
    others = {row: of_row for row, of_row in means.items() if row is not asr and of_row}
    for row, of_row in others.items():
        lost = [name for name in columns if better(name, of_row[name], means[asr][name])]
        if lost:
            sentences.append(f"{row.label} is ahead of our AIR-ASR in {_names(lost)}.")
    boxes = [name for name in ("acc", "miou") if name in columns]
    if (
        others
        and len(others) == len(means) - 1
        and not any(
            better(name, of_row[name], means[asr][name])
            for of_row in others.values()
            for name in boxes
        )
    ):
        sentences.append(f"No baseline of ours is ahead of our AIR-ASR in {_names(boxes)}.")
    return [" ".join(sentences) + "\n"] if sentences else []


def _numbers(texts: Mapping[str, str]) -> dict[str, float]:
    """The means of cells such as 0.96 ± 0.01."""
    return {name: float(text.split()[0]) for name, text in texts.items()}


def _details(table: Table, results: Mapping[Row, Results], columns: Sequence[str]) -> str:
    """Every seed, and the command of every row, folded away."""
    names = [*columns, "iwae", "tidy"]
    lines, commands = [], []
    for row in table.rows:
        finals, failed = results[row]
        for seed, final in sorted(finals.items()):
            cells = [f"{final[n]:.{DIGITS[n]}f}" if n in final else "" for n in names]
            minutes = f"{final['seconds'] / 60:.0f}"
            lines.append([row.label, seed, *cells, final["steps"], minutes, _hardware(final)])
        for seed, why in sorted(failed.items()):
            lines.append([row.label, seed, f"failed: {why}"])
        commands.append(row.shown(seeds=max(3, len(finals) + len(failed))))
    heads = ["", "seed", *(HEADS[name] for name in names), "steps", "minutes", "on"]
    summary = "<details><summary>Every seed, and the commands</summary>\n\n"
    return f"{summary}{markdown(heads, lines)}\n{_code(commands)}\n</details>\n"


def _ablation(table: Table, results: Mapping[Row, Results]) -> str:
    names = ["nelbo", "acc", "se", "miou", "tidy"]
    own = [name for name in table.rows[0].config().constraints.weights]
    if set(own) & {"number", "balance"}:
        own = []  # in nats, and near 0 wherever counts are right
    else:
        names.remove("acc")  # of a count that is known
    lines = []
    for row in table.rows:
        final = results[row].finals.get(0)
        if final is None:
            why = results[row].failed.get(0)
            lines.append([row.label, f"failed: {why}" if why else "not yet run"])
            continue
        cells = [f"{final[name]:.{DIGITS[name]}f}" for name in names]
        lines.append([row.label, *cells, *(f"{final[name]:.3f}" for name in own)])
    epochs = table.rows[0].config().train.epochs
    commands = _code(row.shown(seeds=1) for row in table.rows)
    begun = any(results[row].finals or results[row].failed for row in table.rows)
    heads = ["", *(HEADS[name] for name in names), *own]
    parts = [
        f"### {table.title} ({epochs} epochs)\n",
        markdown(heads, lines) if begun else "Not yet run in this state.\n",
        f"<details><summary>The commands</summary>\n\n{commands}\n</details>\n",
    ]
    return "\n".join(parts)


def mean(results: Results, columns: Sequence[str]) -> dict[str, float]:
    """name -> mean over the seeds that finished; empty where none has."""
    finals = results.finals.values()
    return {name: float(np.mean([f[name] for f in finals])) for name in columns if finals}


def cell(values: Sequence[float], digits: int) -> str:
    """Mean ± standard deviation over seeds; one seed says nothing of the latter."""
    if not values:
        return ""
    text = f"{np.mean(values):.{digits}f}"
    return f"{text} ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else text


def better(name: str, one: float, other: float) -> bool:
    return one > other if name in HIGHER else one < other


def _best(means: Mapping[str, Mapping[str, float]]) -> dict[str, str]:
    """column -> label of the row with the best mean."""
    columns = {name for of_row in means.values() for name in of_row}
    found = {}
    for name in columns:
        values = {label: of_row[name] for label, of_row in means.items() if of_row}
        found[name] = (max if name in HIGHER else min)(values, key=values.get)
    return found


def markdown(heads: Sequence[str], lines: Sequence[Sequence[object]]) -> str:
    """A table; a line that is too short is filled up."""
    filled = [[*line, *[""] * (len(heads) - len(line))] for line in lines]
    every = [heads, ["---"] * len(heads), *filled]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in every) + "\n"


def _code(lines) -> str:
    return "\n".join(["```bash", *lines, "```"]) + "\n"


def _names(columns: Sequence[str]) -> str:
    return _listed([HEADS[name] for name in columns])


def _listed(words: Sequence[str]) -> str:
    """a, b and c."""
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
