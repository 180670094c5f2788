"""What a table of the page says in words: where AIR-ASR is ahead, and where not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from experiments.results.measures import HEADS, better, mean
from experiments.results.paper import PAPER, PUBLISHED
from experiments.results.rows import Row, Table
from experiments.results.store import Results


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
        behind = [name for name in paper if not better(name, means[asr][name], paper[name])]
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
        those = {}  # measure -> whose
        for (label, name), is_so in published.items():
            if is_so == ahead:
                those.setdefault(HEADS[name], []).append(label)
        if those:
            listed = _listed([f"{head} of {_listed(labels)}" for head, labels in those.items()])
            sentences.append(f"Our AIR-ASR is {words} the published {listed}.")
    others = {row: of_row for row, of_row in means.items() if row is not asr and of_row}
    for row, of_row in others.items():
        both = [name for name in columns if name in of_row and name in means[asr]]
        lost = [name for name in both if better(name, of_row[name], means[asr][name])]
        if lost:
            sentences.append(f"{row.label} is ahead of our AIR-ASR in {_names(lost)}.")
    if asr.config().model.count < 0 and others:
        kl = {row: mean(results[row], ["kl_count"])["kl_count"] for row in means if means[row]}
        nats = [f"{value:.1f} for {row.label}" for row, value in kl.items()]
        sentences.append(f"Of these nELBOs, KL(q(n) || p(n)) is {_listed(nats)}.")
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


def _names(columns: Sequence[str]) -> str:
    return _listed([HEADS[name] for name in columns])


def _listed(words: Sequence[str]) -> str:
    """a, b and c."""
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
