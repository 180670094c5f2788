"""The rows of the paper's tables, of one in colour, and of an ablation."""

from __future__ import annotations

import importlib
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ml_collections import ConfigDict


class Row(NamedTuple):
    """Runs that differ in their seed only."""

    label: str
    data: str  # a file of configs/, without its .py
    argument: str  # METHOD[,PRESET...]
    # Config fields that are not as in the file; then `name`, too, which no other row may have.
    settings: tuple[tuple[str, Any], ...] = ()
    seeds: int | None = None  # how many it has; None: as many as its table

    def config(self, seed: int = 0) -> ConfigDict:
        """The configuration of one seed."""
        file = importlib.import_module(f"configs.{self.data}")
        config = file.get_config(self.argument)
        config.update_from_flattened_dict(dict(self.settings) | {"seed": seed})
        return config

    @property
    def name(self) -> str:
        """What its runs are called, before their seed."""
        return self.config().name

    def command(self) -> list[str]:
        """What follows `python`, without seeds."""
        config = self.config()
        module = "experiments.number" if config.model.count < 0 else "experiments.overlap"
        file = f"--config=configs/{self.data}.py:{self.argument}"
        return ["-m", module, file, *(f"--config.{k}={v}" for k, v in self.settings)]

    def shown(self, seeds: int) -> str:
        """The command for people to copy."""
        return shlex.join(["python", *self.command(), f"--config.seeds={seeds}"])


class Table(NamedTuple):
    name: str  # of its figures
    title: str
    rows: tuple[Row, ...]
    seeds: int | None = None  # how many its rows have; None: as many as are asked for
    columns: tuple[str, ...] = ()  # measures; empty: those that the paper has


METHODS = {"air": "AIR", "pprior": "AIR-pPrior", "asr": "AIR-ASR"}
# What an ablation leaves out, by its name; F2 to F5 are an edge of the canvas each.
R_NUM = {"number": ("number",), "balance": ("balance",)}
OVERLAP = {"F1": ("F1",), "F2 to F5": ("F2", "F3", "F4", "F5"), "F6": ("F6",), "F7": ("F7",)}
OF_OVERLAP = ("nelbo", "se", "miou", "centre", "centre_off")
OF_COLOUR = ("nelbo", "acc", "se", "miou", "mask_miou", "fg_ari")


def _number(name: str, counts: str, *more: Row) -> Table:
    rows = *(Row(label, name, argument) for argument, label in METHODS.items()), *more
    return Table(name, f"Multi-MNIST-{name[-2:]}: {counts} digits", rows)


def _overlap(name: str, title: str) -> Table:
    rows = tuple(Row(label, name, argument) for argument, label in METHODS.items())
    return Table(name, title, rows, columns=OF_OVERLAP)


def _colour(name: str, title: str, rows: Sequence[Row]) -> Table:
    return Table(name, title, tuple(rows), columns=OF_COLOUR)


def _short(data: str, epochs: int, argument: str, label: str, *settings: tuple[str, Any]) -> Row:
    """A row of a shortened run, called after its label."""
    called = f"{data}-short-{re.sub('[^a-z0-9]+', '-', label.lower())}"
    ending = (("evaluate.iwae_samples", 0), ("evaluate.generated", 2_000))
    return Row(
        label, data, argument, (("name", called), ("train.epochs", epochs), *ending, *settings)
    )


def _ablation(
    data: str,
    epochs: int,
    title: str,
    without: Mapping[str, Sequence[str]],
    *settings: tuple[str, Any],
) -> Table:
    """Shortened runs: with all terms, with weights by hand, without some terms, and of before."""

    def short(argument: str, label: str, *more: tuple[str, Any]) -> Row:
        return _short(data, epochs, argument, label, *more, *settings)

    rows = [short("asr", "AIR-ASR"), short("asr,fixed", "weights by hand")]
    priced = rows[1].config().constraints.prior_weights
    for label, names in without.items():
        zero = [(f"constraints.weights.{name}", 0.0) for name in names]
        zero += [(f"constraints.prior_weights.{name}", 0.0) for name in names if name in priced]
        rows.append(short("asr,fixed", f"by hand, no {label}", *zero))
    if free := [(f"constraints.prior_weights.{name}", 0.0) for name in priced]:
        rows.append(short("asr,fixed", "by hand, prior free", *free))
    rows.append(short("asr,patches", "by hand, patches"))
    rows.append(short("asr,paper", "the paper's setting")._replace(seeds=1))
    return Table(f"{data}-ablation", title, tuple(rows), seeds=3)


NO_BORDER = (("model.border", 0.0),)  # as the ablation of three digits was run

# A part of the page -> its tables.
TABLES = {
    "number": (
        _number("mnist13", "1 or 3", Row("AIR, known counts", "mnist13", "air,known")),
        _number("mnist14", "1 or 4"),
        _number("mnist24", "2 or 4"),
        Table(
            "air02",
            "AIR's own task: 0 to 2 digits, which may lie over each other",
            (Row("AIR-ASR", "air02", "asr"),),
            columns=("nelbo", "acc", "se", "miou"),
        ),
    ),
    "overlap": (
        _overlap("mnist3", "Multi-MNIST-3: three digits"),
        _overlap("dsprites3", "Multi-dSprites-3: three shapes"),
    ),
    "colour": (
        _colour(
            "colour_dsprites",
            "Multi-dSprites, coloured on grey: 2 to 5 shapes",
            [Row(label, "colour_dsprites", method) for method, label in METHODS.items()],
        ),
        _colour(
            "colour_mnist",
            "Coloured digits: 1 or 3, in front of one colour, noise, or a grid",
            [
                Row("AIR-ASR", "colour_mnist", "asr"),
                Row("AIR-ASR, noise", "colour_mnist", "asr,noise"),
                Row("AIR-ASR, grid", "colour_mnist", "asr,grid"),
            ],
        ),
    ),
    "ablation": (
        Table(
            "mnist13-seeds",
            "Multi-MNIST-13: ten seeds",
            (_short("mnist13", 3, "asr", "AIR-ASR"),),
            seeds=10,
        ),
        _ablation("mnist13", 3, "Multi-MNIST-13: R_num", R_NUM),
        _ablation("mnist3", 6, "Multi-MNIST-3: F1 to F7", OVERLAP, *NO_BORDER),
    ),
}


def all_tables() -> list[Table]:
    """Those of every part."""
    return [table for part in TABLES.values() for table in part]
