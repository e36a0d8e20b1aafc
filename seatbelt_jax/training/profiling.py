"""A trace of a few steps, for TensorBoard or Perfetto."""

import pathlib

import jax
from tqdm import tqdm

# The first steps wait for memory and caches; a few more show where the time goes, and a trace stays small.
_FIRST, _STEPS = 5, 10


class Profile:
    """Traces some of the steps taken while it is entered.

    Args:
      directory: where the trace is written; None for none.
      start, stop: the steps that training goes on from and ends with.
    """

    def __init__(self, directory: pathlib.Path | None, *, start: int, stop: int):
        self._directory, self._start, self._stop = directory, start, stop
        self._tracing = False

    def __enter__(self) -> "Profile":
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if self._tracing:
            jax.profiler.stop_trace()
        elif self._directory is not None and error is None:
            tqdm.write(
                f"nothing was traced to {self._directory}: a trace begins between two dispatches, {_FIRST} steps after "
                "training does; train for more steps, or set train.steps_per_dispatch=1"
            )

    def after(self, step: int, result: object) -> None:
        """Begins or ends the trace where it is due.

        Args:
          step: that was dispatched last.
          result: of that step; waited for at the trace's two ends.
        """
        if self._directory is None:
            return
        taken = step - self._start
        if not self._tracing and taken >= _FIRST and step < self._stop:
            jax.block_until_ready(result)
            jax.profiler.start_trace(self._directory)
            self._tracing, self._start = True, step
        elif self._tracing and taken >= _STEPS:
            jax.block_until_ready(result)
            jax.profiler.stop_trace()
            self._tracing, self._directory = False, None
