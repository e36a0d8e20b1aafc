"""Counts the programs that XLA compiles, or loads from the persistent cache."""

import contextlib
from collections.abc import Iterator

import jax

_EVENT = "/jax/core/compile/backend_compile_duration"


@contextlib.contextmanager
def counted() -> Iterator[list[str]]:
    """A list that grows by the name of each program compiled within the context."""
    found: list[str] = []

    def listen(event: str, duration: float, **details: object) -> None:
        if event == _EVENT:
            found.append(str(details.get("fun_name", "")))

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield found
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
