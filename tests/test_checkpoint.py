"""Saving and restoring: bit for bit, latest and best kept, another model refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from asr_jax import Checkpoints, OptimizerConfig, init_state, optimizer
from tests.small import small_model, tree_max_difference

TX = optimizer(OptimizerConfig(), 10)


def state(seed=0, **changes):
    return init_state(small_model(**changes), TX, seed)


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
    arrays = lambda s: (s.step, s.params, s.opt_state, jax.random.key_data(s.key))  # noqa: E731
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
