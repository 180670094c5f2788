"""Every configuration with every method and preset: it parses, and builds what it says."""

import pytest
from ml_collections import ConfigDict

from configs import base, mnist3
from experiments import build
from experiments.workdir import open_workdir

ARGUMENTS = [
    ",".join(word for word in (method, preset) if word)
    for method in base.METHODS
    for preset in ("", "quick", "paper")
] + ["asr,tight", "tight,quick", ""]


class OneScene:
    """What `build.model` looks at."""

    def __init__(self, canvas=50, count=3):
        import numpy as np

        self.image = np.zeros((1, canvas, canvas, 1), np.uint8)
        self.count = np.array([count])


@pytest.mark.parametrize("argument", ARGUMENTS)
def test_every_argument_builds_a_run(argument):
    config = mnist3.get_config(argument)
    model = build.model(config, OneScene())
    build.optimizer(config)
    constraints = build.constraints(config)
    penalised = build.penalised(config, constraints)
    assert penalised == (constraints if config.method == "asr" else ())
    assert model.config.prior == ("fixed" if config.method == "air" else "learned")
    names = [constraint.name for constraint in constraints]
    assert names == [f"F{i}" for i in range(1, 8)] + (["tight"] if "tight" in argument else [])


def test_methods_differ_in_prior_and_constraints_only():
    asr, air, pprior = (mnist3.get_config(method).to_dict() for method in ("asr", "air", "pprior"))
    for config in (asr, air, pprior):
        for section, field in (("model", "prior"), ("constraints", "weights")):
            config[section].pop(field)
        config.pop("name"), config.pop("method")
    assert asr == air == pprior


def test_names_tell_runs_apart_whatever_the_order_of_the_words():
    assert mnist3.get_config("").name == "mnist3-asr"
    assert mnist3.get_config("quick,air").name == mnist3.get_config("air,quick").name
    assert mnist3.get_config("air,quick").name == "mnist3-air-quick"


@pytest.mark.parametrize(
    "argument, message",
    [
        ("vae", "unknown method or preset 'vae': methods are asr, air, pprior, presets are paper"),
        ("asr,fast", "unknown method or preset 'fast'"),
        ("asr,air", "one method at a time, got asr and air"),
        ("air,tight", "tight adds a constraint, and air has none"),
    ],
)
def test_bad_arguments_are_refused(argument, message):
    with pytest.raises(ValueError, match=message):
        mnist3.get_config(argument)


def test_fewer_steps_than_objects_are_refused():
    config = mnist3.get_config("asr")
    config.model.max_steps = 3
    message = r"K must be at least max\(counts\)=4, got 3: set config.model.max_steps=4"
    with pytest.raises(ValueError, match=message):
        build.model(config, OneScene(count=4))


def test_a_known_count_that_the_scenes_do_not_have_is_refused():
    with pytest.raises(ValueError, match=r"model.count=3 says .* got counts \[2\]: .*count=-1"):
        build.model(mnist3.get_config("asr"), OneScene(count=2))


def test_a_typo_in_a_section_is_refused_by_name():
    config = mnist3.get_config("asr")
    config.model = ConfigDict(config.model.to_dict() | {"lstn": 3})
    with pytest.raises(ValueError, match=r"unknown field config.model.lstn: the fields are canvas"):
        build.model(config, OneScene())


def test_weights_must_match_the_constraints():
    config = mnist3.get_config("asr")
    del config.constraints.weights.F3
    with pytest.raises(ValueError, match="constraints without a weight: F3"):
        build.penalised(config, build.constraints(config))
    config.constraints.weights.F3, config.constraints.weights.F9 = 1.0, 1.0
    with pytest.raises(ValueError, match="weights without a constraint: F9"):
        build.penalised(config, build.constraints(config))


def test_a_ramp_raises_a_weight_between_its_two_ends():
    config = mnist3.get_config("asr,tight")
    config.constraints.ramps.tight = (0.2, 0.6)
    weights = build.weights(config, 0, 100, 100)
    assert weights["F6"].tolist() == [20.0] * 100
    tight = weights["tight"]
    assert tight[:20].tolist() == [0.0] * 20 and tight[60:].tolist() == [20.0] * 40
    assert tight[40] == pytest.approx(10.0)
    later = build.weights(config, 30, 50, 100)["tight"]
    assert later.tolist() == tight[30:50].tolist()


@pytest.mark.parametrize("name, ramp", [("tihgt", (0.1, 0.2)), ("F1", (0.2, 0.2)), ("F1", (1, 0))])
def test_bad_ramps_are_refused(name, ramp):
    config = mnist3.get_config("asr")
    config.constraints.ramps[name] = ramp
    with pytest.raises(ValueError, match=rf"ramps.{name} must be \(start, end\) with 0 <= start"):
        build.penalised(config, build.constraints(config))


def test_quick_is_quick_with_every_other_preset():
    assert mnist3.get_config("quick,paper").train.epochs == mnist3.get_config("quick").train.epochs


def test_a_workdir_of_another_configuration_is_refused_and_left_alone(tmp_path):
    workdir = tmp_path / "run"
    open_workdir(workdir, mnist3.get_config("asr"), "abc", resume=False)
    before = (workdir / "config.json").read_text()
    with pytest.raises(
        ValueError, match=r"method is 'asr' there and 'air' here.*another --workdir"
    ):
        open_workdir(workdir, mnist3.get_config("air"), "abc", resume=True)
    with pytest.raises(ValueError, match="holds this run already: pass --resume"):
        open_workdir(workdir, mnist3.get_config("asr"), "abc", resume=False)
    open_workdir(workdir, mnist3.get_config("asr"), "abc", resume=True)
    with pytest.raises(ValueError, match="scenes is 'abc' there and 'xyz' here"):
        open_workdir(workdir, mnist3.get_config("asr"), "xyz", resume=True)
    elsewhere = mnist3.get_config("asr")
    elsewhere.data.data_dir = "/another/cache"  # does not change a result
    open_workdir(workdir, elsewhere, "abc", resume=True)
    assert (workdir / "config.json").read_text() == before


def test_a_folder_of_other_files_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("...")
    with pytest.raises(ValueError, match="not empty and not a run"):
        open_workdir(tmp_path, mnist3.get_config("asr"), "abc", resume=False)
