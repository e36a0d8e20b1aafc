"""Saving and restoring training state: the only file that imports orbax."""

import pathlib
from collections.abc import Mapping
from typing import Any

import jax
from orbax.checkpoint import v1 as ocp

Shapes = Mapping[str, tuple[int, ...]]


class Checkpoints:
    """The numbered checkpoints of one run.

    A checkpoint holds two items: "variables" (parameters and running averages), which is all that a model
    needs to be used, and "training" (the optimiser's state and what else there is), which training needs to go
    on. Orbax writes each to a temporary folder and renames it, so that an interrupted save leaves no checkpoint
    behind.
    """

    def __init__(self, directory: pathlib.Path | str, *, keep: int = 2):
        self._directory = pathlib.Path(directory).absolute()
        self._checkpointer = ocp.training.Checkpointer(
            self._directory,
            preservation_policy=ocp.training.preservation_policies.LatestN(keep),
        )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        self._checkpointer.close()

    @property
    def latest_step(self) -> int | None:
        """The step of the newest finished checkpoint, None where there is none."""
        latest = self._checkpointer.latest
        return None if latest is None else latest.step

    def save(self, step: int, *, variables: Any, training: Any) -> None:
        """Writes a checkpoint and waits until it is whole on disk."""
        self._checkpointer.save_checkpointables(step, {"variables": variables, "training": training}, force=True)

    def load(self, step: int, *, variables: Any, training: Any) -> tuple[Any, Any]:
        """Restores both items of a checkpoint.

        Args:
          step: which checkpoint.
          variables, training: trees of arrays (or of shapes and dtypes) that say what is expected.

        Raises:
          ValueError: where the checkpoint is damaged, or a shape in it differs from what is expected.
        """
        expected = {"variables": variables, "training": training}
        loaded = self._load(step, expected)
        return loaded["variables"], loaded["training"]

    def load_variables(self, step: int, variables: Any) -> Any:
        """Restores the parameters and running averages alone, see `load`."""
        return self._load(step, {"variables": variables})["variables"]

    def _load(self, step: int, expected: dict[str, Any]) -> dict[str, Any]:
        try:
            saved = self._checkpointer.checkpointables_metadata(step).metadata
            shapes = _shapes(saved["variables"])
            if not shapes:
                raise ValueError("it has no parameters")
        except Exception as error:  # orbax and the file formats below it raise a dozen kinds
            raise self._damaged(step, error) from error
        _check_same_shapes(shapes, _shapes(expected["variables"]))
        try:
            return self._checkpointer.load_checkpointables(step, _abstract(expected))
        except Exception as error:
            raise self._damaged(step, error) from error

    def _damaged(self, step: int, error: Exception) -> ValueError:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        return ValueError(
            f"the checkpoint of step {step} cannot be read ({reason}); if that happens again, "
            f"it is damaged: remove {self._directory / str(step)} to go on from the one before"
        )


def _abstract(tree: Any) -> Any:
    """Shapes, dtypes and placement: orbax warns when it has to guess where an array shall live."""
    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=getattr(leaf, "sharding", None) or here),
        tree,
    )


def _shapes(tree: Any) -> Shapes:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="."): tuple(leaf.shape) for path, leaf in leaves}


def _check_same_shapes(saved: Shapes, expected: Shapes) -> None:
    """Names the first parameter in which a checkpoint is not of the expected architecture."""
    for name in sorted(expected.keys() | saved.keys()):
        if saved.get(name) != expected.get(name):
            raise ValueError(
                f"the checkpoint is of another architecture: {name} is {saved.get(name, 'absent')} in the "
                f"checkpoint and {expected.get(name, 'absent')} in the model; use the run's own configuration"
            )
