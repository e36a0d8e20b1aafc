"""Several processes as one training: joining them, and leaving together.

The processes run the same program on the same configuration; `parallel` splits each batch over the devices of all of
them. JAX ends a process with a stack trace and no Python exception when another one is lost, so each has a companion
that says in one line what that means.
"""

import atexit
import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import NoReturn

import jax

from seatbelt_jax.errors import first_line

# A process that gives no sign of life for so long is lost, and all others stop. JAX's own limit is 100 s.
_HEARTBEAT_SECONDS = 20
# How long the first process that is done waits for the others.
_SHUTDOWN_SECONDS = 300
# How long process 0 lives on after an error.
_LAST_WORDS_SECONDS = 2
_ADVICE = "start all processes again with the same command to go on from the newest checkpoint"
# What those of XLA's errors have in common that are about other processes: names of the layers that speak to them.
_OF_OTHERS = re.compile("[A-Z_]+: (?is:.*(gloo|nccl|coordination|distributed service|by peer))")
# What a companion runs: it lives until the process has ended, however that was, and says the last line it was given.
_COMPANION = "import sys; line = [*sys.stdin][-1].strip(); line and print(line, file=sys.stderr)"


class LostProcessError(OSError):
    """Another process of this training is gone or does not answer."""


@contextlib.contextmanager
def joined(
    coordinator_address: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    *,
    timeout: int = 300,
) -> Iterator[None]:
    """Inside, this process is one of several, and `jax.devices()` are those of all.

    Before any other use of JAX. Where the body fails, the process ends without waiting for the others at its exit;
    these notice within half a minute.

    Args:
      coordinator_address: HOST:PORT of process 0, where it waits for the others; reachable from all of them.
      num_processes, process_id: how many there are, and which of them this is, from 0.
        All three are found out under Slurm, Kubernetes, TPU pods and Open MPI where they are not given.
      timeout: seconds to wait until all are there.

    Raises:
      ValueError: where the three are incomplete or impossible, or the surroundings do not tell them.
      LostProcessError: where the others are not there in time, or one of them is lost in the body. What JAX itself
        notices raises nothing: JAX ends the process (SIGABRT), and the companion says why.
    """
    _check(coordinator_address, num_processes, process_id)
    where = f"at {coordinator_address}" if coordinator_address else "that the surroundings name"
    which = "one process" if process_id is None else f"process {process_id} of {num_processes}"
    companion = _Companion()
    _companions.append(companion)
    companion.say_last(
        f"error: {which} could not join the others within {timeout} s: the coordinator {where} cannot be reached, or "
        "not every process came, or two came with one process_id, or the numbers of processes differ"
    )
    try:
        _initialize(coordinator_address, num_processes, process_id, timeout)
        which = f"process {jax.process_index()} of {jax.process_count()}"
        companion.say_last(
            f"error: {which} broke off: another process was lost (the lines above and the others' output say more), "
            f"or this one was killed; {_ADVICE}"
        )
        _check_devices(num_processes)
        try:
            yield
        except Exception as error:
            if _is_of_others(error):
                raise LostProcessError(f"{which} lost another one ({first_line(error)}); {_ADVICE}") from error
            raise
        leave()
    except BaseException:
        if _companions:
            # At exit JAX would wait for the others, who wait for this one.
            atexit.register(_break_off)
        raise
    finally:
        while _companions:
            _companions.pop().dismiss()


def leave() -> None:
    """Ends being one of several: waits for all, as one that left early would count as lost. Nothing for one process."""
    if _companions:
        jax.distributed.shutdown()
        _companions.pop().dismiss()


def _check(coordinator_address: str | None, num_processes: int | None, process_id: int | None) -> None:
    given = (coordinator_address, num_processes, process_id)
    if all(value is None for value in given):
        return
    if coordinator_address is None or num_processes is None or process_id is None:
        raise ValueError(
            "coordinator_address, num_processes and process_id belong together: give all three, or none of them to "
            f"have them found out; got {coordinator_address}, {num_processes} and {process_id}"
        )
    host, _, port = coordinator_address.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 2**16:
        raise ValueError(
            f"coordinator_address must be HOST:PORT, as node0:12345, with the host of process 0; got "
            f"{coordinator_address!r}"
        )
    if not 0 <= process_id < num_processes:
        raise ValueError(
            f"process_id must be one of 0 .. num_processes - 1; got process {process_id} of {num_processes}"
        )


def _initialize(
    coordinator_address: str | None, num_processes: int | None, process_id: int | None, timeout: int
) -> None:
    # On several CPUs and nowhere else; JAX's name for it.
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    # It would take SIGTERM for itself.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(
            coordinator_address,
            num_processes,
            process_id,
            # What is given is not to be found out again.
            cluster_detection_method=None if coordinator_address is None else "deactivate",
            initialization_timeout=timeout,
            heartbeat_timeout_seconds=_HEARTBEAT_SECONDS,
            shutdown_timeout_seconds=_SHUTDOWN_SECONDS,
        )
    except ValueError as error:
        raise ValueError(
            f"nothing here tells the processes of each other ({first_line(error)}): no Slurm step, Kubernetes job, "
            "TPU pod or Open MPI; give coordinator_address, num_processes and process_id"
        ) from error
    except (RuntimeError, OSError) as error:
        raise LostProcessError(
            f"this process could not join the others at {coordinator_address or 'their coordinator'}: "
            f"{first_line(error)}"
        ) from error


def _check_devices(num_processes: int | None) -> None:
    """What JAX takes for granted."""
    found = jax.process_count()
    if num_processes is not None and found != num_processes:
        raise ValueError(f"this process was told num_processes {num_processes}, process 0 {found}; give all the same")
    processes = [device.process_index for device in jax.devices()]
    devices = [processes.count(process) for process in range(found)]
    if len(set(devices)) > 1:
        raise ValueError(f"the processes have {devices} devices; give each as many as the others")


def _is_of_others(error: BaseException | None) -> bool:
    """Whether an error, or one that it came of, is about other processes."""
    while error is not None:
        if isinstance(error, jax.errors.JaxRuntimeError | ValueError) and _OF_OTHERS.match(str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False


class _Companion:
    """A process that says one line when this one has ended, whatever it was that ended it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-ISc", _COMPANION],
            stdin=subprocess.PIPE,
            text=True,
            bufsize=1,
            start_new_session=True,  # Ctrl-C is not for it
        )

    def say_last(self, line: str) -> None:
        print(line, file=self._process.stdin)

    def dismiss(self) -> None:
        """It says nothing and ends."""
        self._process.communicate("\n")


# The companion of this process, while it is one of several processes.
_companions: list[_Companion] = []


def _break_off() -> NoReturn:
    if jax.distributed.is_initialized() and jax.process_index() == 0:
        # The end of process 0 ends the others at once: they may have something to say of their own.
        time.sleep(_LAST_WORDS_SECONDS)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)
