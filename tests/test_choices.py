"""Your own images: what follows from them, and from what is said of their objects."""

import math

import numpy as np
import pytest

from configs import base, mnist3, own, presets
from experiments.run import choices, data, steps
from experiments.run.from_config import from_config
from experiments.run.seen import Images, background

SEEN = Images(3_000, (100, 120), False, "black", share=1.0, counted=0, counts=())


def config(tmp_path, method="asr", number=40, shape=(24, 32), known=None, **objects):
    """configs/own.py of some images, with these objects."""
    rng = np.random.default_rng(0)
    image = np.zeros((number, *shape), np.uint8)
    image[:, 4:12, 5:12] = rng.integers(50, 256, (number, 8, 7, *shape[2:]))
    np.savez(tmp_path / "mine.npz", image=image, **({} if known is None else {"count": known}))
    settings = own.get_config(method)
    settings.lock()  # as a command line has it
    settings.data.path = str(tmp_path / "mine.npz")
    for name, value in {"size": (6, 10), **objects}.items():
        settings.objects[name] = value
    return settings


def of(chosen):
    return {choice.field: choice.value for choice in chosen}


def objects(**changes):
    settings = own.get_config().objects
    for name, value in {"size": (20, 30), **changes}.items():
        settings[name] = value
    return settings


def test_a_known_count():
    found = of(choices.choices(SEEN, objects(count=2)))
    assert (found["model.max_objects"], found["model.count"]) == (2, 2)
    assert (found["constraints.c_min"], found["constraints.c_max"]) == (20, 30)
    assert (found["constraints.epsilon"], found["constraints.side"]) == (10, 25)
    assert found["constraints.counts"] == () and found["model.window"] == 32
    assert found["constraints.tolerances"] == [f"F{i}" for i in range(1, 8)] + ["side"]
    assert found["constraints.prior_tolerances"] == [f"F{i}" for i in range(1, 6)]
    mean, variance = found["model.scale_prior"]
    assert 100 / (1 + math.exp(-mean)) == pytest.approx(25, abs=0.01)  # pixels
    # The spread of a logit that is uniform between those of both ends.
    logits = np.random.default_rng(0).uniform(np.log(0.2 / 0.8), np.log(0.3 / 0.7), 10**6)
    assert variance == pytest.approx(logits.var(), rel=0.01)
    assert 6_000 <= found["train.epochs"] * 2_700 / 64 < 6_000 + 2_700 / 64


def test_counts_that_are_inferred():
    found = of(choices.choices(SEEN, objects(counts=(1, 3))))
    assert (found["model.max_objects"], found["model.count"]) == (4, -1)
    assert found["constraints.counts"] == (1, 3)
    assert found["constraints.tolerances"][:4] == ["possible", "number", "balance", "F1"]
    assert found["constraints.prior_tolerances"] == [] and found["train.count_mix_until"] == 0.2
    found = of(choices.choices(SEEN, objects(at_most=6, overlap=True)))
    assert (found["model.max_objects"], found["constraints.counts"]) == (6, ())
    assert found["constraints.tolerances"][0] == "F2" and found["model.overlap"]
    assert "snug" not in found["constraints.tolerances"]
    found = of(choices.choices(SEEN, objects(at_most=6, sharp=True)))
    assert found["constraints.tolerances"][-2:] == ["snug", "centred"]
    in_colour = SEEN._replace(colour=True)
    assert not of(choices.choices(in_colour, objects(at_most=6, overlap=True)))["model.overlap"]


def test_images_of_other_kinds():
    coloured = SEEN._replace(colour=True, background="colour", number=20)
    found = of(choices.choices(coloured, objects(count=1)))
    assert (found["model.channels"], found["model.background"]) == (3, "colour")
    assert found["model.compositing"] == "over" and found["train.batch_size"] == 16
    assert found["data.test_size"] == 2
    assert found["constraints.visible"] == 0 and "visible" not in found["constraints.tolerances"]
    over = of(choices.choices(coloured, objects(overlap=True, size=(10, 30))))
    assert over["constraints.visible"] == 10 and "visible" in over["constraints.tolerances"]
    many = of(choices.choices(SEEN._replace(number=10**7), objects(count=1)))
    assert many["train.epochs"] == 1 and many["data.test_size"] == 1_000


