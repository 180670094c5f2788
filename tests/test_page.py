"""What the results' page says of what is kept."""

import re
from pathlib import Path

import numpy as np

from experiments.results import page, rows, store
from experiments.results.measures import cell
from experiments.results.paper import PAPER
from experiments.results.verdict import verdict
from tests.kept import AIR, ASR, KNOWN, TABLE, result

NONE = store.Results({}, {})


def finals(*rows_of_values):
    return store.Results({seed: result(*v) for seed, v in enumerate(rows_of_values)}, {})


def test_cells_are_mean_and_standard_deviation():
    assert cell([1.0, 2.0, 6.0], 2) == f"3.00 ± {np.sqrt((4 + 1 + 9) / 2):.2f}"
    assert cell([1.25], 1) == "1.2" and cell([], 1) == ""


def test_the_verdict_names_every_column_that_is_lost():
    columns = ("nelbo", "acc", "se", "miou")
    ahead = {ASR: finals((245, 1.0, 22, 0.8), (247, 1.0, 24, 0.8)), AIR: NONE, KNOWN: NONE}
    (text,) = verdict(TABLE, ahead, columns)
    assert text == "Our AIR-ASR is ahead of the paper's in every column.\n"
    ahead[AIR] = finals((300, 0.6, 21, 0.85))  # its SE and its mean IoU are better
    (text,) = verdict(TABLE, ahead, columns)
    assert "AIR is ahead of our AIR-ASR in SE and mean IoU." in text
    assert "No baseline" not in text
    ahead[AIR] = finals((300, 0.6, 25, 0.7))
    (text,) = verdict(TABLE, ahead, columns)
    assert "No baseline" not in text  # while one is not yet run
    ahead[KNOWN] = finals((300, 0.6, 25, 0.7))
    (text,) = verdict(TABLE, ahead, columns)
    assert "No baseline of ours is ahead of our AIR-ASR in ACC and mean IoU." in text
    # The paper's: 360.20, 0.96, 28.84, 0.61. Equal is not ahead.
    behind = ahead | {ASR: finals((361, 0.96, 28.0, 0.60))}
    (text,) = verdict(TABLE, behind, columns)
    assert "not ahead of the paper's in nELBO (nats), ACC and mean IoU." in text
    assert verdict(TABLE, {row: NONE for row in TABLE.rows}, columns) == []


def test_the_page_shows_ours_beside_the_papers_every_seed_and_every_failure(tmp_path):
    results = {row: NONE for part in rows.TABLES.values() for table in part for row in table.rows}
    results[AIR] = finals((300.0, 0.6, 24.0, 0.7))
    results[ASR] = store.Results(
        {0: result(244.0, 1.0, 22.0, 0.8, tidy=0.5), 2: result(246.0, 1.0, 23.0, 0.9)},
        {1: "nelbo is not finite at step 7"},
    )
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "mnist13-curves.png").touch()
    text = page.page(
        rows.TABLES, results, tmp_path / "results", tmp_path / "figures", beside=tmp_path
    )
    assert not re.search(r"\{\w*\}", text)
    line = next(line for line in text.splitlines() if line.startswith("| AIR-ASR | 2, 1 failed"))
    ours = "**245.0 ± 1.4** | *360.20 ± 19.67* | **1.000 ± 0.000** | *0.96 ± 0.00*"
    assert f"| 20 | 10 min, 2 CPU cores | {ours} |" in line
    assert "| AIR | 1 | 20 | 10 min, 2 CPU cores | 300.0 | *404.41 ± 4.58* | 0.600 |" in text
    assert "| AIR-ASR | 1 | failed: nelbo is not finite at step 7 |" in text
    assert (
        "| AIR-ASR | 0 | 244.0 | 1.000 | 22.0 | 0.800 |  | 0.500 | 7500 | 10 | 2 CPU cores |"
        in text
    )
    assert "| AIR-pPrior | not yet run | 20 |" in text
    assert "Not yet run in this state." in text and "| by hand, no F6 |" not in text
    assert "](figures/mnist13-curves.png)" in text and "mnist14-curves" not in text
    assert "configs/mnist13.py:air,known --config.seeds=3" in text and "`results/`" in text


