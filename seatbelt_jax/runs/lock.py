"""A lock that allows one training at a time in a run directory."""

import contextlib
import errno
import pathlib
from collections.abc import Iterator

import filelock

# Beside the files of a run. The file stays; that it is there does not mean that a training is at work.
NAME = "training.lock"
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP)


@contextlib.contextmanager
def locked(directory: pathlib.Path) -> Iterator[None]:
    """Locks `directory` against other trainings for the duration of the context. A killed process releases the lock.

    Without the lock, a second training would remove the first one's half-written checkpoint and write the same rows.
    Before the first checkpoint, it would also replace the configuration.

    Raises:
      BlockingIOError: another training is running there.
      OSError: the directory cannot be created.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"the run directory {directory} cannot be made ({error}); give another --workdir") from error
    path = directory / NAME
    if path.is_symlink():
        # It may point to any file.
        path.unlink()
    # A group may share the folder and train in it by turns.
    lock = filelock.FileLock(path / NAME if path.is_dir() else path, mode=0o664)
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout as error:
        raise BlockingIOError(
            f"another training is at work in {directory}; wait for it, stop it, or give another --workdir"
        ) from error
    except (OSError, NotImplementedError) as error:
        # Some shared folders have no locks; without, a run is as safe as its user is careful.
        if isinstance(error, OSError) and error.errno not in _NO_LOCKS:
            raise
    try:
        yield
    finally:
        lock.release()


def check_free(directory: pathlib.Path) -> None:
    """Raises BlockingIOError if a training is running in `directory`. Call it before long work."""
    if (directory / NAME).exists():
        with locked(directory):
            pass
