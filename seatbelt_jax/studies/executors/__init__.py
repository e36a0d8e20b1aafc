"""Where a sweep's cells are worked on. An executor is a function in its own module, and one line in `EXECUTORS`."""

import importlib
from collections.abc import Generator, Sequence
from typing import Protocol

from seatbelt_jax.studies.task import Event, Task


class Executor(Protocol):
    """Runs tasks, in any order, and yields what ends as it ends.

    A task whose process or machine is lost yields `Task.lost`. Closed early, as by Ctrl-C, an executor ends what it has
    started.
    """

    def __call__(self, tasks: Sequence[Task], workers: int) -> Generator[Event, None, None]:
        """Args:
        workers: tasks at a time; 0 for as many as there is room for.
        """


# Name -> the module whose `run` is the executor. They are imported when asked for: ray takes seconds.
EXECUTORS = {"serial": "serial", "processes": "processes", "ray": "ray_cluster"}


def get(name: str) -> Executor:
    """An executor by its name.

    Raises:
      ValueError: where there is none of that name.
      ImportError: where it needs a package that is not installed.
    """
    if name not in EXECUTORS:
        raise ValueError(f"there is no executor {name!r}; there are {', '.join(EXECUTORS)}")
    run: Executor = importlib.import_module(f"{__name__}.{EXECUTORS[name]}").run
    return run