BAD = {
    "both": (
        dict(count=2, counts=(1, 2)),
        "count=2 and .*counts=.1, 2.: leave one of them",
    ),
    "none": (dict(count=0), "config.objects.count must be from 1 to 100, got 0"),
    "negative": (dict(counts=(-1, 2)), "config.objects.counts must be different whole numbers"),
    "twice": (dict(counts=(2, 2)), r"counts must be different .*got \(2, 2\): name the possible"),
    "half": (dict(counts=(0.5, 2)), "config.objects.counts must be different whole numbers"),
    "empty": (dict(counts=(0,)), "config.objects.counts must be different whole numbers, one of"),
    "at most": (dict(at_most=0), "config.objects.at_most must be from 1 to 100, got 0"),
    "no size": (dict(size=()), r"size must be \(smallest, largest\).*got nothing: set it as in"),
    "one": (dict(size=(20,)), r"size must be \(smallest, largest\).*got \(20,\)"),
    "turned": (dict(size=(30, 20)), r"size must be .*got \(30, 20\)"),
    "large": (dict(size=(30, 101)), r"at most 100, the shorter edge of the images, got \(30, 101"),
    "text": (dict(size=("a", "b")), r"size must be \(smallest, largest\)"),
    "one of one": (dict(counts=(2,)), r"counts=\(2,\) names one number .*: set .*objects.count=2"),
    "count, at most": (
        dict(count=2, at_most=3),
        "count=2 and .*at_most=3: leave one",
    ),
    "too many": (dict(at_most=101), "config.objects.at_most must be from 1 to 100, got 101"),
    "too full": (dict(count=40), "40 objects of 20 pixels do not fit .* 100 x 120: set .*overlap"),
}


@pytest.mark.parametrize("changes, message", BAD.values(), ids=BAD.keys())
def test_objects_that_cannot_be_are_refused(changes, message):
    with pytest.raises(ValueError, match=message) as caught:
        choices.choices(SEEN, objects(**changes))
    assert "\n" not in str(caught.value)


def test_a_background_is_told_by_the_frames_of_images():
    rng = np.random.default_rng(0)
    black = rng.integers(0, 20, (5, 30, 40), dtype=np.uint8)
    assert background(black) == ("black", 1.0)
    grey = np.clip(rng.normal(rng.uniform(60, 200, (5, 1, 1)), 5, (5, 30, 40)), 0, 255)
    assert background(grey.astype(np.uint8)) == ("colour", 1.0)
    for images in (black, grey):
        images[:, :12, :12] = 255  # an object in a corner
    assert background(black)[0] == "black" and background(grey.astype(np.uint8))[0] == "colour"
    slope = np.broadcast_to(np.linspace(0, 255, 40), (5, 30, 40)).astype(np.uint8)
    assert background(slope) == ("image", 1.0)
    red = np.zeros((5, 30, 40, 3), np.uint8)
    assert background(red)[0] == "black"
    red[..., 0] = 200
    assert background(red)[0] == "colour"
    mixed = np.concatenate([black, slope, slope, grey.astype(np.uint8)[:2]])
    assert background(mixed) == ("image", 10 / 17)
    assert background(np.concatenate([black, slope])) == ("black", 0.5)


@pytest.mark.parametrize("method", presets.METHODS)
@pytest.mark.parametrize("changes", [dict(count=2), dict(counts=(1, 2)), dict(at_most=3)])
def test_every_method_makes_a_run_of_what_follows(tmp_path, method, changes):
    settings = config(tmp_path, method, **changes)
    before = settings.to_json()
    full, chosen = choices.completed(settings)
    assert settings.to_json() == before and "null" not in full.model.to_json()
    run = from_config(full)
    assert run.model.config.canvas == (24, 32) and run.name == f"own-{method}"
    assert run.model.config.count == changes.get("count")
    trained = [constraint.name for constraint in run.constraints]
    if method != "asr":
        assert trained == [] and run.rule is None
    else:
        known = {c.name: c.tolerance for c in run.constraints}
        assert known == {name: base.TOLERANCES[name] for name in trained}
        assert ("number" in trained) == ("counts" in changes) and {"F1", "F7", "side"} < {*trained}
    text = choices.table(settings.data.path, chosen)
    assert len(text.splitlines()) == 1 + len(chosen) and "model.max_objects" in text


