"""Rows of a table and results of runs that never ran, for the tests of the results' page."""

import json

from experiments.results import rows

TABLE = next(table for table in rows.TABLES["number"] if table.name == "mnist13")
AIR, _, ASR, KNOWN = TABLE.rows
TABLE = TABLE._replace(rows=(AIR, KNOWN, ASR))


def leave(folder, row, seed, final=None, failed=None, **changes):
    """A run's folder as the training command leaves it; neither final nor failed: under way."""
    folder.mkdir(parents=True)
    config = row.config(seed)
    config.update_from_flattened_dict(changes)
    settings = json.loads(config.to_json()) | {"scenes": "abc", "canvas": [50, 50]}
    (folder / "config.json").write_text(json.dumps(settings))
    lines = [json.dumps({"step": 50 * i, "nelbo": 400.0 - i}) for i in range(1, 151)]
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    if final is not None:
        (folder / "final.json").write_text(json.dumps(final))
    if failed is not None:
        (folder / "failed.json").write_text(json.dumps({"error": failed}))
    return folder


def result(nelbo, acc, se, miou, **more):
    shared = {"seconds": 600.0, "hardware": "2 CPU cores", "steps": 7500, "data": "digits in /here"}
    shared |= {"kl_count": 0.5} | more
    return dict(nelbo=nelbo, acc=acc, se=se, miou=miou, **shared)
