"""Checkpoints: orbax behind a thin interface. The latest and the best state are kept.

Every checkpoint holds the checksums of its files, so that one that a machine's stop or a bad disk
left damaged is known before anything is made of it.
"""

from __future__ import annotations

import functools
import json
import shutil
import zlib
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import preservation_policy as policy

from asr_jax.processes import is_key

METRIC = "loss"
CHECKSUMS = "checksums.json"
DELETED = "deleted"


class CheckpointError(ValueError):
    """A checkpoint that was made by another model, or is damaged."""


class Checkpoints:
    """A folder of checkpoints, one a step; each holds a state and a JSON-able description."""

    def __init__(self, directory: str | Path, keep: int = 2):
        """keep: how many of the latest stay, beside the one with the lowest training loss."""
        self.directory = Path(directory).absolute()
        self._keep = keep

    @functools.cached_property
    def _manager(self) -> ocp.CheckpointManager:
        """Made late: it reads the loss of every step, and opens no folder with a damaged one."""
        self.directory.mkdir(parents=True, exist_ok=True)
        best_metric = lambda metrics: metrics[METRIC]  # noqa: E731
        return ocp.CheckpointManager(
            self.directory,
            item_handlers={
                "state": _sealing(_state_handler()),
                "description": _sealing(ocp.JsonCheckpointHandler()),
            },
            options=ocp.CheckpointManagerOptions(
                create=False,  # which would wait for the other processes of the run
                multiprocessing_options=_alone(),
                best_fn=best_metric,
                best_mode="min",
                # Killed while it deletes, orbax would leave a step with some of its files.
                todelete_subdir=DELETED,
                # `max_to_keep` with a best_fn would delete the latest step.
                preservation_policy=policy.AnyPreservationPolicy(
                    [
                        policy.LatestN(self._keep),
                        policy.BestN(get_metric_fn=best_metric, reverse=True, n=1),
                    ]
                ),
            ),
        )

    def save(self, step: int, state: Any, description: dict, loss: float) -> None:
        """Starts to save and returns; `close` waits. A step that is there already is kept.

        Raises:
          OSError: this checkpoint, or the one before it, could not be written.
        """
        try:
            if step in self._manager.all_steps():
                return
            self._finish()
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(_stored(state)),
                    description=ocp.args.JsonSave(description),
                ),
                metrics={METRIC: loss},
            )
        except Exception as error:
            raise self._unwritten(error) from error

    def steps(self) -> list[int]:
        """The steps with a complete checkpoint, damaged or not, in order."""
        folders = self.directory.iterdir() if self.directory.is_dir() else ()
        return sorted(int(folder.name) for folder in folders if folder.name.isdigit())

    def latest_step(self) -> int | None:
        """The last step with a complete checkpoint; None: there is none."""
        return max(self.steps(), default=None)

    def best_step(self) -> int | None:
        """The kept step with the lowest training loss; None: there is none."""
        return self._manager.best_step()

    def description(self, step: int) -> dict:
        """What was saved beside the state of that step."""
        return ocp.JsonCheckpointHandler().restore(self._folder(step, "description"))

    def damage(self, step: int) -> str | None:
        """What is wrong with the files of that step, on one line; None: nothing."""
        folder = self._folder(step)
        try:
            for item in ("state", "description"):
                for name, checksum in _checksums(folder / item).items():
                    if zlib.crc32((folder / item / name).read_bytes()) != checksum:
                        return f"{item}/{name} is not what was written"
            _read_json(folder / "metrics" / "metrics")
        except FileNotFoundError as error:
            return f"{Path(error.filename).relative_to(folder)} is missing"
        except (OSError, ValueError) as error:
            return str(error)
        return None

    def set_aside(self, step: int) -> Path:
        """Renames that checkpoint, so that its step can be saved again, and returns where it is."""
        number, aside = 1, self._folder(f"{step}.damaged")
        while aside.exists():
            number += 1
            aside = self._folder(f"{step}.damaged{number}")
        return self._folder(step).rename(aside)

    def restore(self, step: int, like: Any) -> Any:
        """The state of that step; `like` has its structure, shapes and placement.

        Raises:
          CheckpointError: it is damaged, or another model's: names the first arrays that differ.
        """
        self._check(step)
        handler, folder = _state_handler(), self._folder(step, "state")
        self._check_like(step, handler.metadata(folder), like)
        stored = handler.restore(folder, args=ocp.args.StandardRestore(_stored(like)))
        return jax.tree.map(_like, like, stored)

    def restore_params(self, step: int, like: Any) -> Any:
        """The parameters of the state of that step; whatever else it holds is left alone.

        Raises:
          CheckpointError: it is damaged, or another model's: names the first arrays that differ.
        """
        self._check(step)
        handler, folder = _state_handler(), self._folder(step, "state")
        # As NumPy's: the devices that they were on may not be here.
        whole = jax.tree.map(lambda x: np.empty(x.shape, x.dtype), handler.metadata(folder))
        stored = handler.restore(folder, args=ocp.args.StandardRestore(whole))["params"]
        self._check_like(step, stored, like, "params/")
        return jax.tree.map(jnp.asarray, stored)

    def _check(self, step: int) -> None:
        damage = self.damage(step)
        if damage:
            raise CheckpointError(
                f"the checkpoint of step {step} in {self.directory} is damaged ({damage}): "
                f"use another of the steps {', '.join(map(str, self.steps()))}"
            )

    def _check_like(self, step: int, saved: Any, like: Any, prefix: str = "") -> None:
        differences = _differences(saved, like, prefix)
        if differences:
            raise CheckpointError(
                f"the checkpoint of step {step} belongs to another model: "
                f"{'; '.join(differences[:3])}: use the config and the version of this code "
                "that it was trained with"
            )

    def close(self) -> None:
        """Waits for what is still being written.

        Raises:
          OSError: it could not be written.
        """
        if "_manager" not in self.__dict__:
            return
        try:
            self._finish()
        except Exception as error:
            raise self._unwritten(error) from error
        finally:
            self._manager.close()

    def _finish(self) -> None:
        self._manager.wait_until_finished()
        shutil.rmtree(self.directory / DELETED, ignore_errors=True)

    def _folder(self, *names: object) -> Path:
        return Path(self.directory, *map(str, names))

    def _unwritten(self, error: Exception) -> OSError:
        """Orbax raises what its threads met, of any type and length; all say what the disk said."""
        said = " ".join(str(error).split()).partition(" [")[0]  # without tensorstore's settings
        return OSError(f"a checkpoint could not be written to {self.directory}: {said}")


