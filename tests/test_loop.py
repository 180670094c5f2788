"""The loop and its parts: the stream of batches, seeds side by side, non-finite values, the log."""

import errno
import json
import os
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import asr_jax
from asr_jax.checkpoint import CheckpointError
from configs import mnist3
from experiments import build, loop
from experiments.loop import first_non_finite, groups, total_steps
from experiments.order import batches
from experiments.workdir import MetricsLog, write_json
from tests.end_to_end.runs import scalars


def test_every_image_is_seen_once_an_epoch():
    stream = batches(images=10, batch_size=4, seed=0, first=0, last=10).ravel()  # 4 epochs
    for epoch in range(4):
        assert sorted(stream[epoch * 10 : epoch * 10 + 10]) == list(range(10))
    assert list(stream[:10]) != list(stream[10:20])


def test_a_stretch_of_batches_is_the_same_wherever_it_starts():
    whole = batches(10, 4, 3, 0, 12)
    pieces = [batches(10, 4, 3, first, first + 3) for first in (0, 3, 6, 9)]
    np.testing.assert_array_equal(whole, np.concatenate(pieces))
    assert not np.array_equal(whole, batches(10, 4, 4, 0, 12))


def test_a_run_is_whole_dispatches():
    config = mnist3.get_config("asr")
    config.train.epochs, config.train.batch_size, config.train.log_every = 3, 64, 50
    # 3 epochs of 20,000 images are 937.5 steps: 19 dispatches of 50.
    assert total_steps(config, 20_000) == 950
    # A dispatch longer than the run does not make the run longer.
    config.train.log_every = 5_000
    assert total_steps(config, 20_000) == 938


@pytest.mark.parametrize("backend, together", [("cpu", False), ("gpu", True), ("tpu", True)])
def test_seeds_are_side_by_side_on_accelerators_or_when_told_to(monkeypatch, backend, together):
    monkeypatch.setattr("jax.default_backend", lambda: backend)
    config, one_by_one = mnist3.get_config("asr"), [[0], [1], [4]]
    assert groups(config, [0, 1, 4]) == ([[0, 1, 4]] if together else one_by_one)
    config.train.side_by_side = "yes"
    assert groups(config, [0, 1, 4]) == [[0, 1, 4]]
    assert groups(config, []) == []  # all are finished
    config.train.side_by_side = "no"
    assert groups(config, [0, 1, 4]) == one_by_one and groups(config, []) == []


def test_a_way_to_run_seeds_that_there_is_not_is_refused():
    config = mnist3.get_config("asr")
    config.train.side_by_side = "true"
    with pytest.raises(ValueError, match="side_by_side must be one of auto, yes, no, got 'true'"):
        total_steps(config, 20_000)


def test_more_steps_than_an_int32_counts_are_refused():
    config = mnist3.get_config("asr")
    config.train.epochs, config.train.batch_size, config.train.log_every = 2**31 - 1, 8, 1
    assert total_steps(config, 8) == 2**31 - 1
    with pytest.raises(ValueError, match=r"epochs=2147483647 of 16 scenes.* 4294967294 steps, and"):
        total_steps(config, 16)
    config.train.log_every = 2**30  # the last dispatch is a whole one
    with pytest.raises(ValueError, match=r"train.log_every=1073741824, are 2147483648 steps"):
        total_steps(config, 8)


TOTAL = 16  # steps of the runs below: 8 dispatches of 2, a checkpoint every 4 steps


