"""Cells on the nodes of a ray cluster that share the sweep's folder.

The cluster is the one that RAY_ADDRESS names or `ray start` has started here; otherwise ray uses this machine alone. A
task whose node is lost is run again on another one, where it goes on from what is on disk.
"""

import logging
import os
import signal
from collections.abc import Generator, Sequence

from seatbelt_jax.errors import first_line
from seatbelt_jax.studies.task import Event, Task

# Read when ray is imported: it would report its use to its makers.
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

try:
    import ray
except ImportError as error:
    raise ImportError("--executor=ray needs ray: pip install 'seatbelt-jax[ray]'") from error

_RETRIES = 3


def run(tasks: Sequence[Task], workers: int = 0) -> Generator[Event, None, None]:
    """Yields the stages of each task when the task has ended."""
    started = not ray.is_initialized()
    if started:
        handler = signal.getsignal(signal.SIGTERM)
        ray.init(include_dashboard=None if "RAY_ADDRESS" in os.environ else False, logging_level=logging.ERROR)
        # Ray takes SIGTERM for itself.
        signal.signal(signal.SIGTERM, handler)
    gpus = 1 if "GPU" in ray.cluster_resources() else 0
    remote = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=_RETRIES, scheduling_strategy="SPREAD")(work)
    waiting, running = list(tasks), dict[ray.ObjectRef, Task]()
    try:
        while waiting or running:
            while waiting and (not workers or len(running) < workers):
                task = waiting.pop(0)
                running[remote.remote(task, os.getcwd())] = task
            (ended,), _ = ray.wait(list(running), num_returns=1)
            task = running.pop(ended)
            try:
                yield from ray.get(ended)
            except ray.exceptions.RayError as error:
                yield from task.lost(first_line(getattr(error, "cause", None) or error))
    finally:
        for left in running:
            ray.cancel(left, force=True)
        if started:
            ray.shutdown()


def work(task: Task, folder: str) -> list[Event]:
    """Does a task in the folder where the sweep was started."""
    # Paths in configurations are relative to where the sweep was started.
    os.chdir(folder)
    os.environ["TQDM_DISABLE"] = "1"
    return list(task.run())
