"""Trained parameters that come with the package: one run of AIR-ASR for each setting.

What they reach is in their `final`; those of RESULTS.md can be of other runs of the same setting.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from asr_jax.config import ModelConfig, from_fields
from asr_jax.model import Model, Params

FOLDER = Path(__file__).parent / "weights"


class Pretrained(NamedTuple):
    """A trained model, and where it comes from."""

    model: Model
    params: Params  # float32, of values that half precision has
    config: dict  # of the run, as in its config.json
    final: dict  # what these parameters reach on held-out scenes, as in a final.json


def pretrained_names(folder: str | Path = FOLDER) -> list[str]:
    """The names that `load_pretrained` knows."""
    return sorted(file.stem for file in Path(folder).glob("*.json"))


def load_pretrained(name: str, folder: str | Path = FOLDER) -> Pretrained:
    """Parameters of a finished run, with their model.

    Args:
      name: of the data they were trained on, such as "mnist3"; see `pretrained_names`.
      folder: where they lie; those that come with the package if not given.

    Raises:
      ValueError: there is none of that name, or its file is damaged.
    """
    if name not in pretrained_names(folder):
        raise ValueError(
            f"no pretrained parameters are called {name!r}: "
            f"there are {', '.join(pretrained_names(folder)) or '(none)'}"
        )
    folder = Path(folder)
    about = json.loads((folder / f"{name}.json").read_text())
    file = folder / f"{name}.npz"
    data = file.read_bytes() if file.exists() else b""
    if hashlib.sha256(data).hexdigest() != about["sha256"]:
        raise ValueError(
            f"{file} is not what was saved (its sha256 must be {about['sha256']}): "
            "install the package again, or fetch the file again"
        )
    with np.load(io.BytesIO(data)) as arrays:
        flat = {path: jnp.asarray(array, jnp.float32) for path, array in arrays.items()}
    model = Model(from_fields(ModelConfig, about["model"]))
    parts = jax.eval_shape(model.init, jax.random.key(0))  # of which some have no parameters
    params = dict.fromkeys(parts, {}) | traverse_util.unflatten_dict(flat, sep="/")
    return Pretrained(model, params, about["config"], about["final"])


def save_pretrained(name: str, trained: Pretrained, folder: Path = FOLDER) -> None:
    """Writes name.npz, arrays in half precision under their paths, and name.json about them."""
    flat = traverse_util.flatten_dict(jax.device_get(trained.params), sep="/")
    buffer = io.BytesIO()
    np.savez(buffer, **{path: array.astype(np.float16) for path, array in flat.items()})
    about = {
        "sha256": hashlib.sha256(buffer.getvalue()).hexdigest(),
        "model": dataclasses.asdict(trained.model.config),
        "config": trained.config,
        "final": trained.final,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.npz").write_bytes(buffer.getvalue())
    (folder / f"{name}.json").write_text(json.dumps(about, indent=2) + "\n")


def half_precision(params: Params) -> Params:
    """The parameters as `load_pretrained` will return them."""
    return jax.tree.map(lambda x: x.astype(jnp.float16).astype(jnp.float32), params)