@pytest.mark.parametrize(
    "changes, objects", [(dict(count=2), 2), (dict(counts=(1, 3, 5)), 3), (dict(at_most=4), 2)]
)
def test_boxes_of_sharp_objects_may_be_off_by_a_third_of_a_pixel_each(tmp_path, changes, objects):
    settings = config(tmp_path, sharp=True, **changes)
    tolerances = choices.completed(settings)[0].constraints.tolerances
    assert tolerances.snug == tolerances.centred == pytest.approx(objects / 3)
    settings.constraints.tolerances.snug = 0.7
    tolerances = choices.completed(settings)[0].constraints.tolerances
    assert (tolerances.snug, tolerances.centred) == (0.7, pytest.approx(objects / 3))


def test_counts_that_are_known_are_learned_from(tmp_path):
    """Where they are inferred; of some images, or of all."""
    some = np.where(np.arange(40) % 4, -1, 1 + np.arange(40) % 2)
    settings, chosen = choices.completed(config(tmp_path, known=some, counts=(1, 2)))
    assert settings.constraints.tolerances.counted == base.TOLERANCES["counted"]
    assert "10 images are counted" in {c.field: c.reason for c in chosen}["constraints.tolerances"]
    run = from_config(settings)
    scenes = data.load(run.data)
    assert data.check(run, scenes) > 0 and run.constraints[0].name == "counted"
    learned = steps.images_of(run, scenes.train)
    np.testing.assert_array_equal(learned.images, scenes.train.image)
    np.testing.assert_array_equal(learned.count, scenes.train.count)
    assert set(learned.count.tolist()) == {-1, 1}
    for changes in (dict(count=1), dict(known=None, counts=(1, 2))):
        known = {"known": np.where(some > 0, 1, -1)} | changes
        settings, _ = choices.completed(config(tmp_path, **known))
        assert "counted" not in settings.constraints.tolerances
        run = from_config(settings)
        scenes = data.load(run.data)
        assert steps.images_of(run, scenes.train) is scenes.train.image
    with settings.unlocked():
        settings.constraints.tolerances.counted = 0.001
    with pytest.raises(ValueError, match="tolerances.counted is for training scenes of which some"):
        data.check(from_config(settings), scenes)


def test_what_is_set_stays(tmp_path):
    settings = config(tmp_path, count=2)
    settings.model.max_objects, settings.constraints.side = 4, 7.0
    settings.constraints.tolerances.F1 = 1.0
    full, chosen = choices.completed(settings)
    assert full.model.max_objects == 4 and full.constraints.side == 7.0
    assert full.constraints.tolerances.F1 == 1.0 and "number" not in full.constraints.tolerances
    reasons = {choice.field: choice.reason for choice in chosen}
    assert reasons["model.max_objects"] == reasons["constraints.side"] == "as it was set"


@pytest.mark.parametrize("already", [{}, {"train.batch_size": 8}, {"data.test_size": 1_500}])
def test_the_length_of_training_follows_from_what_is_set(already):
    found = of(choices.choices(SEEN, objects(count=2), already))
    batch, train = found["train.batch_size"], SEEN.number - found["data.test_size"]
    assert 6_000 <= found["train.epochs"] * train / batch < 6_000 + train / batch


def test_a_background_that_is_set_brings_what_it_needs():
    found = of(choices.choices(SEEN, objects(count=2), {"model.background": "colour"}))
    assert (found["model.compositing"], found["model.likelihood"]) == ("over", "gaussian")


