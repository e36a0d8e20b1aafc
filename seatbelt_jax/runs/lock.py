"""A lock that allows one training at a time in a run directory."""

import contextlib
import errno
import fcntl
import os
import pathlib
from collections.abc import Iterator

# Beside the files of a run; it says nothing of whether a training is at work.
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
    descriptor = _open(directory / NAME)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BlockingIOError(
                f"another training is at work in {directory}; wait for it, stop it, or give another --workdir"
            ) from error
        except OSError as error:
            # Some shared folders have no locks; without, a run is as safe as its user is careful.
            if error.errno not in _NO_LOCKS:
                raise
        yield
    finally:
        os.close(descriptor)


def check_free(directory: pathlib.Path) -> None:
    """Raises BlockingIOError if a training is running in `directory`. Call it before long work."""
    if (directory / NAME).exists():
        with locked(directory):
            pass


def _open(path: pathlib.Path) -> int:
    """Opens the file to lock. A folder or a FIFO of that name can be locked too.

    A symbolic link is removed, because it may point to any file.
    """
    if path.is_symlink():
        path.unlink()
    flags = os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | flags, 0o666)
    except IsADirectoryError:
        return os.open(path, os.O_RDONLY | flags)
