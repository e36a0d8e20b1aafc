"""One training at a time in a run directory."""

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
    """Keeps every other training out of `directory` while it is entered, also after a kill no longer than that.

    A second one would remove the first one's half-written checkpoint, write the same rows, and before there is a
    checkpoint take the directory for its own configuration.

    Raises:
      BlockingIOError: where another training is at work there.
      OSError: where the directory cannot be made.
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
    """Raises BlockingIOError where a training is at work in `directory` now: before minutes are spent for nothing."""
    if (directory / NAME).exists():
        with locked(directory):
            pass


def _open(path: pathlib.Path) -> int:
    """A descriptor to lock. A folder or a FIFO under the name can be locked as well as a file.

    A link is removed: it may name any file of the user's, or none.
    """
    if path.is_symlink():
        path.unlink()
    flags = os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | flags, 0o666)
    except IsADirectoryError:
        return os.open(path, os.O_RDONLY | flags)
