"""Saving and restoring: bit for bit, latest and best kept, damage and another model refused."""

import errno
import functools
import os
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from asr_jax import Checkpoints, OptimizerConfig, TrainState, optimizer
from asr_jax.parallel import replicate
from tests.small import small_model, small_params, tree_max_difference

TX = optimizer(OptimizerConfig(), 10)


@functools.cache
def state(seed=0, kind="threefry2x32", **changes):
    # Few arrays, of which each is a file's worth of work.
    model = small_model(encoder="raw", hidden=(8,), prior="fixed", **changes)
    params = small_params(model, seed)
    return TrainState(jnp.int32(seed), params, TX.init(params), jax.random.key(seed, impl=kind))


def arrays(state):
    return state.step, state.params, state.opt_state, jax.random.key_data(state.key)


def saved(folder, step, state):
    checkpoints = Checkpoints(folder)
    checkpoints.save(step, state, {"config": "text"}, 1.0)
    checkpoints.close()
    return Checkpoints(folder)


@pytest.mark.parametrize("kind", ["threefry2x32", "rbg"])
def test_a_restored_state_is_the_saved_one_bit_for_bit(tmp_path, kind):
    before = state(0, kind).replace(step=jnp.int32(7))
    again = saved(tmp_path, 7, before)
    assert again.latest_step() == 7
    assert again.description(7) == {"config": "text"}
    restored = again.restore(7, state(1, kind))
    assert jax.tree.structure(restored) == jax.tree.structure(before)
    assert tree_max_difference(arrays(restored), arrays(before)) == 0
    assert restored.key.dtype == before.key.dtype and restored.key == before.key


def test_parameters_are_restored_whatever_the_key_the_optimiser_and_the_devices(
    tmp_path, monkeypatch
):
    """On eight devices of which this machine has one, with a key of another kind."""
    checkpoints = saved(tmp_path, 3, replicate(state(0, "rbg")))
    with pytest.raises(ValueError, match=r"key has shape \(4,\) there and \(2,\) here"):
        checkpoints.restore(3, state())
    devices = jax.devices()[:1]
    monkeypatch.setattr(jax, "devices", lambda *_: devices)
    params = checkpoints.restore_params(3, state(1).params)
    assert tree_max_difference(params, state().params) == 0
    assert {type(x) for x in jax.tree.leaves(params)} == {type(jnp.zeros(1))}
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), params)
    assert tree_max_difference(checkpoints.restore_params(3, shapes), params) == 0
    with pytest.raises(ValueError, match="another model: params/.* has shape .*: use the config"):
        checkpoints.restore_params(3, state(lstm=12).params)


def test_the_latest_and_the_best_stay_also_across_a_restart(tmp_path):
    losses = {1: 5.0, 2: 1.0, 3: 4.0, 4: 3.0}
    checkpoints = Checkpoints(tmp_path, keep=1)
    for step in (1, 2, 3):
        checkpoints.save(step, state(), {}, losses[step])
    checkpoints.close()
    checkpoints = Checkpoints(tmp_path, keep=1)
    checkpoints.save(4, state(), {}, losses[4])
    checkpoints.close()
    kept = sorted(int(folder.name) for folder in tmp_path.iterdir())
    assert kept == [2, 4]
    checkpoints = Checkpoints(tmp_path, keep=1)
    assert (checkpoints.latest_step(), checkpoints.best_step()) == (4, 2)


def test_an_empty_folder_has_no_step(tmp_path):
    assert Checkpoints(tmp_path).latest_step() is None


def test_a_checkpoint_of_another_model_is_refused_by_name_and_shape(tmp_path):
    checkpoints = saved(tmp_path, 3, state())
    message = r"step 3 belongs to another model: params/.* has shape .*: use the config"
    with pytest.raises(ValueError, match=message):
        checkpoints.restore(3, state(lstm=12))
    with pytest.raises(ValueError, match="presence.* and none here"):
        checkpoints.restore(3, state(count=3))


def test_half_written_checkpoints_are_not_seen(tmp_path):
    saved(tmp_path, 1, state())
    (tmp_path / "2.orbax-checkpoint-tmp").mkdir()
    assert Checkpoints(tmp_path).latest_step() == 1
    restored = Checkpoints(tmp_path).restore(1, state(1))
    np.testing.assert_array_equal(
        jax.tree.leaves(restored.params)[0], jax.tree.leaves(state().params)[0]
    )


@pytest.mark.parametrize("before, after", [(8, 1), (1, 8)])
def test_a_state_of_some_devices_is_restored_onto_others(tmp_path, before, after):
    ours = replicate(state(0), jax.devices()[:before])
    there = replicate(state(1), jax.devices()[:after])
    restored = saved(tmp_path, 3, ours).restore(3, there)
    assert {len(leaf.devices()) for leaf in jax.tree.leaves(ours)} == {before}
    assert {len(leaf.devices()) for leaf in jax.tree.leaves(restored)} == {after}
    assert tree_max_difference(arrays(restored), arrays(ours)) == 0


@pytest.fixture(scope="module")
def intact(tmp_path_factory):
    """Checkpoints of the steps 1 and 2."""
    folder = tmp_path_factory.mktemp("checkpoints")
    checkpoints = Checkpoints(folder)
    for step in (1, 2):
        checkpoints.save(step, state(step), {"step": step}, 1.0)
    checkpoints.close()
    return folder


