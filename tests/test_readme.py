"""The README's example runs as it is printed, in its own order."""

import ast
import inspect
import re
from pathlib import Path

import numpy as np

import asr_jax

README = (Path(__file__).parents[1] / "README.md").read_text()


def test_the_python_block_runs():
    (block,) = re.findall(r"```python\n(.*?)```", README, re.S)
    names = {}
    exec(block, names)  # noqa: S102
    assert names["terms"].elbo.shape == (8,) and names["scene"].boxes.shape == (8, 3, 4)
    # The constraint it defines is one: with the weight that it carries, it is a price.
    arguments = {name: names[name] for name in ("model", "constraints")}
    objective, terms = names["asr_jax"].elbo_with_penalty(
        names["params"], names["jax"].random.key(3), names["images"], **arguments
    )
    right = np.asarray(terms.constraints["right"])
    assert np.isfinite(objective) and (right >= 0).all() and (right > 0).any()


def test_the_call_of_fit_has_arguments_that_fit_takes():
    (call,) = re.findall(r"^    params, history = (asr_jax\.fit\(.*\))$", README, re.M)
    keywords = [keyword.arg for keyword in ast.parse(call).body[0].value.keywords]
    inspect.signature(asr_jax.fit).bind("images", **dict.fromkeys(keywords))


def test_every_file_that_the_readme_shows_exists():
    for path in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (Path(__file__).parents[1] / path).exists(), path
