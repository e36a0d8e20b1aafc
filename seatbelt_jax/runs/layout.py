"""Names of what lies in a run directory's folder of checkpoints, and its finished checkpoints."""

import pathlib
import re
from typing import Literal

Item = Literal["variables", "training"]

ITEMS: tuple[Item, ...] = ("variables", "training")
# In each checkpoint's folder: file -> SHA-256. Orbax's formats notice missing bytes, but not every changed one.
DIGESTS = "digests.json"
STEP = re.compile("0|[1-9][0-9]{0,17}")


def newest_step(directory: pathlib.Path) -> int | None:
    """The step of the newest finished checkpoint, or None. A single process may call it."""
    return max(saved_steps(directory), default=None)


def saved_steps(directory: pathlib.Path) -> set[int]:
    """The steps of the finished checkpoints. A single process may call it."""
    # Orbax names a folder so when it is whole.
    return {int(folder.name) for folder in directory.glob("*") if STEP.fullmatch(folder.name) and is_saved(folder)}


def is_saved(folder: pathlib.Path) -> bool:
    """Whether a folder is a checkpoint, possibly a damaged one. Other files may stand beside checkpoints."""
    return folder.is_dir() and any((folder / name).exists() for name in (*ITEMS, DIGESTS, "_CHECKPOINT_METADATA"))
