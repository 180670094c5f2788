"""Checks of what callers hand in beside images: a model, and parameters of it."""

from __future__ import annotations

import functools
from typing import Any

import jax
import numpy as np

from asr_jax.model import Model, Params


def check_model(model: Any) -> Model:
    """The model; raises ValueError for what is none."""
    if not isinstance(model, Model):
        raise ValueError(f"model must be an asr_jax.Model, got {model!r}: asr_jax.Model(config)")
    return model


def check_params(params: Params, model: Model) -> None:
    """Raises ValueError for parameters that are not the model's."""
    given, wanted = _shapes(params), _shapes_of(model)
    for path in sorted(wanted.keys() | given.keys()):
        if wanted.get(path) != given.get(path):
            raise ValueError(
                f"params{path} must have shape {wanted.get(path, '(none)')} in this model, got "
                f"{given.get(path, '(none)')}: give what model.init or fit has returned for it"
            )


@functools.cache
def _shapes_of(model: Model) -> dict[str, tuple[int, ...]]:
    return _shapes(jax.eval_shape(model.init, jax.random.key(0)))


def _shapes(params: Params) -> dict[str, tuple[int, ...]]:
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {jax.tree_util.keystr(path): np.shape(leaf) for path, leaf in leaves}
