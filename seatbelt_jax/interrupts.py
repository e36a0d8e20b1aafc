"""Ctrl-C from a command's first line to its last: one line on standard error and exit status 130.

Commands call `end_at_once` before they import what takes seconds. As an exception, Ctrl-C would be a traceback there,
or get lost in a callback of the garbage collector. Importing this module changes nothing.
"""

from __future__ import annotations

# Nothing else: these take 2 ms, contextlib and typing would take 20.
import os
import signal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import Any, NoReturn

INTERRUPTED = 130
# After Ctrl-C, a descriptor of the standard error that was.
_stopping: list[int] = []


def is_stopping() -> bool:
    """Whether Ctrl-C came. What fails from then on may have been broken off."""
    return bool(_stopping)


def stop(how: str, status: int, advice: str = "") -> NoReturn:
    """Writes one line and ends the process."""
    end_at_once()
    # Each of these fails where nobody reads the stream any more.
    try:
        try:
            sys.stderr.flush()
            os.write(_stopping[0] if _stopping else sys.stderr.fileno(), f"\n{how}{advice}\n".encode())
        finally:
            sys.stdout.flush()
    finally:
        # Not sys.exit: a thread that still compiles crashes the interpreter while it is taken down.
        os._exit(status)


def end_at_once() -> None:
    """From now on Ctrl-C ends the process."""
    _heed(lambda *_: stop("interrupted", INTERRUPTED))


def raise_exception() -> None:
    """From now on Ctrl-C is a KeyboardInterrupt in the main thread, so that work in progress can be saved."""
    _heed(_raise)
    signal.signal(signal.SIGALRM, _raise)
    sys.unraisablehook = _again_where_swallowed


def _raise(*_: object) -> None:
    if not _stopping:
        # Threads that still read or write print tracebacks while they are torn down: from now on nobody hears them.
        _stopping.append(os.dup(sys.stderr.fileno()))
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
    raise KeyboardInterrupt


def _again_where_swallowed(unraisable: Any) -> None:
    """Python drops what a finaliser, or a callback of the garbage collector or of C, raises: then a moment later."""
    if unraisable.exc_type is KeyboardInterrupt:
        signal.setitimer(signal.ITIMER_REAL, 0.01)
    elif _is_main_thread():
        sys.__unraisablehook__(unraisable)
    # Threads of C raise what nobody can catch: after a failed save, TensorStore's go on and report to a closed loop.


def _is_main_thread() -> bool:
    import threading

    return threading.current_thread() is threading.main_thread()


def _heed(handler: Callable[[int, FrameType | None], None]) -> None:
    # What a shell script starts in the background ignores Ctrl-C, which is meant for others.
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        signal.signal(signal.SIGINT, handler)
