"""What below a folder may be read: no link leads out of it to other files of the machine."""

import os
import pathlib
import warnings

from seatbelt_jax.data.local_path import printable

_NAMED = 3


class Inside:
    """A folder, and the links below it that were not followed.

    Attributes:
      root: the folder.
    """

    def __init__(self, root: pathlib.Path):
        self.root = root
        self._resolved = root.resolve()
        # A folder may be looked at more than once.
        self._refused: dict[str, None] = {}

    def entries(self, folder: pathlib.Path) -> list[pathlib.Path]:
        """What a folder at or below the root holds, by name; nothing hidden, and only links that stay inside."""
        with os.scandir(folder) as found:
            names = sorted((entry.name, entry.is_symlink()) for entry in found if not entry.name.startswith("."))
        return [folder / name for name, is_link in names if not is_link or self.holds(folder / name)]

    def holds(self, entry: pathlib.Path) -> bool:
        """Whether there is something at the end of all links, below the root; else it is counted."""
        if entry.exists() and pathlib.Path(os.path.realpath(entry)).is_relative_to(self._resolved):
            return True
        self._refused[entry.relative_to(self.root).as_posix()] = None
        return False

    def warn_of_links(self) -> None:
        """Says how many there were that are not read."""
        if number := len(self._refused):
            named = printable(", ".join([*self._refused][:_NAMED])) + (", ..." if number > _NAMED else "")
            warnings.warn(
                f"{printable(self.root)}: left out {number} {'link' if number == 1 else 'links'} ({named}) "
                "that lead out of this folder or nowhere; put the files themselves into it, if they belong to the data",
                stacklevel=2,
            )
