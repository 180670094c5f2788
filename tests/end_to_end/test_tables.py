"""Real runs of `python -m experiments.tables`, with one tiny row."""

import json
import signal
import subprocess
import time

from tests.end_to_end.runs import FEWER, TINY, command, finished, run

FIELDS = [flag.removeprefix("--config.") for flag in TINY] + [*FEWER["number"]]
FIELDS += ["evaluate.every=0", "evaluate.iwae_samples=0"]
# The command, with a row that takes seconds instead of the paper's.
DRIVER = f"""
import ast
from experiments import tables
from experiments.results import rows
from experiments.run.main import main
fields = dict(field.split("=") for field in {FIELDS!r})
own = {{"data.digits_dir": fields.pop("data.digits_dir")}}
own |= {{name: ast.literal_eval(value) for name, value in fields.items()}}
row = rows.Row("AIR-ASR", "mnist13", "asr", tuple(own.items()))
table = rows.Table("mnist13", "digits", (row,))
rows.TABLES = dict(number=(table,), overlap=(), colour=(), ablation=())
main(tables.tables)
"""


def tables(shared, folder, *arguments):
    call = command(shared, "tables")
    places = [f"--{name}={folder / name}" for name in ("runs", "results", "figures")]
    call["args"] = [call["args"][0], "-c", DRIVER, *places, f"--out={folder / 'RESULTS.md'}"]
    call["args"] += ["--seeds=2", *arguments]
    return call


def test_a_table_that_is_stopped_goes_on_and_is_not_run_twice(shared, tmp_path):
    (tmp_path / "results").mkdir()
    process = subprocess.Popen(**tables(shared, tmp_path))
    workdir = tmp_path / "runs" / "mnist13-asr-seeds0-1"
    while not (workdir / "seed0" / "final.json").exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)  # even if seed 1 ends before it gets the signal
    output, _ = process.communicate()
    assert process.returncode != 0 and "goes on from here" in output, output[-3000:]
    first = (workdir / "seed0" / "final.json").read_text()

    stopped = not (workdir / "final.json").exists()
    output = finished(tables(shared, tmp_path))
    assert output.count("+ python") == output.count("--resume") == int(stopped)
    assert (workdir / "seed0" / "final.json").read_text() == first
    page = (tmp_path / "RESULTS.md").read_text()
    assert "| AIR-ASR | 2 | 4 | 0 min, " in page
    for seed in range(2):
        kept = tmp_path / "results" / f"mnist13-asr-seed{seed}"
        final = json.loads((workdir / f"seed{seed}" / "final.json").read_text())
        assert json.loads((kept / "final.json").read_text()) == final  # embedded: in no folder
        assert final["hardware"].endswith(("CPU core", "CPU cores"))
        nelbo = f"{final['nelbo']:.1f} ± {final['nelbo_stderr']:.1f}"
        assert f"| AIR-ASR | {seed} | {nelbo} |" in page
    for end in ("", "-samples", "-curves", "-counts"):
        assert f"figures/mnist13{end}.png" in page
        assert (tmp_path / "figures" / f"mnist13{end}.png").stat().st_size > 5_000

    before = (tmp_path / "figures" / "mnist13.png").read_bytes()
    assert "+ python" not in finished(tables(shared, tmp_path))
    assert (tmp_path / "figures" / "mnist13.png").read_bytes() == before


def test_a_table_that_there_is_not_is_refused(shared, tmp_path):
    output = run(shared, "tables", "--only=mnist12", f"--out={tmp_path / 'x.md'}", expect=1)
    assert output.startswith("error: --only must name some of mnist13, mnist14, ")
    assert output.endswith(", got 'mnist12'\n") and not list(tmp_path.iterdir())
