"""A run's folder: its config and results, whole files, metrics and state in step.

The one place behind the door that knows configurations, as JSON.
"""

from __future__ import annotations

import io
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path

import filelock
from matplotlib.figure import Figure
from ml_collections import ConfigDict
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary

from configs.fields import fields

# Fields that may differ when a run goes on: they do not change a result but for rounding, or what
# they change is seen in the fingerprint of the scenes.
FREE = (
    "data.data_dir",
    "data.digits_dir",
    "train.parallel",
    "train.checkpoint_every",
    "train.side_by_side",
)


def open_workdir(workdir: Path, config: ConfigDict, facts: dict, resume: bool) -> None:
    """Makes the folder, or makes sure that it holds this very run, on these very scenes.

    `facts` about the scenes, of `Data.facts`, are written to config.json with the configuration.

    Raises:
      ValueError: the folder holds another configuration, other files, or this run and `resume`
        is not set. Nothing is changed then.
    """
    file = workdir / "config.json"
    settings = json.loads(config.to_json()) | facts
    if file.exists():
        differences = what_differs(read_config(workdir), settings)
        if differences:
            raise ValueError(
                f"{workdir} holds a run of another configuration ({'; '.join(differences)}): "
                "choose another --workdir"
            )
        if not resume:
            raise ValueError(
                f"{workdir} holds this run already: pass --resume to go on with it, or choose "
                "another --workdir"
            )
    elif workdir.exists() and {path.name for path in workdir.iterdir()} - {"config.json.tmp"}:
        raise ValueError(f"{workdir} is not empty and not a run: choose another --workdir")
    else:
        workdir.mkdir(parents=True, exist_ok=True)
        write_json(file, settings)


def read_config(workdir: Path) -> dict:
    """A run's config.json, the facts about its scenes included, with the fields of today."""
    return completed(json.loads((workdir / "config.json").read_text()))


def completed(saved: dict) -> dict:
    """A saved configuration; fields that came after the run have their defaults."""
    return _over(json.loads(fields().to_json()), saved)


def _over(below: dict, above: dict) -> dict:
    """Nested dictionaries, those of `above` where both have a value."""
    both = {n: _over(below[n], v) for n, v in above.items() if isinstance(v, dict) and n in below}
    return below | above | both


def of_seed(config: ConfigDict, seed: int) -> ConfigDict:
    """The configuration of one of the seeds, as if it was run alone."""
    one = config.copy_and_resolve_references()
    with one.unlocked():
        one.seed, one.seeds = seed, 1
    return one


def portable_config(settings: dict) -> dict:
    """A config.json for readers elsewhere."""
    return settings | {"data": settings["data"] | {"digits_dir": "", "data_dir": ""}}


def portable(final: dict) -> dict:
    """A final.json for readers elsewhere, whom the folder that its digits lay in tells nothing."""
    return final | {"data": final["data"].partition(" in ")[0]}


def ended(workdir: Path) -> bool:
    """Whether a seed is finished, or has failed."""
    return (workdir / "final.json").exists() or (workdir / "failed.json").exists()


def failure(workdir: Path) -> str:
    """Why a run stopped."""
    return json.loads((workdir / "failed.json").read_text())["error"]


_held = []  # locks, until the process ends


def hold(workdir: Path) -> None:
    """Keeps other processes out of a run's folder until this one ends, however it ends.

    Raises:
      ValueError: another process is at work there.
    """
    lock = filelock.FileLock(workdir / ".lock")
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout as error:
        raise ValueError(
            f"another process is at work in {workdir}: wait until it ends, or end it"
        ) from error
    except NotImplementedError:  # a file system without locks
        return
    _held.append(lock)


def write_json(file: Path, value) -> None:
    """Writes a file that is either complete or as it was, also when the machine stops half-way.

    Raises:
      OSError: names the file that could not be written.
    """
    temporary = file.with_name(file.name + ".tmp")
    try:
        with temporary.open("w") as opened:
            opened.write(json.dumps(value, indent=2) + "\n")
            opened.flush()
            os.fsync(opened.fileno())  # before its name says that it is there
        os.replace(temporary, file)
    except OSError as error:
        raise OSError(f"{file} could not be written: {error}") from error


class MetricsLog:
    """metrics.jsonl and TensorBoard events, cut back to the step that a run goes on from."""

    def __init__(self, workdir: Path | None, step: int):
        """workdir: None keeps nothing, for processes that do not write."""
        self.rows, self._file = [], None
        if workdir is None:
            return
        self._file = workdir / "metrics.jsonl"
        lines = self._file.read_text().splitlines(keepends=True) if self._file.exists() else []
        self.rows = [row for row in map(_parse, lines) if row and row["step"] <= step]
        temporary = self._file.with_name("metrics.jsonl.tmp")
        temporary.write_text("".join(json.dumps(row) + "\n" for row in self.rows))
        os.replace(temporary, self._file)
        folder = workdir / "tensorboard"
        folder.mkdir(exist_ok=True)
        # Not tensorboardX's SummaryWriter, whose thread keeps two minutes of scalars to itself:
        # a kill loses them, and once the disk is full it dies and the run waits for it for ever.
        self._tensorboard = EventsWriter(str(folder / "events"), f".{step}")
        # TensorBoard drops what older files say of this step and later ones.
        start = SessionLog(status=SessionLog.START)
        self._tensorboard.write_event(Event(step=step + 1, session_log=start))

    def write(self, step: int, values: Mapping[str, float], figure: Figure | None = None) -> None:
        """Adds a line, and shows it and the figure in TensorBoard."""
        row = {"step": step} | dict(values)
        self.rows.append(row)
        if self._file is None:
            return
        with self._file.open("a") as file:
            file.write(json.dumps(row) + "\n")
        shown = [Summary.Value(tag=_tag(name), simple_value=v) for name, v in values.items()]
        if figure is not None:
            shown.append(Summary.Value(tag="held_out/reconstructions", image=_image(figure)))
        event = Event(wall_time=time.time(), step=step, summary=Summary(value=shown))
        self._tensorboard.write_event(event)
        self._tensorboard.flush()

    def close(self) -> None:
        if self._file is not None:
            self._tensorboard.close()


def _tag(name: str) -> str:
    """Where TensorBoard shows a metric: train/nelbo beside held_out/nelbo."""
    held_out = name.startswith("held_out_")
    return f"held_out/{name.removeprefix('held_out_')}" if held_out else f"train/{name}"


def _image(figure: Figure) -> Summary.Image:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=100)
    width, height = (int(inches * 100) for inches in figure.get_size_inches())
    return Summary.Image(
        encoded_image_string=file.getvalue(), width=width, height=height, colorspace=4
    )


def _parse(line: str) -> dict | None:
    """A line of metrics.jsonl; None for one that was cut off when the run was killed."""
    try:
        return json.loads(line)
    except json.JSONDecodeError:
        return None


def what_differs(saved: dict, settings: dict) -> list[str]:
    """The fields of two config.json that make them two runs, each with both values."""
    saved, settings = _flat(saved), _flat(settings)
    return [
        f"{name} is {saved.get(name)!r} there and {settings.get(name)!r} here"
        for name in sorted(saved.keys() | settings.keys())
        if saved.get(name) != settings.get(name) and name not in FREE
    ]


def _flat(tree: dict, prefix: str = "") -> dict:
    """{"a": {"b": 1}} -> {"a.b": 1}."""
    fields = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            fields |= _flat(value, f"{prefix}{name}.")
        else:
            fields[prefix + name] = value
    return fields