def cut(file):
    os.truncate(file, file.stat().st_size // 2)


def empty(file):
    os.truncate(file, 0)


def flip(file):  # one bit
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def largest(folder):
    return max((f for f in folder.rglob("*") if f.is_file()), key=lambda file: file.stat().st_size)


DAMAGE = {  # the file, what happens to it, what is said about it
    "arrays cut": ("state/ocdbt.process_0", cut, "/d/.* is not what was written"),
    "arrays flipped": ("state/ocdbt.process_0", flip, "/d/.* is not what was written"),
    "arrays gone": ("state/ocdbt.process_0", os.unlink, "/d/.* is missing"),
    "database cut": ("state/manifest.ocdbt", cut, "state/manifest.ocdbt is not what was written"),
    "metadata cut": ("state/_METADATA", cut, "state/_METADATA is not what was written"),
    "metadata gone": ("state/_METADATA", os.unlink, "state/_METADATA is missing"),
    "description cut": ("description/metadata", cut, "description/metadata is not what was"),
    "description flipped": ("description/metadata", flip, "description/metadata is not what was"),
    "loss empty": ("metrics/metrics", empty, "metrics/metrics is cut off"),
    "loss gone": ("metrics/metrics", os.unlink, "metrics/metrics is missing"),
    "checksums cut": ("state/checksums.json", cut, "state/checksums.json is cut off"),
    "state gone": ("state", shutil.rmtree, "state is missing"),
    "description gone": ("description", shutil.rmtree, "description is missing"),
}


@pytest.fixture
def damaged(intact, tmp_path):
    """(name in DAMAGE) -> a folder whose second step is so."""

    def damage(name):
        folder = shutil.copytree(intact, tmp_path / "copy")
        file, harm, _ = DAMAGE[name]
        path = folder / "2" / file
        harm(largest(path) if file == "state/ocdbt.process_0" else path)
        return folder

    return damage


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_checkpoint_is_known_and_refused(damaged, name):
    checkpoints = Checkpoints(damaged(name))
    assert checkpoints.steps() == [1, 2] and checkpoints.damage(1) is None
    message = f"step 2 in .* is damaged .*{DAMAGE[name][2]}.*: use another of the steps 1, 2"
    for restore in (checkpoints.restore, checkpoints.restore_params):
        with pytest.raises(ValueError, match=message):
            restore(2, state())


@pytest.mark.parametrize("name", ["arrays cut", "loss empty", "loss gone", "state gone"])
def test_the_step_of_a_damaged_checkpoint_can_be_saved_again(damaged, name):
    folder = damaged(name)
    checkpoints = Checkpoints(folder)
    assert checkpoints.set_aside(2) == folder / "2.damaged"
    assert checkpoints.latest_step() == 1 and (folder / "2.damaged").is_dir()
    restored = checkpoints.restore(1, state())
    assert tree_max_difference(arrays(restored), arrays(state(1))) == 0
    checkpoints.save(2, state(2), {"step": 2}, 1.0)
    checkpoints.close()
    again = Checkpoints(folder)
    assert again.latest_step() == 2 and again.description(2) == {"step": 2}
    assert tree_max_difference(arrays(again.restore(2, state())), arrays(state(2))) == 0


def test_a_step_that_is_no_longer_kept_goes_as_a_whole(intact, tmp_path, monkeypatch):
    """Killed while it deletes files, the step is no step any more, and the rest goes next time."""
    folder = shutil.copytree(intact, tmp_path / "copy")
    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", lambda *_, **__: None)
        checkpoints = Checkpoints(folder, keep=1)
        checkpoints.save(3, state(3), {}, 0.5)
        checkpoints.close()
    assert checkpoints.steps() == [3]
    assert sorted(path.name for path in (folder / "deleted").iterdir()) == ["1", "2"]
    checkpoints = Checkpoints(folder, keep=2)
    checkpoints.save(4, state(4), {}, 1.0)
    checkpoints.close()
    assert sorted(path.name for path in folder.iterdir()) == ["3", "4"]


def test_what_is_set_aside_twice_is_kept_twice(intact, tmp_path):
    folder = shutil.copytree(intact, tmp_path / "copy")
    for _ in range(2):
        Checkpoints(folder).set_aside(2)
        shutil.copytree(intact / "2", folder / "2")
    kept = sorted(path.name for path in folder.iterdir())
    assert kept == ["1", "2", "2.damaged", "2.damaged2"]


def test_a_checkpoint_of_before_there_were_checksums_is_restored(intact, tmp_path):
    folder = shutil.copytree(intact, tmp_path / "copy")
    for item in ("state", "description"):
        (folder / "2" / item / "checksums.json").unlink()
    restored = Checkpoints(folder).restore(2, state())
    assert tree_max_difference(arrays(restored), arrays(state(2))) == 0


def test_a_checkpoint_that_cannot_be_written_is_an_error_and_the_older_one_stays(
    tmp_path, monkeypatch
):
    """The disk fills up while a thread of orbax writes: the next call says so."""
    saved(tmp_path, 1, state(1))

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    checkpoints = Checkpoints(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("zlib.crc32", full)
        with pytest.raises(OSError, match="not be written to .*: .*No space left on device"):
            checkpoints.save(2, state(2), {}, 1.0)
            checkpoints.close()
    again = Checkpoints(tmp_path)
    assert again.steps() == [1]
    assert tree_max_difference(arrays(again.restore(1, state())), arrays(state(1))) == 0
    again.save(2, state(2), {}, 1.0)
    again.close()
    assert again.steps() == [1, 2] and again.damage(2) is None
