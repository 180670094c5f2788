"""The door for constraints: which a run reports, which it trains with, and at what price."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

import asr_jax
from asr_jax.constraints import places
from asr_jax.constraints.base import check_known, default_tolerances
from asr_jax.constraints.multipliers import Rule, dual

MULTIPLIERS = ("dual", "fixed")


def from_settings(settings: ConfigDict, model: asr_jax.ModelConfig) -> dict[str, Any]:
    """The fields of a `Run` that are about constraints, from `config.constraints`.

    Raises:
      ValueError: a setting that breaks its rule; the message names both.
    """
    reported = _constraints(settings, model)
    if settings.multipliers not in MULTIPLIERS:
        raise ValueError(
            f"config.constraints.multipliers must be one of {', '.join(MULTIPLIERS)}, got "
            f"{settings.multipliers!r}"
        )
    dual_ones = settings.multipliers == "dual"
    trained = (_tolerant if dual_ones else _weighted)(reported, settings)
    prior_weights, prior_tolerances = (
        _of_prior(field, trained, settings, model)
        for field in ("prior_weights", "prior_tolerances")
    )
    return dict(
        constraints=trained,
        reported=reported,
        prior_weights=prior_weights,
        prior_tolerances=prior_tolerances,
        largest=settings.largest,
        rule=_rule(trained, prior_tolerances, settings.largest) if dual_ones else None,
    )


def _constraints(
    settings: ConfigDict, model: asr_jax.ModelConfig
) -> tuple[asr_jax.Constraint, ...]:
    """R_num where possible counts are named, F1..F7, and, where it is named, what is counted."""
    counted, named = (), {*settings.tolerances, *settings.weights}
    if "counted" in named:
        counted = (asr_jax.counted_constraint(),)
    number = ()
    if settings.counts:
        try:
            number = asr_jax.number_constraints(settings.counts)
        except ValueError as error:
            raise ValueError(f"config.constraints.counts: {error}") from error
        if max(settings.counts) > model.max_objects:
            raise ValueError(
                f"config.constraints.counts must lie in 0..K={model.max_objects}, got "
                f"{tuple(settings.counts)}: set config.model.max_objects={max(settings.counts)} "
                "or more"
            )
    if settings.c_min > min(model.canvas):
        raise ValueError(
            f"config.constraints.c_min={settings.c_min} pixels is more than the shorter edge of "
            f"images of {model.canvas[0]} x {model.canvas[1]}: sides are in pixels"
        )
    bounds = (
        *(settings.c_min, settings.c_max, settings.epsilon),
        *(settings.tight or None, settings.side or None),
    )
    visible = ()
    if settings.visible:
        try:
            over = model.compositing == "over"
            visible = (asr_jax.visible_constraint(settings.visible, over),)
        except ValueError as error:
            raise ValueError(f"config.constraints.visible: {error}") from error
    snug = tuple(c for c in asr_jax.snug_constraints() if c.name in named)
    return counted + number + asr_jax.overlap_constraints(*bounds) + visible + snug


def _weighted(
    reported: tuple[asr_jax.Constraint, ...], settings: ConfigDict
) -> tuple[asr_jax.Constraint, ...]:
    """Those that have a weight, with it and its ramp: a method trains with them."""
    _empty(settings, "dual", "tolerances", "prior_tolerances")
    weights, ramps = settings.weights, settings.ramps
    for name in ramps:
        if name not in weights:
            raise ValueError(
                f"config.constraints.ramps.{name} must name one of the weights "
                f"{', '.join(weights) or '(none)'}"
            )
    constraints = _chosen(reported, "weights", weights)
    constraints = (_changed(c, "weights", "weight", weights[c.name]) for c in constraints)
    ramps = {name: tuple(ramp) for name, ramp in ramps.items()}
    changed = (_changed(c, "ramps", "ramp", ramps.get(c.name)) for c in constraints)
    return tuple(changed)


def _tolerant(
    reported: tuple[asr_jax.Constraint, ...], settings: ConfigDict
) -> tuple[asr_jax.Constraint, ...]:
    """Those that have a tolerance, with it: a method trains with them."""
    _empty(settings, "fixed", "weights", "prior_weights", "ramps")
    tolerances = settings.tolerances
    chosen = _chosen(reported, "tolerances", tolerances)
    return tuple(_changed(c, "tolerances", "tolerance", tolerances[c.name]) for c in chosen)


def _rule(
    constraints: tuple[asr_jax.Constraint, ...],
    prior_tolerances: Mapping[str, float],
    largest: float,
) -> Rule:
    """How multipliers set themselves."""
    tolerances = default_tolerances(constraints)
    if not 1 <= largest < math.inf:
        raise ValueError(
            f"config.constraints.largest must be at least 1, where multipliers start, and finite, "
            f"got {largest}"
        )
    try:  # by the names that a config has for them
        dual({"tolerances": tolerances, "prior_tolerances": prior_tolerances})
    except ValueError as error:
        raise ValueError(f"config.constraints: {error}") from error
    return dual({"posterior": tolerances, "prior": prior_tolerances}, most=largest)


def _empty(settings: ConfigDict, multipliers: str, *fields: str) -> None:
    """Raises ValueError where a field says what is heard with other multipliers only."""
    for field in fields:
        if settings[field]:
            raise ValueError(
                f"config.constraints.{field} is for multipliers={multipliers}, got "
                f"{', '.join(settings[field])} with multipliers={settings.multipliers}: leave it "
                "out, or change config.constraints.multipliers"
            )


def _chosen(
    reported: tuple[asr_jax.Constraint, ...], field: str, names: Mapping[str, float]
) -> list[asr_jax.Constraint]:
    """The constraints that a field of the config names."""
    try:
        check_known(field, names, [constraint.name for constraint in reported])
    except ValueError as error:
        raise ValueError(f"config.constraints.{field}: {error}") from error
    return [constraint for constraint in reported if constraint.name in names]


def _changed(
    constraint: asr_jax.Constraint, section: str, field: str, value: Any
) -> asr_jax.Constraint:
    try:
        return dataclasses.replace(constraint, **{field: value})
    except ValueError as error:
        raise ValueError(f"config.constraints.{section}.{constraint.name}: {error}") from error


def _of_prior(
    field: str,
    constraints: tuple[asr_jax.Constraint, ...],
    settings: ConfigDict,
    model: asr_jax.ModelConfig,
) -> dict[str, float]:
    """What a field says of the prior's places."""
    names, values = [constraint.name for constraint in constraints], settings[field]
    of_posterior = field.removeprefix("prior_")
    prior = model.place_prior if model.prior == "learned" else model.prior
    if values and prior != "relations":
        raise ValueError(
            f"config.constraints.{field} is for config.model.place_prior=relations, got "
            f"{', '.join(values)} with {prior}: leave it out"
        )
    places.check([c for c in constraints if c.name in values], f"config.constraints.{field}")
    for name, value in values.items():
        if name not in names:
            raise ValueError(
                f"config.constraints.{field}.{name} must name one of the {of_posterior} "
                f"{', '.join(names) or '(none)'}: give it one of the {of_posterior} as well"
            )
        if not value >= 0:
            raise ValueError(
                f"config.constraints.{field}.{name} must be at least 0, got {value}: "
                "a negative one rewards what the constraint forbids"
            )
    return dict(values)
