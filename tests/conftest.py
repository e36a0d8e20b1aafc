"""What makes compiling cheap for all test processes: it takes most of their time, and much of it is done twice.

Set before JAX is imported, and inherited by the processes that tests start.
"""

import ctypes
import gc
import os
import pathlib
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests import annotations

_CACHE = pathlib.Path(__file__).parents[1] / ".pytest_cache" / "xla"
# Fusions made by the emitters that do without MLIR, and each program compiled in one piece.
_QUICK = {"xla_cpu_use_fusion_emitters": "false", "xla_cpu_parallel_codegen_split_count": "1"}


def takes(*flags: str) -> bool:
    """Whether XLA takes the flags, tried in a child process: XLA ends a process that gives it a flag it lacks."""
    trial = [sys.executable, "-c", "from jaxlib import xla_client; xla_client.make_cpu_client()"]
    return subprocess.run(trial, env={**os.environ, "XLA_FLAGS": " ".join(flags)}, capture_output=True).returncode == 0


# One cache of compiled programs; most are small, and there are many of them.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(_CACHE))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "0")

# No test reads from a program where it was traced, and lowering does not have to look it up: 3 % less time.
os.environ.setdefault("JAX_TRACEBACK_IN_LOCATIONS_LIMIT", "0")

# A program that a test runs once or twice is not worth optimising: what it computes is the same to rounding, and what
# tests read from programs (operations, bytes, shapes, exchanges) compares two that are compiled alike. No test asks how
# fast one is. To test them as users have them: JAX_DISABLE_MOST_OPTIMIZATIONS=0 python -m pytest
if os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1") != "0":
    # Tried once: what XLA takes is recorded in the environment, which the workers of a run inherit.
    _flags = os.environ.get("SEATBELT_TESTS_XLA_FLAGS")
    if _flags is None:
        _given = os.environ.get("XLA_FLAGS", "")
        _wanted = [f"--{name}={setting}" for name, setting in _QUICK.items() if name not in _given]
        _flags = " ".join(_wanted if takes(*_wanted) else filter(takes, _wanted))
        os.environ["SEATBELT_TESTS_XLA_FLAGS"] = _flags
        os.environ["XLA_FLAGS"] = f"{_given} {_flags}".strip()

# Tracing makes millions of small objects, hardly any of them garbage in cycles, and JAX does work of its own at each
# collection: looking for garbage less often takes 8 % less time.
gc.set_threshold(100_000, 50, 50)

# The threads that XLA has for each core wait for each other where two workers share the cores: a core for each worker.
_worker = os.environ.get("PYTEST_XDIST_WORKER", "")
if _worker and hasattr(os, "sched_setaffinity"):
    _cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {_cores[int(_worker.removeprefix("gw")) % len(_cores)]})

# Programs that a shell starts in the background ignore Ctrl-C and hand that on; tests send it to themselves and others.
signal.signal(signal.SIGINT, signal.default_int_handler)

# After the environment above, which JAX reads when it is imported, and before any room is.
annotations.install()

# Compiled programs live as long as their process, and the tests have thousands: beyond this they are forgotten.
_MOST_MIB = 2500


@pytest.fixture(scope="session", autouse=True)
def share_contexts() -> None:
    """Lets programs share what MLIR knows of its operations, as JAX 0.12 does by itself: 7 % less time before it."""
    from jax._src.interpreters import mlir

    if not hasattr(mlir, "_thread_local_context"):
        mlir.make_ir_context = _shared(mlir.make_ir_context)


def _shared(make: Callable[[], Any], uses: int = 10) -> Callable[[], Any]:
    """Gives each context that `make` makes so often, to one thread, and a fresh one while another is being used."""
    kept = threading.local()

    def shared() -> Any:
        if _within_a_context():
            return make()
        context, left = getattr(kept, "context", (None, 0))
        if not left:
            context, left = make(), uses
        kept.context = context, left - 1
        return context

    return shared


def _within_a_context() -> bool:
    from jax._src.lib.mlir import ir

    try:
        return ir.Context.current is not None
    except ValueError:
        return False


@pytest.fixture(scope="module", autouse=True)
def forget_programs() -> Iterator[None]:
    """Clears JAX's caches after a file's tests where the process has grown large."""
    yield
    if _resident_mib() > _MOST_MIB:
        import jax

        jax.clear_caches()
        gc.collect()
        # Else freed memory stays with the process, which then forgets after each file.
        getattr(ctypes.CDLL(None), "malloc_trim", bool)(0)


def _resident_mib() -> float:
    """The memory that this process holds, or 0 where the system does not say."""
    statm = pathlib.Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20 if statm.exists() else 0.0
