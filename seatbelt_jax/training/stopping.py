"""Ctrl-C and SIGTERM during training: noted, and heeded between two steps."""

import os
import signal
import sys
import threading
from types import FrameType
from typing import Any

_HEEDED = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """While it is entered, notes SIGINT and SIGTERM in place of what they do otherwise.

    A step gives its state's memory away to the next one: broken off between the two, there would be nothing to save. A
    second Ctrl-C does what Ctrl-C did before. Where an error ends the body, a noted signal is delivered at once.
    Outside the main thread, where Python has no signals, nothing is noted.

    Attributes:
      signal: the first that came, None before.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            # What is ignored, as Ctrl-C is in the background of a shell script, stays ignored.
            heeded = [number for number in _HEEDED if signal.getsignal(number) != signal.SIG_IGN]
            self._before = {number: signal.signal(number, self._note) for number in heeded}
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self.signal is not None and isinstance(error, Exception):
            # Whoever catches the error must not take it for the end of the matter: the next training would begin.
            print(f"error: {error}", file=sys.stderr)
            self.deliver()

    def deliver(self) -> None:
        """Sends the noted signal again, to whom it was meant for; once what is to be saved has been saved.

        Raises:
          KeyboardInterrupt: where no signal came: another process had one.
        """
        if self.signal is None:
            raise KeyboardInterrupt
        signal.raise_signal(self.signal)

    def _note(self, number: int, frame: FrameType | None) -> None:
        before = self._before[number]
        if self.signal is not None and number == signal.SIGINT and callable(before):
            before(number, frame)
        self.signal = self.signal or number
        if number == signal.SIGINT and sys.stderr.isatty():
            os.write(sys.stderr.fileno(), b"\nstops after a checkpoint; at once if interrupted again\n")
