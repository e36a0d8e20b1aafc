"""What is known by a name, kind by kind: methods, attacks, data sets. Plug-ins add theirs (`plugins`)."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Generic, TypeVar, overload

Entry = TypeVar("Entry")
Registered = TypeVar("Registered")

_NAME = re.compile(r"[A-Za-z]\w*")


class Registry(Mapping[str, Entry], Generic[Entry]):
    """The entries of one kind by their names, in the order in which they were registered.

    Args:
      kind: what an entry is, in words; for messages.
      entries: those to begin with.
    """

    def __init__(self, kind: str, entries: Mapping[str, Entry] | None = None):
        self.kind = kind
        self._entries: dict[str, Entry] = {}
        for name, entry in (entries or {}).items():
            self.register(name, entry)

    @overload
    def register(self, name: str, entry: Registered) -> Registered: ...

    @overload
    def register(self, name: str) -> Callable[[Registered], Registered]: ...

    def register(self, name, entry=None):
        """Adds an entry; without one, a decorator that adds what it decorates.

        Raises:
          ValueError: the name is taken, or is not made of letters, digits and underscores.
        """
        if entry is None:
            return lambda decorated: self.register(name, decorated)
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ValueError(f"the name of {self.kind} must be letters, digits and underscores, got {name!r}")
        if name in self._entries and self._entries[name] is not entry:
            raise ValueError(f"there is {self.kind} {name!r} already; choose another name")
        self._entries[name] = entry
        return entry

    def __getitem__(self, name: str) -> Entry:
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return f"Registry({self.kind!r}: {', '.join(self._entries)})"
