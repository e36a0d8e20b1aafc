"""Several cells at a time, each task in a process of its own on this machine."""

import contextlib
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Generator, Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait

from seatbelt_jax.errors import one_line
from seatbelt_jax.studies.task import Event, Task

_COMMAND = f"from {__name__} import work; work()"


def run(tasks: Sequence[Task], workers: int = 0) -> Generator[Event, None, None]:
    """Yields each stage as it ends. A process that fails or is killed, at any time, costs its own task alone."""
    waiting, running = list(tasks), dict[Connection, tuple[subprocess.Popen, Task]]()
    try:
        while waiting or running:
            while waiting and len(running) < (workers or os.cpu_count() or 1):
                task = waiting.pop(0)
                receiver, process = _start(task)
                running[receiver] = process, task
            for ready in set(running).intersection(wait(list(running))):
                try:
                    yield ready.recv()
                except (EOFError, OSError):  # also a message of which a part is missing
                    ended, task = running.pop(ready)
                    if status := _close(ready, ended):
                        yield from task.lost(f"its process ended with status {status}")
    finally:
        for receiver, (process, _) in running.items():
            process.kill()
            _close(receiver, process)


def _start(task: Task) -> tuple[Connection, subprocess.Popen]:
    """Starts a process of a session of its own, which Ctrl-C does not reach: this one ends it."""
    receiver, sender = Pipe(duplex=False)
    # Bars of several processes would overwrite each other.
    environment = os.environ | {"TQDM_DISABLE": "1"}
    handle = sender.fileno()
    process = subprocess.Popen(
        [sys.executable, "-c", _COMMAND, str(handle)],
        stdin=subprocess.PIPE,
        pass_fds=(handle,),
        env=environment,
        start_new_session=True,
    )
    sender.close()
    assert process.stdin is not None
    # One that is dead already is found where its events are awaited.
    with contextlib.suppress(BrokenPipeError):
        pickle.dump(task, process.stdin)
        process.stdin.flush()
    return receiver, process


def _close(receiver: Connection, process: subprocess.Popen) -> int:
    """Frees what a process that ends leaves here; returns its status."""
    receiver.close()
    process.communicate()
    return process.returncode


def work() -> None:
    """Does the task that stands on the standard input, in the process that was started for it."""
    task = pickle.load(sys.stdin.buffer)
    # The input ends with the process that gave the task, however that ends.
    threading.Thread(target=lambda: (sys.stdin.buffer.read(), os._exit(1)), daemon=True).start()
    events = Connection(int(sys.argv[1]), readable=False)
    try:
        for event in task.run():
            events.send(event)
    except Exception as error:
        for event in task.lost(one_line(error)):
            events.send(event)
    # An interpreter that is taken down waits for the thread. `events` stay open until then: their end is that of this
    # process.
    sys.stdout.flush()
    os._exit(0)
