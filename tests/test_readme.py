"""The README's example runs as it is printed, in its own order."""

import re
from pathlib import Path

import numpy as np

README = (Path(__file__).parents[1] / "README.md").read_text()


def test_the_python_blocks_run():
    namespace = {}
    blocks = re.findall(r"```python\n(.*?)```", README, re.S)
    assert len(blocks) == 3
    for block in blocks:
        exec(block, namespace)  # noqa: S102
    assert namespace["terms"].elbo.shape == (8,)
    assert namespace["scene"].boxes.shape == (8, 3, 4)
    assert namespace["dream"].canvas.shape == (16, 50, 50)
    # The constraint it defines is one: with the weights that it prints, it trains.
    model, params, jax = namespace["model"], namespace["params"], namespace["jax"]
    objective, terms = namespace["asr_jax"].elbo_with_penalty(
        params,
        jax.random.key(3),
        namespace["images"],
        namespace["weights"],
        model=model,
        constraints=namespace["constraints"],
    )
    assert np.isfinite(objective) and (np.asarray(terms.constraints["right"]) >= 0).all()
    assert (np.asarray(terms.constraints["right"]) > 0).any()


def test_every_file_that_the_readme_shows_exists():
    for path in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (Path(__file__).parents[1] / path).exists(), path
