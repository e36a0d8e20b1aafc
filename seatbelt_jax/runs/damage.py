"""Damage of checkpoints: digests by which it is found, errors that name it, and where damaged ones are moved."""

import errno
import hashlib
import itertools
import os
import pathlib
import re
import warnings
from collections.abc import Sequence

from seatbelt_jax import storage, untrusted
from seatbelt_jax.errors import first_line
from seatbelt_jax.runs.layout import DIGESTS, Item, saved_steps

# What stands in the way of reading any file, whole ones too.
_OF_THIS_MACHINE = (errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ENOMEM)
# How TensorStore, below orbax, ends the message of an error of the system.
_SYSTEM_ERROR = re.compile(r"\[os_error_code='(\d+)'")


class DamagedCheckpointError(ValueError):
    """A checkpoint cannot be read, or differs from what was written."""


def check_whole(directory: pathlib.Path, step: int, items: Sequence[Item]) -> None:
    """Raises DamagedCheckpointError if a file of these items is missing or changed."""
    folder = directory / str(step)
    try:
        if missing := [item for item in items if not (folder / item).is_dir()]:
            raise ValueError(f"it has no {' and no '.join(missing)}")
        check_digests(folder, items)
    except ValueError as error:
        raise damaged(folder, error) from error


def digests(folder: pathlib.Path, items: Sequence[Item]) -> dict[str, str]:
    """The SHA-256 of each file of the items."""
    files = sorted(file for item in items for file in (folder / item).rglob("*") if file.is_file())
    return {file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def check_digests(folder: pathlib.Path, items: Sequence[Item]) -> bool:
    """Compares the items with their digests. False without digests; raises ValueError if an item has changed."""
    if not os.path.lexists(folder / DIGESTS):
        return False
    try:
        known = storage.read_json(folder / DIGESTS)
        untrusted.check(known, {"*": str}, f"{folder / DIGESTS}")
    except (ValueError, OSError) as error:
        # They are no part of the model.
        warnings.warn(f"{error}; whether the checkpoint is as it was written is not known", stacklevel=2)
        return False
    written = {name: digest for name, digest in known.items() if name.split("/")[0] in items}
    if not written:
        return False
    if written != (found := digests(folder, items)):
        changed = sorted(name for name in written.keys() | found.keys() if written.get(name) != found.get(name))
        raise ValueError(f"{len(changed)} of its files are not as they were written, {changed[0]} first")
    return True


def damaged(folder: pathlib.Path, error: Exception) -> DamagedCheckpointError:
    """The error that names a damaged checkpoint, its damage and what to do."""
    older = [step for step in saved_steps(folder.parent) if step < int(folder.name)]
    remedy = f"; training in this run sets it aside and goes on from step {max(older)}" if older else ""
    return DamagedCheckpointError(
        f"the checkpoint of step {folder.name} in {folder.parent} cannot be read ({reason(error)}): it is "
        f"damaged{remedy}"
    )


def unreadable(folder: pathlib.Path, error: Exception, *, is_whole: bool) -> OSError | DamagedCheckpointError:
    """The error for a checkpoint that cannot be read: damaged, or else whole on a machine that cannot read it now."""
    of_this_machine = isinstance(error, OSError) and error.errno in _OF_THIS_MACHINE
    if not (is_whole or of_this_machine or isinstance(error, MemoryError)):
        return damaged(folder, error)
    return OSError(
        f"the checkpoint of step {folder.name} in {folder.parent} could not be read ({reason(error)}); it stays "
        "where it is: try again once that is mended"
    )


def reason(error: Exception) -> str:
    """What went wrong, in the system's words where the message has its code."""
    if code := _SYSTEM_ERROR.search(str(error)):
        return os.strerror(int(code[1]))
    return first_line(error)


def place_aside(entry: pathlib.Path) -> pathlib.Path:
    """Where `move_aside` puts something that stands in the directory of the checkpoints."""
    above = entry.parent.parent
    folder = next(place for place in (above / "damaged", above / "damaged_checkpoints") if not place.is_file())
    names = (f"{entry.name}.{again}" if again else entry.name for again in itertools.count())
    return next(folder / name for name in names if not os.path.lexists(folder / name))


def move_aside(entry: pathlib.Path) -> pathlib.Path:
    """Moves an entry out of the directory of the checkpoints; returns where it is then."""
    target = place_aside(entry)
    target.parent.mkdir(exist_ok=True)
    return entry.rename(target)