@pytest.fixture
def train(monkeypatch, tmp_path):
    """`loop.train` with a program that is quick to compile: the loop around it is the real one.

    Its state says which seed it has and adds up the images that it saw, and its loss is that sum;
    `breaks` has the step from which a seed's loss is not finite.
    """

    def init_state(model, tx, seed):
        params = {"seed": jnp.array(seed), "sum": jnp.zeros((), jnp.int32)}
        return asr_jax.TrainState(jnp.zeros((), jnp.int32), params, (), jax.random.key(seed))

    def go(folder, seeds, breaks=None, killed_after=TOTAL):
        limits = jnp.array([(breaks or {}).get(seed, TOTAL + 1) for seed in range(8)])

        def step(state, index):
            state = state.replace(
                step=state.step + 1,
                params=state.params | {"sum": state.params["sum"] + index.sum()},
            )
            loss = state.params["sum"] + 1000.0 * state.params["seed"]
            loss = jnp.where(state.step < limits[state.params["seed"]], loss, jnp.nan)
            return state, {"loss": loss, "nelbo": loss, "penalty": jnp.zeros(())}

        def one(state, indices):  # [n, B] -> metrics [n]
            return jax.lax.scan(step, state, indices)

        def run(state, images, indices, schedule):
            if state.step.max() >= killed_after:
                raise KeyboardInterrupt
            assert schedule.presence_prior.shape == indices.shape[:1]
            if indices.ndim == 3:  # [n, B, S]
                return jax.vmap(one, in_axes=(0, 2))(state, indices)
            return one(state, indices)

        monkeypatch.setattr("asr_jax.init_state", init_state)
        monkeypatch.setattr("asr_jax.parallel.data_parallel", lambda *_, **__: run)
        config = mnist3.get_config("asr")
        config.train.batch_size, config.train.log_every, config.train.checkpoint_every = 8, 2, 4
        folders = {seed: tmp_path / folder / f"seed{seed}" for seed in seeds}
        for path in folders.values():
            path.mkdir(parents=True, exist_ok=True)
        images, optimizer = np.zeros((20, 4, 4), np.uint8), build.optimizer(config)
        return folders, loop.train(config, None, (), optimizer, TOTAL, images, folders)

    return go


def checkpoints(folder):
    return sorted(int(path.name) for path in (folder / "checkpoints").iterdir())


def metrics(folder):
    return (folder / "metrics.jsonl").read_text()


def test_seeds_side_by_side_are_the_runs_that_they_are_alone(train):
    folders, together = train("together", [3, 5])
    for seed in (3, 5):
        alone, result = train(f"alone{seed}", [seed])
        assert metrics(folders[seed]) == metrics(alone[seed])
        assert checkpoints(folders[seed]) == checkpoints(alone[seed])  # 12, 16 and the best
        assert jax.tree.all(jax.tree.map(np.array_equal, together[seed][0], result[seed][0]))
        # 16 steps of 8 images are 6 epochs of 20, whose numbers add up to 190, and 8 images more.
        rest = batches(20, 8, seed, 15, 16).sum()
        assert int(together[seed].params["sum"]) == 6 * 190 + rest
        assert together[seed].steps == TOTAL and together[seed].history[-1]["step"] == TOTAL
    assert metrics(folders[3]) != metrics(folders[5])


def test_a_seed_that_breaks_is_an_error_and_the_others_go_on(train):
    """Seed 4 breaks at step 6, in the third dispatch: what is left is the state after step 4."""
    whole, _ = train("whole", [3, 5])
    folders, trained = train("broken", [3, 4, 5], breaks={4: 6})
    for seed in (3, 5):
        assert trained[seed].steps == TOTAL
        assert metrics(folders[seed]) == metrics(whole[seed])
        assert not (folders[seed] / "failed.json").exists()
    assert isinstance(trained[4], FloatingPointError)
    message = str(trained[4])
    assert "nelbo is not finite at step 6; the state after step 4 is saved in" in message
    assert "start again in another --workdir with a lower config.optimizer.learning_rate" in message
    assert json.loads((folders[4] / "failed.json").read_text()) == {"error": message}
    rows = [json.loads(line) for line in metrics(folders[4]).splitlines()]
    assert [row["step"] for row in rows] == [2, 4] and checkpoints(folders[4]) == [4]


def test_a_run_ends_early_when_every_seed_broke(train):
    folders, trained = train("broken", [0, 1], breaks={0: 3, 1: 5}, killed_after=6)
    assert all(isinstance(result, FloatingPointError) for result in trained.values())
    assert "after step 2 is saved" in str(trained[0]) and "after step 4" in str(trained[1])


def test_the_others_resume_without_the_seed_that_broke(train):
    whole, _ = train("whole", [3, 5])
    with pytest.raises(KeyboardInterrupt):
        train("killed", [3, 4, 5], breaks={4: 7}, killed_after=14)
    folders, trained = train("killed", [3, 5])
    for seed in (3, 5):
        assert metrics(folders[seed]) == metrics(whole[seed])
        assert trained[seed].steps == TOTAL and checkpoints(folders[seed])[-1] == TOTAL