def _sealing(handler: Any) -> Any:
    """The handler, which then notes checksums, before orbax gives the checkpoint its name."""
    finalize = handler.finalize

    def seal(folder):
        finalize(folder)
        folder = Path(folder)
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        checksums = {str(file.relative_to(folder)): zlib.crc32(file.read_bytes()) for file in files}
        (folder / CHECKSUMS).write_text(json.dumps(checksums))

    handler.finalize = seal
    return handler


def _checksums(folder: Path) -> dict[str, int]:
    """file -> checksum; checkpoints of before there were checksums have none."""
    if any(file.name == CHECKSUMS for file in folder.iterdir()):
        return _read_json(folder / CHECKSUMS)
    return {}


def _read_json(file: Path) -> Any:
    try:
        return json.loads(file.read_text())
    except ValueError as error:
        raise ValueError(f"{file.parent.name}/{file.name} is cut off: {error}") from error


def _alone() -> ocp.options.MultiprocessingOptions:
    """This process saves and restores whole arrays; others of the run take no part in it."""
    if jax.process_count() == 1:
        return ocp.options.MultiprocessingOptions()
    here = jax.process_index()
    return ocp.options.MultiprocessingOptions(
        primary_host=here, active_processes={here}, barrier_sync_key_prefix=f"process{here}"
    )


def _differences(saved: Any, like: Any, prefix: str = "") -> list[str]:
    """Where the arrays of a checkpoint differ in name or shape from those of a state."""

    def shapes(tree):
        leaves = jax.tree_util.tree_leaves_with_path(ocp.tree.serialize_tree(tree, True))
        return {
            prefix + jax.tree_util.keystr(path, simple=True, separator="/"): leaf.shape
            for path, leaf in leaves
            if hasattr(leaf, "shape")
        }

    saved, like = shapes(saved), shapes(_stored(like))
    return [
        f"{name} has shape {saved.get(name, 'none')} there and {like.get(name, 'none')} here"
        for name in sorted(
            saved.keys() | like.keys(), key=lambda n: (not n.startswith("params"), n)
        )
        if saved.get(name) != like.get(name)
    ]


def _like(leaf: Any, stored: Any) -> Any:
    """What was stored, as a key of the same kind where the leaf is one."""
    if not is_key(leaf):
        return stored
    return jax.random.wrap_key_data(stored, impl=jax.random.key_impl(leaf))


def _state_handler() -> ocp.StandardCheckpointHandler:
    return ocp.StandardCheckpointHandler(multiprocessing_options=_alone())


def _stored(tree: Any) -> Any:
    """Random keys are stored as the integers that they consist of.

    In a run of several processes everything is stored from the host: orbax would want all of them
    to take part in storing an array of JAX's.
    """
    host = np.asarray if jax.process_count() > 1 else lambda leaf: leaf
    return jax.tree.map(
        lambda leaf: host(jax.random.key_data(leaf) if is_key(leaf) else leaf), tree
    )
