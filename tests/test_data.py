"""The scenes of a run: which they are, and what of it has to fit them."""

import numpy as np
import pytest

from configs import colour_mnist, mnist3, mnist13, mnist14
from data_gen.scenes import Scenes
from experiments.run import data
from experiments.run.from_config import from_config


def scenes_of(*counts, test=None, canvas=(50, 50)):
    """Scenes of these many objects, of which there are enough for every batch; None: unlabelled."""

    def scenes(counts):
        count = None if None in counts else np.array(counts, np.int32)
        return Scenes(np.zeros((len(counts), *canvas), np.uint8), count, *[None] * 3)

    return data.Data(scenes(counts), scenes(test or counts), "nowhere", 10**6)


def check(config, *counts, **keywords):
    return data.check(from_config(config), scenes_of(*counts, **keywords))


@pytest.mark.parametrize("train, test", [((1, 4, 1), (1,)), ((1, 1), (1, 4))])
def test_more_objects_than_the_model_has_steps_are_refused(train, test):
    """In the held-out scenes as well: before hours of training, and not after."""
    config = mnist14.get_config("pprior")
    config.model.max_objects, config.constraints.counts = 3, (1, 3)
    message = r"K must be at least max\(counts\)=4, got 3: set config.model.max_objects=4"
    with pytest.raises(ValueError, match=message):
        check(config, *train, test=test)


def test_a_known_count_that_the_scenes_do_not_have_is_refused():
    with pytest.raises(ValueError, match=r"model.count=3 says .* got counts \[2\]: .*count=-1"):
        check(mnist3.get_config("asr"), 2)
    with pytest.raises(ValueError, match=r"model.count=3 says .* got counts \[1, 3\]: .*count=-1"):
        check(mnist3.get_config("asr"), 3, test=(1, 3))


def test_a_batch_that_the_scenes_or_the_devices_do_not_have_is_refused():
    config = mnist3.get_config("asr")
    few = scenes_of(3)._replace(train_size=63)
    with pytest.raises(ValueError, match="train.batch_size=64 is larger than the 63 training scen"):
        data.check(from_config(config), few)
    config.train.batch_size = 12
    message = "config.train.batch_size=12 does not divide over 8 devices: take 8 or 16"
    with pytest.raises(ValueError, match=message):
        check(config, 3)


def said(recwarn):
    return [str(warning.message) for warning in recwarn.list]


def test_counts_that_do_not_fit_the_scenes_are_named(recwarn):
    config = mnist13.get_config("asr")
    check(config, 1, 1, 3, 2, 0, 2)
    check(config, 1, 1)
    config.constraints.counts = (1, 4)
    check(config, 3, 1, 3)
    first, second, strange, missing = said(recwarn)
    assert "counts=[1, 3] leaves out counts of the training scenes (1 with 0, 2 with 2)" in first
    assert "counts=[1, 3] names [3], which no training scene has" in second
    assert "(2 with 3)" in strange and "names [4]" in missing


def test_counts_of_a_prior_that_do_not_fit_the_scenes_are_named(recwarn):
    check(mnist13.get_config("air,known"), 1, 2, 3)
    (message,) = said(recwarn)
    assert message.startswith("config.model.possible_counts=[1, 3] leaves out counts of the train")


def test_counts_that_fit_or_are_not_known_are_not_talked_about(recwarn):
    check(mnist13.get_config("asr"), 3, 1, 1)
    check(mnist13.get_config("asr"), None)
    check(mnist3.get_config("asr"), None)
    assert said(recwarn) == []


def test_counts_of_some_scenes_are_checked_where_they_are_known(recwarn):
    check(mnist13.get_config("asr"), 3, -1, -1)  # of the others, any may be
    check(mnist3.get_config("asr"), 3, -1)
    assert said(recwarn) == []
    with pytest.raises(ValueError, match=r"model.count=3 says .* got counts \[2, 3\]: "):
        check(mnist3.get_config("asr"), 3, -1, 2)
    with pytest.raises(ValueError, match=r"K must be at least max\(counts\)=9"):
        check(mnist13.get_config("asr"), -1, 9)


