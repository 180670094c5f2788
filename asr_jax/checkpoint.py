"""Checkpoints: orbax behind a thin interface. The latest and the best state are kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import preservation_policy as policy

METRIC = "loss"


class CheckpointError(ValueError):
    """A checkpoint that was made by another model."""


class Checkpoints:
    """A folder of checkpoints, one a step; each holds a state and a JSON-able description."""

    def __init__(self, directory: str | Path, keep: int = 2):
        """keep: how many of the latest stay, beside the one with the lowest training loss."""
        best_metric = lambda metrics: metrics[METRIC]  # noqa: E731
        directory = Path(directory).absolute()
        directory.mkdir(parents=True, exist_ok=True)
        self._manager = ocp.CheckpointManager(
            directory,
            item_handlers={  # named here, so that a new process can read the shapes of old arrays
                "state": ocp.StandardCheckpointHandler(),
                "description": ocp.JsonCheckpointHandler(),
            },
            options=ocp.CheckpointManagerOptions(
                create=False,  # which would wait for the other processes of the run
                multiprocessing_options=_alone(),
                best_fn=best_metric,
                best_mode="min",
                # `max_to_keep` with a best_fn would delete the latest step.
                preservation_policy=policy.AnyPreservationPolicy(
                    [
                        policy.LatestN(keep),
                        policy.BestN(get_metric_fn=best_metric, reverse=True, n=1),
                    ]
                ),
            ),
        )

    def save(self, step: int, state: Any, description: dict, loss: float) -> None:
        """Starts to save and returns; `close` waits. A step that is there already is kept."""
        if step in self._manager.all_steps():
            return
        self._manager.save(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(state), description=ocp.args.JsonSave(description)
            ),
            metrics={METRIC: loss},
        )

    def latest_step(self) -> int | None:
        """The last step with a complete checkpoint; None: there is none."""
        return self._manager.latest_step()

    def best_step(self) -> int | None:
        """The kept step with the lowest training loss; None: there is none."""
        return self._manager.best_step()

    def description(self, step: int) -> dict:
        """What was saved beside the state of that step."""
        args = ocp.args.Composite(description=ocp.args.JsonRestore())
        return self._manager.restore(step, args=args)["description"]

    def restore(self, step: int, like: Any) -> Any:
        """The state of that step; `like` has its structure, shapes and placement.

        Raises:
          CheckpointError: names the first arrays that differ.
        """
        saved = self._manager.item_metadata(step)["state"]
        differences = _differences(saved, like)
        if differences:
            raise CheckpointError(
                f"the checkpoint of step {step} belongs to another model: "
                f"{'; '.join(differences[:3])}: use the config that it was trained with"
            )
        args = ocp.args.Composite(state=ocp.args.StandardRestore(like))
        return self._manager.restore(step, args=args)["state"]

    def close(self) -> None:
        """Waits for what is still being written."""
        self._manager.wait_until_finished()
        self._manager.close()


def _alone() -> ocp.options.MultiprocessingOptions:
    """This process saves and restores whole arrays; others of the run take no part in it."""
    if jax.process_count() == 1:
        return ocp.options.MultiprocessingOptions()
    here = jax.process_index()
    return ocp.options.MultiprocessingOptions(
        primary_host=here, active_processes={here}, barrier_sync_key_prefix=f"process{here}"
    )


def _differences(saved: Any, like: Any) -> list[str]:
    """Where the arrays of a checkpoint differ in name or shape from those of a state."""

    def shapes(tree):
        leaves = jax.tree_util.tree_leaves_with_path(ocp.tree.serialize_tree(tree, True))
        return {
            jax.tree_util.keystr(path, simple=True, separator="/"): _stored(leaf).shape
            for path, leaf in leaves
            if hasattr(leaf, "shape")
        }

    saved, like = shapes(saved), shapes(like)
    return [
        f"{name} has shape {saved.get(name, 'none')} there and {like.get(name, 'none')} here"
        for name in sorted(
            saved.keys() | like.keys(), key=lambda n: (not n.startswith("params"), n)
        )
        if saved.get(name) != like.get(name)
    ]


def _stored(leaf):
    """Random keys are stored as the integers that they consist of."""
    is_key = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return jax.random.key_data(leaf) if is_key else leaf