def test_a_run_killed_between_two_saves_goes_on_from_the_earlier_one(train):
    """One seed has the checkpoints 4 and 8, the other 4 alone: both go on from step 4."""
    whole, _ = train("whole", [3, 5])
    with pytest.raises(KeyboardInterrupt):
        train("killed", [3, 5], killed_after=8)
    folder = whole[5].parents[1] / "killed" / "seed5"
    assert checkpoints(folder) == [4, 8]
    shutil.rmtree(folder / "checkpoints" / "8")
    folders, trained = train("killed", [3, 5])
    for seed in (3, 5):
        assert metrics(folders[seed]) == metrics(whole[seed])
        assert trained[seed].steps == TOTAL and checkpoints(folders[seed])[-1] == TOTAL


def damage(folder, step):
    """Cuts a file of that checkpoint in two."""
    file = folder / "checkpoints" / str(step) / "state" / "_METADATA"
    os.truncate(file, file.stat().st_size // 2)


@pytest.mark.parametrize("seeds", [[3], [3, 5]])
def test_a_run_goes_on_from_the_checkpoint_before_a_damaged_one(train, capsys, seeds):
    whole, _ = train("whole", seeds)
    with pytest.raises(KeyboardInterrupt):
        train("killed", seeds, killed_after=12)
    folder = whole[3].parents[1] / "killed" / "seed3"
    damage(folder, 12)
    folders, trained = train("killed", seeds)
    (warning,) = capsys.readouterr().err.splitlines()
    assert warning.startswith(f"warning: the checkpoint of step 12 in {folder / 'checkpoints'} is")
    assert "(state/_METADATA is not what was written)" in warning
    assert warning.endswith("is called 12.damaged now, and the run goes on from step 8")
    shutil.rmtree(folder / "checkpoints" / "12.damaged")  # kept
    for seed in seeds:
        assert metrics(folders[seed]) == metrics(whole[seed])
        assert trained[seed].steps == TOTAL and checkpoints(folders[seed])[-1] == TOTAL


def test_a_run_whose_checkpoints_are_all_damaged_is_refused_and_left_as_it_is(train, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train("killed", [3], killed_after=10)
    folder = tmp_path / "killed" / "seed3"
    before, steps = metrics(folder), checkpoints(folder)
    for step in steps:
        damage(folder, step)
    with pytest.raises(CheckpointError, match=f"{folder}.*no checkpoint to go on from.*remove it"):
        train("killed", [3])
    assert checkpoints(folder) == steps == [4, 8] and metrics(folder) == before


def test_the_first_broken_term_is_named_and_not_the_sums_it_breaks():
    good = np.arange(4.0)
    values = {
        "loss": np.array([1, 1, np.nan, np.nan]),
        "nelbo": np.array([1, 1, np.nan, np.nan]),
        "kl_scale": np.array([1, 1, np.inf, 1]),
        "gradient_norm": np.array([1, 1, np.nan, np.nan]),
        "se": good,
    }
    assert first_non_finite(values) == (2, "kl_scale")
    assert first_non_finite({"loss": good}) is None
    # The objective is fine and its gradient is not: then that is what broke.
    assert first_non_finite({"loss": good, "gradient_norm": good * np.nan})[1] == "gradient_norm"


def test_the_log_goes_on_from_the_checkpoint_without_a_line_twice_or_cut(tmp_path):
    log = MetricsLog(tmp_path, 0)
    for step in (50, 100, 150):
        log.write(step, {"loss": np.array([step, step + 2.0])})
    log.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 200, "lo')  # killed while it wrote
    log = MetricsLog(tmp_path, 100)
    assert [row["step"] for row in log.rows] == [50, 100]
    log.write(150, {"loss": np.array([7.0])})
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
        log.write(step, {"loss": np.array([step])})
    again = MetricsLog(tmp_path, 50)  # goes on from the checkpoint of step 50
    again.write(100, {"loss": np.array([7.0])})
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
