"""The loop of a seed and who drives it: batches, side by side, stops, broken losses, the log."""

import functools
import json
import os
import shutil
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.figure import Figure

import asr_jax
from asr_jax.checkpoint import CheckpointError
from asr_jax.steps import batches
from asr_jax.training import first_non_finite
from configs import mnist3
from data_gen.scenes import Scenes
from experiments.run.data import Data
from experiments.run.from_config import from_config
from experiments.run.main import Stopped
from experiments.run.seeds import caught, groups, train_seeds
from tests.end_to_end.runs import pictures, scalars


def run_of(**changes):
    """A run of mnist3 with other fields of its section `train`."""
    config = mnist3.get_config("asr")
    config.train.update(changes)
    return from_config(config)


def test_a_run_is_whole_dispatches():
    # 3 epochs of 20,000 images are 937.5 steps: 19 dispatches of 50.
    assert run_of(epochs=3, batch_size=64, log_every=50).train.steps(20_000) == 950
    # A dispatch longer than the run does not make the run longer.
    assert run_of(epochs=3, batch_size=64, log_every=5_000).train.steps(20_000) == 938


def test_more_steps_than_an_int32_counts_are_refused():
    most = run_of(epochs=2**31 - 1, batch_size=8, log_every=1).train
    assert most.steps(8) == 2**31 - 1
    with pytest.raises(ValueError, match=r"epochs=2147483647 of 16 scenes.* 4294967294 steps, and"):
        most.steps(16)
    # The last dispatch is a whole one.
    whole = run_of(epochs=2**31 - 1, batch_size=8, log_every=2**30).train
    with pytest.raises(ValueError, match=r"train.log_every=1073741824, are 2147483648 steps"):
        whole.steps(8)


@pytest.mark.parametrize("backend, together", [("cpu", False), ("gpu", True), ("tpu", True)])
def test_seeds_are_side_by_side_on_accelerators_or_when_told_to(monkeypatch, backend, together):
    monkeypatch.setattr("jax.default_backend", lambda: backend)
    one_by_one = [[0], [1], [4]]
    assert groups(run_of(), [0, 1, 4]) == ([[0, 1, 4]] if together else one_by_one)
    yes, no = run_of(side_by_side="yes"), run_of(side_by_side="no")
    assert groups(yes, [0, 1, 4]) == [[0, 1, 4]] and groups(no, [0, 1, 4]) == one_by_one
    assert groups(yes, []) == groups(no, []) == []  # all are finished


TOTAL = 16  # steps of the runs below: 8 dispatches of 2, a checkpoint every 4 steps


@pytest.fixture
def train(monkeypatch, tmp_path):
    """`train_seeds` with a program that is quick to compile: all around it is the real one.

    Its state says which seed it has and adds up the images that it saw, and its loss is that sum;
    `breaks` has the step from which a seed's loss is not finite, `at` what happens before a step,
    `of` all seeds of a run of which some have ended.
    """

    def init_state(model, tx, key, rule):
        params = {"seed": jax.random.key_data(key)[-1], "sum": jnp.zeros((), jnp.int32)}
        return asr_jax.TrainState(jnp.zeros((), jnp.int32), params, (), key)

    def go(folder, seeds, breaks=None, at=None, look=None, of=None, **changes):
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
            (at or {}).get(int(state.step.max()), lambda: None)()
            n, _, *seeds = indices.shape  # [n, B], of several seeds [n, B, S]
            go.side_by_side = seeds
            assert schedule.presence_prior.shape == (*seeds, n)
            assert list(state.step.shape) == seeds
            if not seeds:
                return one(state, indices)
            return jax.vmap(one, in_axes=(0, 2))(state, indices)

        monkeypatch.setattr("asr_jax.init_state", init_state)
        monkeypatch.setattr("asr_jax.parallel.data_parallel", lambda *_, **__: run)
        monkeypatch.setattr("experiments.run.seeds.Look", lambda *_: look)
        config = mnist3.get_config("asr")
        config.train.side_by_side = "yes" if len(seeds) > 1 or of else "no"
        config.train.update(dict(batch_size=8, log_every=2, checkpoint_every=4) | changes)
        first, last = (of or seeds)[0], (of or seeds)[-1]
        config.seed, config.seeds = first, last - first + 1
        config.evaluate.every = 3 if look else 0
        folders = {seed: tmp_path / folder / f"seed{seed}" for seed in seeds}
        for path in folders.values():
            path.mkdir(parents=True, exist_ok=True)
        scenes = Scenes(np.zeros((20, 4, 4), np.uint8), *[None] * 4)
        data = Data(scenes, scenes, "nowhere", 20)
        return folders, dict(train_seeds(from_config(config), data, TOTAL, folders))

    return go


