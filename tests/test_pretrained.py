"""Parameters that come with the package: what was saved is loaded, and it explains scenes."""

import hashlib
import json

import jax
import numpy as np
import pytest

import asr_jax
from asr_jax import metrics, pretrained
from asr_jax.config import from_fields
from data_gen import multi_dsprites
from tests.small import small_model, small_params

SETTINGS = ("colour_dsprites", "dsprites3", "mnist13", "mnist14", "mnist24", "mnist3")


@pytest.fixture
def saved(tmp_path):
    """A small model with odd parameters, saved under the name tiny."""
    model = small_model()
    params = jax.tree.map(lambda x: x + 1 / 3, small_params(model))
    trained = asr_jax.Pretrained(model, params, {"name": "a-run"}, {"nelbo": 1.5})
    pretrained.save_pretrained("tiny", trained, tmp_path)
    return trained, tmp_path


def test_what_is_loaded_is_what_was_saved_in_half_precision(saved):
    trained, folder = saved
    loaded = asr_jax.load_pretrained("tiny", folder)
    assert loaded.model == trained.model and hash(loaded.model) == hash(trained.model)
    assert loaded.config == {"name": "a-run"} and loaded.final == {"nelbo": 1.5}
    ours, theirs = (jax.tree_util.tree_leaves_with_path(x.params) for x in (trained, loaded))
    assert len(ours) > 20
    for (path, value), (loaded_path, loaded_value) in zip(ours, theirs, strict=True):
        assert path == loaded_path and loaded_value.dtype == np.float32
        # Half precision: 11 bits of a value, so that rounding is off by 2**-11 at most.
        np.testing.assert_allclose(loaded_value, value, rtol=2**-11, atol=1e-7)
    assert any((a[1] != b[1]).any() for a, b in zip(ours, theirs, strict=True))
    jax.tree.map(
        np.testing.assert_array_equal, loaded.params, pretrained.half_precision(trained.params)
    )


def test_a_part_without_parameters_is_loaded_as_well(tmp_path):
    """A background of one colour is its latent's, and a fixed prior is known."""
    colours = dict(channels=3, background="colour", compositing="over", encoder="attention")
    model = small_model(prior="fixed", **colours)
    params = small_params(model)
    trained = asr_jax.Pretrained(model, params, {}, {})
    pretrained.save_pretrained("tiny", trained, tmp_path)
    loaded = asr_jax.load_pretrained("tiny", tmp_path)
    assert jax.tree.structure(loaded.params) == jax.tree.structure(params)
    scene = model.sample(loaded.params, jax.random.key(0), 2)
    assert scene.canvas.shape == (2, *model.config.shape)


def test_damage_and_unknown_names_are_one_clear_error(saved):
    _, folder = saved
    with pytest.raises(ValueError, match="no pretrained .* called 'tinny': there are tiny"):
        asr_jax.load_pretrained("tinny", folder)
    with pytest.raises(ValueError, match=r"called 'tiny': there are \(none\)"):
        asr_jax.load_pretrained("tiny", folder / "empty")
    file = folder / "tiny.npz"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(ValueError, match="tiny.npz is not what was saved .*sha256.*again"):
        asr_jax.load_pretrained("tiny", folder)
    file.unlink()
    with pytest.raises(ValueError, match="tiny.npz is not what was saved"):
        asr_jax.load_pretrained("tiny", folder)


def test_every_setting_that_is_run_has_one():
    assert asr_jax.pretrained_names() == sorted(SETTINGS)


@pytest.mark.parametrize("name", SETTINGS)
def test_those_of_the_package_fit_their_model_and_say_what_they_reach(name):
    file = pretrained.FOLDER / f"{name}.npz"
    assert file.stat().st_size <= 20e6
    about = json.loads(file.with_suffix(".json").read_text())
    assert about["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    loaded = asr_jax.load_pretrained(name)
    shapes = jax.eval_shape(loaded.model.init, jax.random.key(0))
    assert jax.tree.map(lambda x: x.shape, loaded.params) == jax.tree.map(lambda x: x.shape, shapes)
    assert loaded.final["miou"] > 0.7 and np.isfinite(loaded.final["nelbo"])
    assert loaded.config["method"] == "asr" and loaded.config["seed"] == 0  # not the best of some
    fields = {name: loaded.config[name] for name in ("canvas", "estimator")}
    fields |= loaded.config["model"]  # in which no count is -1
    fields["count"] = None if fields["count"] == -1 else fields["count"]
    assert from_fields(asr_jax.ModelConfig, fields) == loaded.model.config


def test_the_shapes_of_new_scenes_are_found(tmp_path):
    """Scenes of another seed than the run's."""
    about = multi_dsprites.SceneConfig(
        counts=(3,), layout="disjoint", scale=0.6, train_size=1, test_size=100, seed=7
    )
    scenes = multi_dsprites.load(about, str(tmp_path)).test
    model, params, _, final = asr_jax.load_pretrained("dsprites3")
    scene = model.reconstruct(params, scenes.image)
    iou = np.asarray(metrics.mean_iou(scene.boxes, scene.count, scenes.box, scenes.count))
    # 100 images: within 4 standard errors of the mean over the test scenes.
    assert abs(iou.mean() - final["miou"]) < 4 * iou.std(ddof=1) / 10
