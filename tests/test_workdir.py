"""A run's folder: whose it is, and what in it is whole at any moment."""

import errno
import json
import subprocess
import sys
from pathlib import Path

import pytest

from configs import mnist3
from experiments.run.finished import folders
from experiments.run.workdir import MetricsLog, hold, open_workdir, write_json
from tests.end_to_end.runs import scalars

ROOT = Path(__file__).parents[1]


def test_a_workdir_in_which_another_process_works_is_refused_until_it_ends(tmp_path):
    code = "import sys, pathlib; from experiments.run import workdir; "
    code += "workdir.hold(pathlib.Path(sys.argv[1])); print('held', flush=True); input()"
    start = [sys.executable, "-c", code, str(tmp_path)]
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    with subprocess.Popen(start, **pipes) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(ValueError, match="another process is at work in .*wait until it ends"):
            hold(tmp_path)
        other.kill()  # a lock that is left behind holds nothing
    hold(tmp_path)


def test_a_workdir_of_another_configuration_is_refused_and_left_alone(tmp_path):
    workdir = tmp_path / "run"
    open_workdir(workdir, mnist3.get_config("asr"), {"scenes": "abc"}, resume=False)
    before = (workdir / "config.json").read_text()
    with pytest.raises(
        ValueError, match=r"method is 'asr' there and 'air' here.*another --workdir"
    ):
        open_workdir(workdir, mnist3.get_config("air"), {"scenes": "abc"}, resume=True)
    with pytest.raises(ValueError, match="holds this run already: pass --resume"):
        open_workdir(workdir, mnist3.get_config("asr"), {"scenes": "abc"}, resume=False)
    open_workdir(workdir, mnist3.get_config("asr"), {"scenes": "abc"}, resume=True)
    with pytest.raises(ValueError, match="scenes is 'abc' there and 'xyz' here"):
        open_workdir(workdir, mnist3.get_config("asr"), {"scenes": "xyz"}, resume=True)
    elsewhere = mnist3.get_config("asr")
    elsewhere.data.data_dir = "/another/cache"  # does not change a result
    open_workdir(workdir, elsewhere, {"scenes": "abc"}, resume=True)
    assert (workdir / "config.json").read_text() == before


def test_runs_in_folders_of_one_name_are_two(tmp_path):
    given = [tmp_path / method / "seed0" for method in ("air", "asr")]
    for folder in given:
        folder.mkdir(parents=True)
        write_json(folder / "final.json", {})
    found = folders([*given, given[0]])
    assert found == {"seed0": given[0], str(given[1]): given[1]}


def test_a_folder_of_other_files_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("...")
    with pytest.raises(ValueError, match="not empty and not a run"):
        open_workdir(tmp_path, mnist3.get_config("asr"), {"scenes": "abc"}, resume=False)


def test_the_log_goes_on_from_the_checkpoint_without_a_line_twice_or_cut(tmp_path):
    log = MetricsLog(tmp_path, 0)
    for step in (50, 100, 150):
        log.write(step, {"loss": step + 1.0})
    log.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 200, "lo')  # killed while it wrote
    log = MetricsLog(tmp_path, 100)
    assert [row["step"] for row in log.rows] == [50, 100]
    log.write(150, {"loss": 7.0})
    log.close()
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert rows == [
        {"step": 50, "loss": 51.0},
        {"step": 100, "loss": 101.0},
        {"step": 150, "loss": 7.0},
    ]


def test_tensorboard_has_every_row_as_soon_as_it_is_written(tmp_path):
    """Neither log is closed: a killed run does not close it either."""
    log = MetricsLog(tmp_path, 0)
    for step in (50, 100):
        log.write(step, {"loss": float(step)})
    again = MetricsLog(tmp_path, 50)  # goes on from the checkpoint of step 50
    again.write(100, {"loss": 7.0})
    assert scalars(tmp_path) == {("train/loss", 50): 50.0, ("train/loss", 100): 7.0}
    log.close()
    again.close()


def test_a_json_file_is_complete_or_as_it_was(tmp_path, monkeypatch):
    """Stopped between writing and renaming, the old file stands."""
    file = tmp_path / "final.json"
    write_json(file, {"a": 1})

    def stopped(*_):
        raise KeyboardInterrupt

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="final.json could not be written: .*No space left"):
        write_json(file, {"a": 2})
    monkeypatch.setattr("os.replace", stopped)
    with pytest.raises(KeyboardInterrupt):
        write_json(file, {"a": 2})
    assert json.loads(file.read_text()) == {"a": 1}