def stop():
    """What becomes of a run that is killed: it gets no chance to save."""
    raise KeyboardInterrupt


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
    folders, trained = train("broken", [0, 1], breaks={0: 3, 1: 5}, at={6: stop})
    assert all(isinstance(result, FloatingPointError) for result in trained.values())
    assert "after step 2 is saved" in str(trained[0]) and "after step 4" in str(trained[1])


def test_the_others_resume_without_the_seed_that_broke(train):
    whole, _ = train("whole", [3, 5])
    with pytest.raises(KeyboardInterrupt):
        train("killed", [3, 4, 5], breaks={4: 7}, at={14: stop})
    folders, trained = train("killed", [5], of=[3, 4, 5])
    assert train.side_by_side == [3]  # a program for fewer seeds rounds otherwise
    folders, trained = train("killed", [3, 5])
    for seed in (3, 5):
        assert metrics(folders[seed]) == metrics(whole[seed])
        assert trained[seed].steps == TOTAL and checkpoints(folders[seed])[-1] == TOTAL


def test_seeds_that_were_saved_at_different_steps_go_on_from_there(train):
    """One seed has the checkpoints 4 and 8, the other 4 alone."""
    whole, _ = train("whole", [3, 5])
    with pytest.raises(KeyboardInterrupt):
        train("killed", [3, 5], at={8: stop})
    folder = whole[5].parents[1] / "killed" / "seed5"
    assert checkpoints(folder) == [4, 8]
    shutil.rmtree(folder / "checkpoints" / "8")
    folders, trained = train("killed", [3, 5])
    for seed in (3, 5):
        assert metrics(folders[seed]) == metrics(whole[seed])
        assert trained[seed].steps == TOTAL and checkpoints(folders[seed])[-1] == TOTAL


@pytest.mark.parametrize("name, seeds", [("SIGTERM", [3]), ("SIGINT", [3]), ("SIGHUP", [3, 5])])
def test_a_run_that_is_told_to_stop_saves_and_goes_on_where_it_was(train, name, seeds):
    whole, _ = train("whole", seeds)
    before = signal.getsignal(signal.Signals[name])
    tell = functools.partial(os.kill, os.getpid(), signal.Signals[name])
    with pytest.raises(Stopped, match=f"stopped by {name} at step 12 of 16, which is saved: go on"):
        train("stopped", seeds, at={10: tell})
    assert signal.getsignal(signal.Signals[name]) == before
    stopped = whole[3].parents[1] / "stopped"
    for seed in seeds:
        assert checkpoints(stopped / f"seed{seed}")[-1] == 12
    folders, trained = train("stopped", seeds)
    for seed in seeds:
        assert metrics(folders[seed]) == metrics(whole[seed]) and trained[seed].steps == TOTAL


def test_a_run_that_is_told_to_stop_in_its_last_dispatch_begins_no_other_seed(train, tmp_path):
    tell = functools.partial(os.kill, os.getpid(), signal.SIGTERM)
    with pytest.raises(Stopped, match=f"stopped by SIGTERM at step {TOTAL} of {TOTAL}, which is"):
        train("stopped", [3, 4], at={TOTAL - 2: tell}, side_by_side="no")
    assert not (tmp_path / "stopped" / "seed4" / "checkpoints").exists()
    folders, trained = train("stopped", [3, 4], side_by_side="no")
    assert checkpoints(folders[3])[-1] == checkpoints(folders[4])[-1] == TOTAL
    assert [trained[seed].steps for seed in (3, 4)] == [TOTAL] * 2


