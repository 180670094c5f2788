"""Any description of scenes: they are generated as it says, or it is refused by name."""

from hypothesis import given
from hypothesis import strategies as st

from configs import dsprites3, mnist3
from data_gen import multi_dsprites, multi_mnist, scenes
from tests.test_fuzz import FLOATS, INTS, TUPLES, WORDS, assert_named, assert_ours, fuzz

OBJECTS = {"mnist": multi_mnist, "dsprites": multi_dsprites}
SMALL = {"train_size": 3, "test_size": 2, "canvas": 40, "digits_dir": "embedded"}
COUNTS = st.lists(st.integers(0, 4), min_size=1, max_size=3, unique=True).map(tuple)
SHAPES = st.lists(st.sampled_from(["square", "ellipse", "heart"]), unique=True).map(tuple)
# Sizes are small, or so large that they cannot be meant.
SIZES = INTS.filter(lambda n: n < 6 or n > 2**30)
VALUES = {
    "objects": st.sampled_from(["mnist", "dsprites"]),
    "shapes": SHAPES | TUPLES,
    "digits_dir": st.sampled_from(["embedded", "nowhere", "/", "~nobody-here", "FILE", "gs://b/x"]),
    "data_dir": st.sampled_from(
        ["/proc/nothing", "~nobody-here", "FILE", "FILE/below", "gs://b/x"]
    ),
    "canvas": INTS.filter(lambda n: n < 101 or n > 2**30),
    "counts": COUNTS | TUPLES,
    "layout": st.sampled_from(["disjoint", "columns", "pixels", "occluded"]) | WORDS,
    "min_visible": INTS,
    "scales": st.lists(st.floats(0.01, 2), max_size=3).map(tuple) | TUPLES,
    "colours": st.sampled_from(["white", "random"]) | WORDS,
    "background": st.sampled_from(["black", "grey", "colour", "noise", "grid"]) | WORDS,
    "contrast": st.floats(0, 0.7) | FLOATS,
    "scale": st.floats(0.01, 2) | FLOATS,
    "train_size": SIZES,
    "test_size": SIZES,
    "seed": INTS,
}


@st.composite
def changes(draw):
    chosen = draw(st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=2, unique=True))
    return {name: draw(VALUES[name]) for name in chosen}


@fuzz(60)
@given(st.sampled_from([mnist3, dsprites3]), changes())
def test_scenes_are_generated_or_refused_by_name(tmp_path, monkeypatch, data, new):
    monkeypatch.setattr(scenes, "MAX_LAYOUTS", 1000)
    (tmp_path / "file").write_text("not a folder")
    config = data.get_config("asr")
    config.data.update(SMALL | {"data_dir": str(tmp_path / "cache")})
    for name, value in new.items():
        text = isinstance(value, str)
        config.data[name] = value.replace("FILE", str(tmp_path / "file")) if text else value
    try:
        made = OBJECTS[config.data.objects].from_config(config.data)
    except (ValueError, OSError) as error:
        assert_ours(error)
        if not (isinstance(error, OSError) and error.filename):
            assert_named([("data", name) for name in new], error)
        return
    settings = config.data
    for part, size in ((made.train, settings.train_size), (made.test, settings.test_size)):
        in_colour = settings.colours == "random" or settings.background == "colour"
        assert part.image.shape == (size, *[settings.canvas] * 2, *[3] * in_colour)
        assert set(part.count) <= set(settings.counts)
        assert (0 <= part.box).all() and (part.box <= settings.canvas).all()
