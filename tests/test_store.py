"""What is kept of runs, and which run is next."""

import json
from pathlib import Path

import jax
import pytest
from ml_collections import ConfigDict

import asr_jax
from experiments.results import rows, store
from experiments.run import finished, steps
from experiments.run.from_config import from_config
from experiments.run.workdir import read_config
from tests.kept import AIR, ASR, KNOWN, leave, result

KEPT = Path(__file__).parents[1] / "docs" / "results"


def test_missing_seeds_are_one_command_and_what_was_stopped_goes_on(tmp_path):
    runs, results = tmp_path / "runs", tmp_path / "results"
    workdir, command = store.next_run(ASR, 3, runs, results)
    assert workdir == runs / "mnist13-asr-seeds0-2"
    assert command[:3] == ["-m", "experiments.number", "--config=configs/mnist13.py:asr"]
    assert command[3:] == ["--config.seed=0", "--config.seeds=3", f"--workdir={workdir}"]
    # Seed 1 has its results: 0 and 2 are two commands.
    leave(store.folder(results, ASR, 1), ASR, 1, final=result(1, 1, 1, 1))
    assert store.next_run(ASR, 3, runs, results)[0] == runs / "mnist13-asr-seed0"
    leave(runs / "mnist13-asr-seed2", ASR, 2)
    workdir, command = store.next_run(ASR, 3, runs, results)
    assert workdir == runs / "mnist13-asr-seed2" and command[-1] == "--resume"
    # A failure is a result.
    leave(store.folder(results, ASR, 2), ASR, 2, failed="nelbo is not finite at step 7")
    leave(store.folder(results, ASR, 0), ASR, 0, final=result(1, 1, 1, 1))
    assert store.next_run(ASR, 3, runs, results) is None
    # Nothing of that belongs to the row whose name begins alike.
    assert store.next_run(KNOWN, 1, runs, results)[0] == runs / "mnist13-air-known-seed0"
    leave(runs / "mnist13-air-known-seed0", KNOWN, 0, final=result(1, 1, 1, 1))
    assert store.ended_runs(AIR, runs) == {}


def test_a_seed_of_several_is_kept_once_it_has_ended(tmp_path):
    runs, results = tmp_path / "runs", tmp_path / "results"
    leave(runs / "mnist13-asr-seeds0-1", ASR, 0)
    seed = leave(runs / "mnist13-asr-seeds0-1" / "seed1", ASR, 1, final=result(2, 1, 1, 1))
    store.keep(ASR, runs, results)
    found = store.read(results, ASR)
    assert list(found.finals) == [1] and found.finals[1]["nelbo"] == 2 and not found.failed
    assert found.finals[1]["data"] == "digits"  # no folder of this machine
    (seed / "final.json").write_text(json.dumps(result(3, 1, 1, 1)))
    store.keep(ASR, runs, results)  # never overwritten
    assert store.read(results, ASR).finals[1]["nelbo"] == 2
    kept = json.loads((results / "mnist13-asr-seed1" / "curve.json").read_text())
    assert len(kept["step"]) == 60 and kept["step"] == sorted(kept["step"])
    # 150 lines in 60 parts: the first 30 have 3 lines, the others 2.
    assert kept["nelbo"][0] == 398.0 and kept["nelbo"][-1] == pytest.approx(250.5)


def test_a_result_of_another_configuration_is_refused(tmp_path):
    leave(store.folder(tmp_path, ASR, 0), ASR, 0, result(1, 1, 1, 1), **{"train.epochs": 7})
    with pytest.raises(ValueError, match="train.epochs is 7 there and 20 here.*move it"):
        store.read(tmp_path, ASR)
    # A field that is newer than the run has its default there, and where it differs, it counts.
    config = store.folder(tmp_path, ASR, 0) / "config.json"
    settings = json.loads(ASR.config(0).to_json())
    del settings["model"]["scale_glimpse"]
    config.write_text(json.dumps(settings))
    store.check(config.parent, ASR, 0)
    newer = ASR._replace(settings=(("model.scale_glimpse", 1.3),))
    with pytest.raises(ValueError, match="model.scale_glimpse is 0.0 there and 1.3 here"):
        store.check(config.parent, newer, 0)


def test_a_run_that_fails_at_once_is_kept_without_what_is_of_this_machine(tmp_path):
    runs, results = tmp_path / "runs", tmp_path / "results"
    why = "nelbo is not finite at step 1; the state after step 0 is saved in /home/me: start again"
    run = leave(runs / "mnist13-asr-seed0", ASR, 0, failed=why, **{"data.digits_dir": "/home/me"})
    (run / "metrics.jsonl").write_text("")
    store.keep(ASR, runs, results)
    assert store.read(results, ASR) == ({}, {0: "nelbo is not finite at step 1"})
    kept = store.folder(results, ASR, 0)
    assert json.loads((kept / "curve.json").read_text()) == {"step": [], "nelbo": []}
    assert not any("/home/me" in file.read_text() for file in kept.iterdir())


def test_runs_on_other_scenes_are_refused(tmp_path):
    runs, results = tmp_path / "runs", tmp_path / "results"
    leave(store.folder(results, AIR, 0), AIR, 0, result(1, 1, 1, 1))
    run = leave(runs / "mnist13-asr-seed0", ASR, 0, result(1, 1, 1, 1))
    store.check_scenes(run, ASR, results)
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(config | {"scenes": "xyz"}))
    message = (
        "has scenes xyz for mnist13-asr, and .*mnist13-air-seed0 was run on abc.*ASR_MNIST_DIR"
    )
    with pytest.raises(ValueError, match=message):
        store.keep(ASR, runs, results)
    assert not store.kept(results, ASR, 0)
    # What has other data on purpose is no measure.
    kept = store.folder(results, AIR, 0) / "config.json"
    config["data"]["test_size"] = 7
    kept.write_text(json.dumps(config))
    store.keep(ASR, runs, results)
    assert store.kept(results, ASR, 0)


def test_what_is_kept_with_the_code_is_of_the_rows_as_they_are_now():
    kept = [store.read(KEPT, row) for row in {r for t in rows.all_tables() for r in t.rows}]
    found = sum(len(finals) + len(failed) for finals, failed in kept)  # each was checked
    assert found == len(list(KEPT.glob("*-seed*"))) > 0


@pytest.mark.parametrize("folder", sorted(KEPT.glob("*-seed*")), ids=lambda folder: folder.name)
def test_the_configuration_of_what_is_kept_still_makes_a_run(folder):
    settings = read_config(folder)
    run = from_config(ConfigDict(settings), tuple(settings["canvas"]))
    assert folder.name.startswith(run.name) and run.model.config.max_objects >= 3


@pytest.mark.parametrize("name", asr_jax.pretrained_names())
def test_parameters_that_come_with_the_package_make_a_run(name):
    one = finished.pretrained(name)
    assert one.run.name.startswith(name.replace("_", "-")) and one.seed == one.final["seed"]
    like = jax.eval_shape(one.run.model.init, steps.key(0))
    assert jax.tree.map(lambda x: x.shape, one.params) == jax.tree.map(lambda x: x.shape, like)
    assert one.run.model == asr_jax.load_pretrained(name).model