def test_a_signal_that_was_ignored_at_the_start_stays_ignored():
    """As `nohup` does with SIGHUP."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with caught("SIGHUP", "SIGTERM") as names:
            os.kill(os.getpid(), signal.SIGHUP)
            assert names == [] and signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
            os.kill(os.getpid(), signal.SIGTERM)
            assert names == ["SIGTERM"]
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def look(params):
    """Held-out metrics that say which parameters they are of, and a figure."""
    return {"held_out_nelbo": float(params["sum"])}, Figure(figsize=(1, 1))


@pytest.mark.parametrize("seeds", [[3], [3, 5]])
def test_held_out_scenes_are_looked_at_in_every_so_many_steps_and_at_the_end(train, seeds):
    """Every 3 steps are every 4 of dispatches of 2; a run that goes on says the same again."""
    whole, _ = train("whole", seeds, look=look)
    with pytest.raises(KeyboardInterrupt):
        train("killed", seeds, at={10: stop}, look=look)
    folders, trained = train("killed", seeds, look=look)
    for seed in seeds:
        rows = [json.loads(line) for line in metrics(whole[seed]).splitlines()]
        looks = {row["step"]: row["held_out_nelbo"] for row in rows if "held_out_nelbo" in row}
        seen = {n: int(batches(20, 8, seed, 0, n).sum()) for n in (4, 8, 12, 16)}
        assert looks == seen and len(rows) == 8 and trained[seed].history == rows
        assert metrics(folders[seed]) == metrics(whole[seed])
        shown = scalars(folders[seed])
        assert {at: shown["held_out/nelbo", at] for at in looks} == looks
        assert shown == scalars(whole[seed])
        images = pictures(folders[seed])
        assert list(images) == [("held_out/reconstructions", at) for at in looks]
        for image in images.values():
            assert image.encoded_image_string.startswith(b"\x89PNG")
            assert (image.width, image.height) == (100, 100)


def test_held_out_scenes_are_looked_at_in_the_end_however_short_a_run(train):
    folders, _ = train("run", [3], look=look, log_every=5_000)
    (row,) = map(json.loads, metrics(folders[3]).splitlines())
    assert row["step"] == TOTAL and "held_out_nelbo" in row


def damage(folder, step):
    """Cuts a file of that checkpoint in two."""
    file = folder / "checkpoints" / str(step) / "state" / "_METADATA"
    os.truncate(file, file.stat().st_size // 2)


@pytest.mark.parametrize("seeds", [[3], [3, 5]])
def test_a_run_goes_on_from_the_checkpoint_before_a_damaged_one(train, seeds):
    whole, _ = train("whole", seeds)
    with pytest.raises(KeyboardInterrupt):
        train("killed", seeds, at={12: stop})
    folder = whole[3].parents[1] / "killed" / "seed3"
    damage(folder, 12)
    with pytest.warns() as warned:
        folders, trained = train("killed", seeds)
    (warning,) = (str(one.message) for one in warned)
    assert warning.startswith(f"the checkpoint of step 12 in {folder / 'checkpoints'} is damaged")
    assert "(state/_METADATA is not what was written)" in warning
    assert warning.endswith("is called 12.damaged now, and the run goes on from step 8")
    shutil.rmtree(folder / "checkpoints" / "12.damaged")  # kept
    for seed in seeds:
        assert metrics(folders[seed]) == metrics(whole[seed])
        assert trained[seed].steps == TOTAL and checkpoints(folders[seed])[-1] == TOTAL


def test_a_run_whose_checkpoints_are_all_damaged_is_refused_and_left_as_it_is(train, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train("killed", [3], at={10: stop})
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
