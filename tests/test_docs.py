"""The documentation is built without a warning, and shows every public name."""

import re
import subprocess
import sys
from pathlib import Path

import jax
import pytest

import asr_jax
from tests.small import small_images, small_model, small_params
from tests.test_training import TINY

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    out = tmp_path_factory.mktemp("html")
    build = [sys.executable, "-m", "sphinx", "-W", "-q", "-b", "html", str(ROOT / "docs"), str(out)]
    done = subprocess.run(build, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return out


def test_every_public_name_has_an_entry(pages):
    reference = (pages / "api.html").read_text()
    for name in asr_jax.__all__:
        entry = re.search(
            rf'<dt [^>]*id="asr_jax\.{name}">.*?</dt>\s*<dd>(.*?)</dd>', reference, re.S
        )
        assert entry and re.sub(r"<[^>]+>", "", entry[1]).strip(), name


def test_the_loop_of_the_constraints_page_runs():
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/constraints.md").read_text(), re.S)
    model = small_model(**TINY)
    params = small_params(model)
    names = dict(asr_jax=asr_jax, jax=jax, model=model, params=params, images=small_images())
    names |= dict(keys=jax.random.split(jax.random.key(0), 3), opt_state=0)
    names["climb"] = lambda params, count, gradient: (
        jax.tree.map(lambda p, g: p + 1e-4 * g, params, gradient),
        count + 1,
    )
    exec(block, names)  # noqa: S102
    weights = names["multipliers"].weights
    assert names["opt_state"] == 3 and set(weights) == set(names["terms"].constraints)
    assert weights["F6"] > 1  # boxes of an untrained model are too large, or too small


def test_every_test_that_the_method_names_exists():
    """The table from equation to function to the test that checks it independently."""
    page = (ROOT / "docs/method.md").read_text()
    named = re.findall(r"`(test_\w+\.py)`: ((?:`test_\w+`(?:, )?)+)", page)
    names = [(file, name) for file, group in named for name in re.findall(r"`(\w+)`", group)]
    assert len(names) == len(re.findall(r"`test_\w+`", page)) > 40  # none is without its file
    for file, name in names:
        assert f"def {name}(" in (ROOT / "tests" / file).read_text(), (file, name)