CONTRADICTIONS = {
    "model.count": (-1, dict(count=2), "config.model.count=-1 contradicts .* of which 2 follows"),
    "constraints.counts": ((1, 2), dict(count=2), r"counts=\(1, 2\) contradicts .* leave it out"),
    "constraints.tolerances.F1": (
        *(0.5, dict(count=2, overlap=True)),
        r"tolerances.F1=0.5 was set, and F1 does not apply \(their boxes may overlap .*leave",
    ),
    "constraints.tolerances.number": (
        0.5,
        dict(),
        "not apply .*possible counts are not named",
    ),
    "constraints.prior_tolerances.F2": (0.5, dict(), r"does not apply \(count is inferred\)"),
}


@pytest.mark.parametrize("field", CONTRADICTIONS)
def test_what_is_set_and_would_not_be_looked_at_is_refused(tmp_path, field):
    value, changes, message = CONTRADICTIONS[field]
    settings = config(tmp_path, **changes)
    settings.update_from_flattened_dict({field: value})
    with pytest.raises(ValueError, match=message):
        choices.completed(settings)


@pytest.mark.parametrize(
    "changes, message",
    [
        (
            dict(count=2),
            r"images of 1, 3 objects .*count is 2: .*counts=\(1, 2, 3\), and no",
        ),
        (dict(counts=(1, 2)), r"images of 3 objects .*counts is \(1, 2\): .*=\(1, 2, 3\), and"),
        (dict(at_most=2), "images of 3 objects .* config.objects.at_most is 2: set it 3 or more"),
    ],
)
def test_counts_that_contradict_what_is_said_are_refused(tmp_path, changes, message):
    """And the remedy works."""
    known = np.where(np.arange(40) % 2, 1 + np.arange(40) % 3, -1)
    with pytest.raises(ValueError, match=message):
        choices.completed(config(tmp_path, known=known, **changes))
    mended = dict(at_most=3) if "at_most" in changes else dict(counts=(1, 2, 3))
    run = from_config(choices.completed(config(tmp_path, known=known, **mended))[0])
    assert data.check(run, data.load(run.data)) > 0


def test_scenes_that_validate_are_not_counted_as_training_scenes(tmp_path):
    """40 images: 4 to test on and 4 to validate on leave 32, which are a batch."""
    settings = config(tmp_path, count=2)
    settings.data.split = "validation"
    full, _ = choices.completed(settings)
    run = from_config(full)
    scenes = data.load(run.data)
    assert (len(scenes.train.image), full.train.batch_size) == (32, 32)
    assert 6_000 <= data.check(run, scenes) < 6_050


def test_an_image_that_is_counted_and_held_out_teaches_nothing(tmp_path):
    for number in range(40):
        known = np.where(np.arange(40) == number, 1, -1)
        run = from_config(choices.completed(config(tmp_path, known=known, counts=(1, 2)))[0])
        scenes = data.load(run.data)
        if scenes.test.count is not None and (scenes.test.count >= 0).any():
            break
    with pytest.raises(ValueError, match="got none: count more images, as some are held out"):
        data.check(run, scenes)


def test_other_configurations_are_as_they_are():
    settings = mnist3.get_config()
    assert choices.completed(settings) == (settings, [])


def test_images_that_are_missing_or_too_few_are_refused(tmp_path):
    with pytest.raises(ValueError, match="config.data.path must name your images: a folder"):
        choices.completed(own.get_config())
    with pytest.raises(ValueError, match="must hold 4 images or more, .*got 3: some hundred are"):
        choices.completed(config(tmp_path, number=3))


def test_colours_are_refused_where_the_model_has_none(tmp_path):
    settings = config(tmp_path, shape=(24, 32, 3))
    if "channels" in settings.model:
        assert choices.completed(settings)[0].model.channels == 3
        return
    with pytest.raises(ValueError, match="in colour, and the model's .*set config.data.colour=no"):
        choices.completed(settings)
    settings.data.colour = "no"
    assert from_config(choices.completed(settings)[0]).model.config.canvas == (24, 32)