def test_what_a_prior_over_counts_costs_is_said_where_counts_are_inferred():
    columns = ("nelbo", "acc", "se", "miou")
    found = {AIR: finals((300, 0.6, 25, 0.7)), KNOWN: NONE, ASR: finals((245, 1.0, 22, 0.8))}
    found[AIR].finals[0]["kl_count"] = 40.04
    (text,) = verdict(TABLE, found, columns)
    assert "Of these nELBOs, KL(q(n) || p(n)) is 40.0 for AIR and 0.5 for AIR-ASR." in text
    table = next(table for table in rows.TABLES["overlap"] if table.name == "mnist3")
    known = {row: finals((190, 1.0, 9, 0.9)) for row in table.rows}  # nothing is counted
    assert "KL(" not in "".join(verdict(table, known, ("nelbo", "se", "miou")))


def test_shortened_runs_show_means_failures_and_what_is_not_yet_run():
    results = {row: NONE for part in rows.TABLES.values() for t in part for row in t.rows}
    _, ablation, known = rows.TABLES["ablation"]
    asr, by_hand, *_ = ablation.rows
    results[asr] = store.Results({0: result(244.0, 1.0, 22.0, 0.8, tidy=0.5)}, {})
    two = {s: result(240.0 + s, 0.9, 20.0, 0.7, tidy=0.4) for s in (0, 2)}
    results[by_hand] = store.Results(two, {1: "nelbo is not finite at step 7"})
    text = page.page(rows.TABLES, results, Path("results"), Path("figures"), beside=Path())
    assert "| AIR-ASR | 1 | 244.0 | 1.000 | 22.0 | 0.800 | 0.500 |" in text
    assert "| weights by hand | 2 | 241.0 ± 1.4 | 0.900 ± 0.000 |" in text
    assert "| weights by hand, seed 1 | failed: nelbo is not finite at step 7 |" in text
    assert "| by hand, no balance | not yet run |" in text
    assert "| seed 0 | 1 | 244.0 | 1.000 |" in text  # of ten
    assert known.rows[0].config().model.count == 3 and "| by hand, no F6 |" not in text
    constraints = {f"F{i}": i / 10 for i in range(1, 8)}
    results[known.rows[0]] = store.Results(
        {0: result(190.0, 1.0, 9.0, 0.9, tidy=0.9) | constraints}, {}
    )
    text = page.page(rows.TABLES, results, Path("results"), Path("figures"), beside=Path())
    assert "| AIR-ASR | 1 | 190.0 | 9.0 | 0.900 | 0.900 | 0.100 | 0.200 |" in text


def test_what_others_have_published_stands_below_ours():
    table = next(table for table in rows.TABLES["colour"] if table.name == "colour_dsprites")
    results = {row: NONE for part in rows.TABLES.values() for t in part for row in t.rows}
    asr = next(row for row in table.rows if row.label == "AIR-ASR")
    ours = result(-8000.0, 0.96, 20.0, 0.8, mask_miou=0.85, fg_ari=0.91)
    results[asr] = store.Results({0: ours}, {})
    text = page.page(rows.TABLES, results, Path("results"), Path("figures"), beside=Path())
    assert "**-8000.0** | **0.960** | **20.0** | **0.800** | **0.850** | **0.910** |" in text
    assert "| *MONet* | *published* |  |  |  |  |  |  |  | *0.904 ± 0.008* |" in text
    said = "ahead of the published FG-ARI of IODINE and MONet. Our AIR-ASR is not ahead of"
    assert f"{said} the published FG-ARI of Slot Attention." in text.replace("\n", " ")
    (said,) = verdict(table, results, table.columns)
    assert "paper" not in said and "No baseline" not in said  # none has run


def test_rows_on_other_scenes_are_not_compared():
    table = next(table for table in rows.TABLES["colour"] if table.name == "colour_mnist")
    asr, noise, grid = table.rows
    one = finals((-8000.0, 0.96, 20.0, 0.8)), finals((-9000.0, 0.99, 10.0, 0.9))
    columns = ("nelbo", "acc", "se", "miou")
    assert verdict(table, {asr: one[0], noise: one[1], grid: NONE}, columns) == []


def test_the_papers_cells():
    assert PAPER["mnist24", "pprior"] == {
        "nelbo": "643.28 ± 8.67",
        "acc": "0.00 ± 0.00",
        "se": "83.35 ± 0.44",
        "miou": "0.10 ± 0.00",
    }
    assert PAPER["dsprites3", "asr"] == {
        "nelbo": "271.8 ± 18.8",
        "se": "20.9 ± 2.1",
        "miou": "0.61 ± 0.03",
    }
    assert len(PAPER) == 15
