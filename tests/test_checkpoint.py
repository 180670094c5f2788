"""Saving and restoring: bit for bit, latest and best kept, damage and another model refused."""

import errno
import os
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from asr_jax import Checkpoints, OptimizerConfig, init_state, optimizer
from asr_jax.parallel import replicate
from tests.small import small_model, tree_max_difference

TX = optimizer(OptimizerConfig(), 10)


def state(seed=0, **changes):
    return init_state(small_model(**changes), TX, seed)


def arrays(state):
    return state.step, state.params, state.opt_state, jax.random.key_data(state.key)


def test_a_restored_state_is_the_saved_one_bit_for_bit(tmp_path):
    saved = state(0).replace(step=jnp.int32(7))
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(7, saved, {"config": "text"}, 1.0)
    checkpoints.close()
    again = Checkpoints(tmp_path)
    assert again.latest_step() == 7
    assert again.description(7) == {"config": "text"}
    restored = again.restore(7, state(1))
    assert jax.tree.structure(restored) == jax.tree.structure(saved)
    assert tree_max_difference(arrays(restored), arrays(saved)) == 0
    assert restored.key.dtype == saved.key.dtype


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
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(3, state(), {}, 1.0)
    checkpoints.close()
    message = r"step 3 belongs to another model: params/.* has shape .*: use the config"
    with pytest.raises(ValueError, match=message):
        Checkpoints(tmp_path).restore(3, state(lstm=12))
    with pytest.raises(ValueError, match="presence.* and none here"):
        Checkpoints(tmp_path).restore(3, state(count=3))


def test_half_written_checkpoints_are_not_seen(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, state(), {}, 1.0)
    checkpoints.close()
    (tmp_path / "2.orbax-checkpoint-tmp").mkdir()
    assert Checkpoints(tmp_path).latest_step() == 1
    restored = Checkpoints(tmp_path).restore(1, state(1))
    np.testing.assert_array_equal(
        jax.tree.leaves(restored.params)[0], jax.tree.leaves(state().params)[0]
    )


@pytest.mark.parametrize("before, after", [(8, 1), (1, 8)])
def test_a_state_of_some_devices_is_restored_onto_others(tmp_path, before, after):
    saved = replicate(state(0), jax.devices()[:before])
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(3, saved, {}, 1.0)
    checkpoints.close()
    restored = Checkpoints(tmp_path).restore(3, replicate(state(1), jax.devices()[:after]))
    assert {len(leaf.devices()) for leaf in jax.tree.leaves(saved)} == {before}
    assert {len(leaf.devices()) for leaf in jax.tree.leaves(restored)} == {after}
    assert tree_max_difference(arrays(restored), arrays(saved)) == 0


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


@pytest.mark.parametrize("name, harm, said", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_checkpoint_is_known_and_its_step_can_be_saved_again(
    intact, tmp_path, name, harm, said
):
    folder = shutil.copytree(intact, tmp_path / "copy")
    path = folder / "2" / name
    harm(largest(path) if name == "state/ocdbt.process_0" else path)
    checkpoints = Checkpoints(folder)
    assert checkpoints.steps() == [1, 2] and checkpoints.damage(1) is None
    with pytest.raises(ValueError, match=f"step 2 in .* is damaged .*{said}.*: use another"):
        checkpoints.restore(2, state())
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
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, state(1), {}, 1.0)
    checkpoints.close()

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
