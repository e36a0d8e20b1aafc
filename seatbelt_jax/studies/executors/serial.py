"""One cell after the other, in this process."""

from collections.abc import Generator, Sequence

import jax

from seatbelt_jax.studies.task import Event, Task


def run(tasks: Sequence[Task], workers: int = 1) -> Generator[Event, None, None]:
    """Yields each stage as it ends. Programs are kept from task to task while the architecture is the same."""
    before = None
    for task in tasks:
        architecture = task.cells[0].config["model"]
        if before not in (None, architecture):
            jax.clear_caches()
        before = architecture
        yield from task.run()
