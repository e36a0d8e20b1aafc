"""TensorBoard events, written by whoever has them.

tensorboardX's SummaryWriter hands them to a thread, which a full disk ends: the next that are handed over wait for it
without end, and signals with them.
"""

import math
import pathlib
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float
from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog

from seatbelt_jax import storage

# A kill loses no more than this, and of what a checkpoint knows nothing: these are written before it.
_FLUSH_SECONDS = 30.0
_PICTURES_A_ROW = 8


class Events:
    """Appends events to a run.

    Args:
      directory: of the events; every writer makes a file of its own.
      start: the step training goes on from; TensorBoard hides events of later steps in older files.
    """

    def __init__(self, directory: pathlib.Path, *, start: int):
        directory.mkdir(parents=True, exist_ok=True)
        self._path = directory
        # Within a second, tensorboardX's own names repeat.
        self._writer = EventsWriter(str(directory / "events"), filename_suffix=f".{time.time_ns()}")
        self._flushed_at = time.monotonic()
        self._write(Event(step=start + 1, session_log=SessionLog(status=SessionLog.START)))

    def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        for name, value in scalars.items():
            self._write(Event(step=step, summary=summary.scalar(name, value)))
        if time.monotonic() - self._flushed_at > _FLUSH_SECONDS:
            self.flush()

    def write_pictures(self, step: int, pictures: Mapping[str, Float[np.ndarray, "..."]]) -> None:
        """Writes pictures in [0, 1]: [picture, height, width, channels], or [row, column, height, width, channels]."""
        for name, images in pictures.items():
            self._write(Event(step=step, summary=summary.image(name, _sheet(images), dataformats="HWC")))

    def flush(self) -> None:
        """Returns once all events are on disk."""
        with storage.naming(self._path):
            self._writer.flush()
        self._flushed_at = time.monotonic()

    def close(self) -> None:
        with storage.naming(self._path):
            self._writer.close()

    def _write(self, event: Any) -> None:
        event.wall_time = time.time()
        with storage.naming(self._path):
            self._writer.write_event(event)


def _sheet(images: Float[np.ndarray, "..."]) -> Float[np.ndarray, "height width channels"]:
    """Pictures side by side, in rows as they are or of eight."""
    if images.ndim == 4:
        columns = min(_PICTURES_A_ROW, len(images))
        rows = math.ceil(len(images) / columns)
        images = np.concatenate([images, np.zeros((rows * columns - len(images), *images.shape[1:]))])
        images = images.reshape(rows, columns, *images.shape[1:])
    rows, columns, height, width, channels = images.shape
    return images.transpose(0, 2, 1, 3, 4).reshape(rows * height, columns * width, channels)