def test_images_must_have_the_channels_and_the_background_of_the_model():
    config = mnist13.get_config("asr")
    config.model.encoder = "attention"
    with pytest.raises(
        ValueError, match=r"channels must be that of the images, 3, got 1: set .*=3"
    ):
        check(config, 1, 3, canvas=(50, 50, 3))
    colour = colour_mnist.get_config("asr")
    with pytest.raises(
        ValueError, match=r"channels must be that of the images, 1, got 3: set .*=1"
    ):
        check(colour, 1, 3)
    colour.model.background = "black"
    with pytest.raises(ValueError, match="data.background=colour needs a model with a background"):
        check(colour, 1, 3, canvas=(50, 50, 3))


@pytest.mark.parametrize("background, warned", [("black", True), ("colour", False)])
def test_bright_images_of_ones_own_are_warned_of_where_the_model_is_black(
    tmp_path, recwarn, background, warned
):
    image = np.random.default_rng(0).integers(200, 256, (30, 24, 32), np.uint8)
    np.savez(tmp_path / "bright.npz", image=image)
    config = mnist13.get_config("asr")
    config.data.path = str(tmp_path / "bright.npz")
    config.data.test_size, config.train.batch_size = 10, 8
    config.model.background = background
    config.model.overlap = background == "black"
    config.model.compositing = "sum" if background == "black" else "over"
    run = from_config(config)
    data.check(run, data.load(run.data))
    bright = [str(w.message) for w in recwarn if "have a bright background" in str(w.message)]
    assert len(bright) == warned and all(line.startswith(config.data.path) for line in bright)


def own_scenes(tmp_path, n=30, **arrays):
    file = tmp_path / "mine.npz"
    image = np.random.default_rng(0).integers(0, 256, (n, 24, 32), np.uint8)
    np.savez(file, image=image, **arrays)
    config = mnist3.get_config("asr")
    config.data.path, config.data.test_size = str(file), 10
    return config


def test_settings_that_a_file_of_scenes_makes_void_are_said(tmp_path, capsys):
    config = own_scenes(tmp_path)
    config.data.layout = "columns"
    run = from_config(config)
    assert run.model.config.canvas == (24, 32)  # of the file, without reading its images
    loaded = data.load(run.data)
    assert loaded.train_size == len(loaded.train.image) == 20 and len(loaded.test.image) == 10
    names = "data.objects, data.counts, data.canvas, data.layout, data.scale, data.shapes"
    said = capsys.readouterr().out
    assert said.startswith(f"{config.data.path}: {names}") and "are not looked at" in said


def test_held_out_scenes_of_a_standard_error_are_two_at_least(tmp_path):
    config = own_scenes(tmp_path)
    config.data.test_size = 1
    with pytest.raises(
        ValueError, match="at least 2 test scenes, got 1: set config.data.test_size"
    ):
        data.load(from_config(config).data)


def test_validation_scenes_are_training_scenes_that_are_held_out(tmp_path):
    config = own_scenes(tmp_path)
    test = data.load(from_config(config).data)
    config.data.split = "validation"
    validation = data.load(from_config(config).data)
    assert validation.train_size == 10 and len(validation.test.image) == 10
    together = np.concatenate([validation.train.image, validation.test.image])
    assert sorted(image.tobytes() for image in together) == sorted(
        image.tobytes() for image in test.train.image
    )


def test_a_fingerprint_is_of_all_images_or_of_the_held_out_ones_where_no_process_has_all():
    facts = scenes_of(3, 3).facts(sharded=False)
    other = scenes_of(3, 3)
    other.train.image[0, 0, 0] = 1
    assert other.facts(sharded=False) != facts
    assert other.facts(sharded=True) == scenes_of(3, 3).facts(sharded=True)
    assert facts["canvas"] == [50, 50] and other.facts(sharded=True)["devices"] == 8
    other.test.image[0, 0, 0] = 1
    assert other.facts(sharded=True) != scenes_of(3, 3).facts(sharded=True)


@pytest.mark.parametrize("field", ["path", "data_dir", "digits_dir"])
def test_scenes_on_another_machine_are_refused(field):
    config = mnist3.get_config("asr")
    config.data[field] = "gs://bucket/x"
    with pytest.raises(ValueError, match=f"config.data.{field}=gs://bucket/x: only paths of this"):
        data.load(from_config(config).data)
