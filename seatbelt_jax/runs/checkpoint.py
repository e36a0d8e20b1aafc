"""Saving and restoring training state: the only file that imports orbax."""

import functools
import logging
import pathlib
import warnings
from collections.abc import Mapping
from typing import Any

import jax
from jax.experimental import multihost_utils
from orbax.checkpoint import v1 as ocp

from seatbelt_jax import storage
from seatbelt_jax.runs.damage import (
    DamagedCheckpointError,
    check_digests,
    digests,
    move_aside,
    place_aside,
    reason,
    unreadable,
)
from seatbelt_jax.runs.layout import DIGESTS, ITEMS, STEP, is_saved, newest_step, saved_steps

Shapes = Mapping[str, tuple[int, ...]]

# Orbax's names for what it will rename when it is whole.
_HALF_WRITTEN = "*.orbax-checkpoint-tmp*"
# Orbax logs through absl.
_ORBAX_LOGGER = logging.getLogger("absl")


class Checkpoints:
    """The numbered checkpoints of one run.

    A checkpoint holds two items: "variables" (parameters and running averages), which is all that a model
    needs to be used, and "training" (the optimiser's state and what else there is), which training needs to go
    on. Orbax writes each to a temporary folder and renames it, so that an interrupted save leaves no checkpoint
    behind.

    Args:
      directory: of the checkpoints, one folder each.
      keep: number of newest checkpoints to keep; a save removes older ones.
      clean: whether to remove the remains of killed saves.
    """

    def __init__(self, directory: pathlib.Path | str, *, keep: int = 2, clean: bool = False):
        self._directory = pathlib.Path(directory).absolute()
        if clean and jax.process_index() == 0:
            # Orbax would do so in a thread that a short program outruns.
            for folder in self._directory.glob(_HALF_WRITTEN):
                storage.remove(folder)
            # Orbax takes whatever has a number for a name for its own.
            for stray in sorted(self._directory.glob("[0-9]*")):
                if stray.name.isdecimal() and not (STEP.fullmatch(stray.name) and is_saved(stray)):
                    warnings.warn(f"{stray} is no checkpoint; it is now {move_aside(stray)}", stacklevel=2)
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices("the checkpoints are looked through")
        self._keep = keep
        self._save_failed = False

    @functools.cached_property
    def _checkpointer(self) -> ocp.training.Checkpointer:
        """What saves; to read, it is not needed, and would stumble over what others put beside the checkpoints."""
        return ocp.training.Checkpointer(
            self._directory, preservation_policy=ocp.training.preservation_policies.LatestN(self._keep)
        )

    def __enter__(self) -> "Checkpoints":
        _ORBAX_LOGGER.addFilter(self._is_news)
        return self

    def __exit__(self, *_: object) -> None:
        try:
            if "_checkpointer" in vars(self):
                self._checkpointer.close()
        except Exception:
            # Orbax raises the error of a failed save once more.
            if not self._save_failed:
                raise
        finally:
            # The threads of a failed save may outlive it.
            if not self._save_failed:
                _ORBAX_LOGGER.removeFilter(self._is_news)

    def _is_news(self, record: logging.LogRecord) -> bool:
        """Whether a log record is no copy of an error that `save` raises: orbax logs one traceback for each thread.

        A method, so that each open instance has a filter of its own.
        """
        return record.exc_info is None or "orbax" not in pathlib.PurePath(record.pathname).parts

    @property
    def latest_step(self) -> int | None:
        """The step of the newest finished checkpoint, None where there is none."""
        return newest_step(self._directory)

    @property
    def steps(self) -> set[int]:
        """Those of the finished checkpoints."""
        return saved_steps(self._directory)

    def save(self, step: int, *, variables: Any, training: Any = None) -> None:
        """Writes a checkpoint and waits until it is complete on disk; without `training`, nothing trains on from it.

        Raises:
          OSError: it cannot be written, for example on a full disk. Earlier checkpoints stay unchanged.
        """
        items = {"variables": variables} | ({} if training is None else {"training": training})
        try:
            self._checkpointer.save_checkpointables(step, items, force=True)
        except Exception as error:  # the file formats below orbax raise a dozen kinds
            self._save_failed = True
            latest = self.latest_step
            kept = "nothing was saved before" if latest is None else f"the checkpoint of step {latest} is intact"
            raise OSError(
                f"the checkpoint of step {step} could not be written to {self._directory} ({reason(error)}); {kept}"
            ) from error
        if jax.process_index() == 0:
            folder = self._directory / str(step)
            # Killed before this is written, the checkpoint is whole all the same, and is read unchecked.
            storage.write_json(folder / DIGESTS, digests(folder, ITEMS))

    def load_newest(self, *, variables: Any, training: Any) -> tuple[int, Any, Any] | None:
        """Step and both items of the newest checkpoint that can be read, see `load`; None where there is none.

        A damaged one is set aside, with a warning, in the folder "damaged" beside the directory. The last one whose
        parameters are whole stays where it is: they are still a model.

        Raises:
          DamagedCheckpointError: all checkpoints are damaged.
          OSError: the newest checkpoint is not known to be damaged, but cannot be read. It stays in place.
          ValueError: a checkpoint has another architecture.
        """
        damage = None
        while (step := self.latest_step) is not None:
            try:
                return step, *self.load(step, variables=variables, training=training)
            except DamagedCheckpointError as error:
                damage = error
                if len(self.steps) == 1 and self._has_whole_variables(step, variables):
                    raise DamagedCheckpointError(
                        f"{error}. There is none before it, and its parameters are whole: begin another run with them, "
                        f"--warm_start={self._directory.parent} --workdir=ANOTHER, or move "
                        f"{self._directory / str(step)} away to start anew"
                    ) from error
                kept = self.set_aside(step)
                warnings.warn(f"{error}; it is now {kept}", stacklevel=2)
        if damage is not None:
            raise DamagedCheckpointError(f"{damage}. There is none before it: when called again, it starts anew")
        return None

    def load(self, step: int, *, variables: Any, training: Any) -> tuple[Any, Any]:
        """Restores both items of a checkpoint.

        Args:
          step: which checkpoint.
          variables, training: trees of arrays (or of shapes and dtypes) that say what is expected.

        Raises:
          FileNotFoundError: there is no checkpoint of that step.
          DamagedCheckpointError: the checkpoint differs from what was written.
          OSError: the machine cannot read an undamaged checkpoint, for example for lack of memory.
          ValueError: a shape differs from the expected one.
        """
        expected = {"variables": variables, "training": training}
        loaded = self._load(step, expected)
        return loaded["variables"], loaded["training"]

    def load_variables(self, step: int, variables: Any) -> Any:
        """Restores the parameters and running averages alone, see `load`."""
        return self._load(step, {"variables": variables})["variables"]

    def _has_whole_variables(self, step: int, variables: Any) -> bool:
        try:
            self.load_variables(step, variables)
        except ValueError:
            return False
        return True

    def _load(self, step: int, expected: dict[str, Any]) -> dict[str, Any]:
        folder = self._directory / str(step)
        if not folder.is_dir():
            raise FileNotFoundError(
                f"{self._directory} has no checkpoint of step {step}; training keeps the newest ones"
            )
        is_whole = False
        try:
            items = [item for item in ITEMS if item in expected]
            if missing := [item for item in items if not (folder / item).is_dir()]:
                raise ValueError(f"it has no {' and no '.join(missing)}")
            is_whole = check_digests(folder, items)
            saved = ocp.checkpointables_metadata(folder).metadata
            shapes = {name: _shapes(saved[name]) for name in expected}
            if not shapes["variables"]:
                raise ValueError("it has no parameters")
        except Exception as error:  # orbax and the file formats below it raise a dozen kinds
            raise unreadable(folder, error, is_whole=is_whole) from error
        for name, tree in expected.items():
            _check_same_shapes(name, shapes[name], _shapes(tree))
        try:
            return ocp.load_checkpointables(folder, _abstract(expected))
        except Exception as error:
            raise unreadable(folder, error, is_whole=is_whole) from error

    def set_aside(self, step: int) -> pathlib.Path:
        """Moves a damaged checkpoint to the folder "damaged" beside the directory; returns where it is then."""
        target = place_aside(self._directory / str(step))
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices("all have found the checkpoint damaged")
        if jax.process_index() == 0:
            move_aside(self._directory / str(step))
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices("a damaged checkpoint is set aside")
        if "_checkpointer" in vars(self):
            self._checkpointer.reload()
        return target


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


def _check_same_shapes(item: str, saved: Shapes, expected: Shapes) -> None:
    """Raises ValueError for the first array whose shape is not that of the expected architecture or optimiser."""
    what, remedy = {
        "variables": ("of another architecture", "use the configuration or the code that it was saved with"),
        "training": ("of another optimiser", "use the run's own configuration, or take its parameters alone"),
    }[item]
    for name in sorted(expected.keys() | saved.keys()):
        if saved.get(name) != expected.get(name):
            raise ValueError(
                f"the checkpoint is {what}: {name} is {saved.get(name, 'absent')} in the "
                f"checkpoint and {expected.get(name, 'absent')} here; {remedy}"
            )
