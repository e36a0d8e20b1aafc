"""A path that a configuration names after a prefix: npz:PATH, folder:PATH."""

import pathlib


def printable(path: object) -> str:
    """A path in text that any terminal and any file takes: bytes of a name that are not UTF-8 are written \\xNN."""
    return str(path).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def existing(path: str, what: str, kind: str) -> pathlib.Path:
    """The path, with ~ for the home folder, and relative to the working directory.

    Args:
      path: as the user gave it.
      what: that is expected there, and
      kind: the prefix, for messages.

    Raises:
      ValueError: for an empty path.
      FileNotFoundError: where there is nothing.
    """
    if not path:
        raise ValueError(f"data.name lacks the path of the {what}; write {kind}:PATH")
    found = pathlib.Path(path).expanduser()
    if not found.exists():
        raise FileNotFoundError(
            f"there is no {what} at {printable(path)}; relative paths start at {pathlib.Path.cwd()}"
        )
    return found
