"""The package alone, built and installed into an environment of its own, in an empty folder."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

import asr_jax
from tests.end_to_end.runs import FEWER, ROOT, TINY

COMMANDS = ("compare", "detect", "evaluate", "export", "number", "overlap", "sample", "tables")
PACKED = ("asr_jax", "configs", "data_gen", "experiments")
ELSEWHERE = """
import importlib.util, asr_jax, data_gen
print(asr_jax.__file__, data_gen.__file__, asr_jax.__version__, asr_jax.pretrained_names())
print([importlib.util.find_spec(name) for name in ("configs", "experiments")])
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder of an environment's programs: the wheel's, and what it needs from here."""
    folder = tmp_path_factory.mktemp("installed")
    clone = folder / "clone"  # a build writes beside what it reads
    for name in PACKED:
        hidden = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, clone / name, ignore=hidden)
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, clone)
    pip("wheel", "--no-build-isolation", f"--wheel-dir={folder}", clone)
    (wheel,) = folder.glob("asr_jax-*.whl")
    shutil.rmtree(clone)  # nothing is taken from there
    venv.create(folder / "venv", with_pip=False)
    python = folder / "venv" / "bin" / "python"
    # A path in a .pth file is looked in, and .pth files there, as of this very package, are not.
    (site,) = (folder / "venv").glob("lib/python*/site-packages")
    (site / "others.pth").write_text(sysconfig.get_path("purelib"))
    pip("install", wheel, python=python)
    return python.parent


def pip(command, *arguments, python=sys.executable):
    """Runs pip for an environment, without a network."""
    program = (sys.executable, "-m", "pip", f"--python={python}", "--disable-pip-version-check")
    offline = ("--no-deps", "--no-index")
    done = subprocess.run(
        [*program, command, *offline, *map(str, arguments)], text=True, capture_output=True
    )
    assert done.returncode == 0, done.stderr[-3000:]


def call(*command, cwd=None, expect=0):
    """What a program printed, in an environment that names no folder of this clone."""
    own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [*map(str, command)],
        cwd=cwd,
        env=own | {"JAX_PLATFORMS": "cpu", "ASR_DATA_DIR": str(cwd)},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert done.returncode == expect, done.stdout[-3000:]
    return done.stdout


def test_every_command_and_nothing_with_a_name_of_others(installed, tmp_path):
    assert {file.name for file in installed.glob("asr-*")} == {f"asr-{name}" for name in COMMANDS}
    about, found = call(installed / "python", "-c", ELSEWHERE, cwd=tmp_path).splitlines()
    library, data, version, *names = about.split(maxsplit=3)
    assert {Path(library).parents[2], Path(data).parents[2]} == {*installed.parent.glob("lib/*")}
    assert version == asr_jax.__version__ and names == [str(asr_jax.pretrained_names())]
    assert found == "[None, None]"


def test_a_config_by_name_in_an_empty_folder(installed, tmp_path):
    fewer = (f"--config.{field}" for field in FEWER["overlap"])
    short = ("--config.train.epochs=1", "--config.evaluate.every=0")
    tiny = {argument.partition("=")[0]: argument for argument in (*TINY, *fewer, *short)}.values()
    command = (installed / "asr-overlap", "--config=mnist3:asr,quick", *tiny)
    output = call(*command, cwd=tmp_path)
    workdir = tmp_path / "runs" / "mnist3-asr-quick-seed0"
    assert "Results are in runs/mnist3-asr-quick-seed0" in output
    assert json.loads((workdir / "final.json").read_text())["steps"] == 4


def test_an_unknown_name_is_one_error_that_lists_the_names(installed, tmp_path):
    output = call(installed / "asr-number", "--config=mnist31:air", cwd=tmp_path, expect=1)
    (line,) = output.splitlines()
    assert line.startswith("error: ") and "'mnist31'" in line
    assert all(name in line for name in ("dsprites13", "mnist13", "mnist3"))
    assert not list(tmp_path.iterdir())


def test_the_page_of_results_comes_with_its_prose(installed, tmp_path):
    assert "Wrote RESULTS.md" in call(installed / "asr-tables", "--collect", cwd=tmp_path)
    assert "mnist13" in (tmp_path / "RESULTS.md").read_text()
