"""Metrics to metrics.jsonl, one JSON object a line, and to TensorBoard events."""

import contextlib
import json
import math
import os
import pathlib
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float

from seatbelt_jax import storage, untrusted
from seatbelt_jax.training.evaluation import Evaluation
from seatbelt_jax.training.events import Events
from seatbelt_jax.untrusted import check

# What is not finite is null.
_ROW = {"step": int, "split": str, "*": (int, float, type(None))}


class MetricWriter:
    """Appends rows of metrics to a run.

    Args:
      directory: the run's.
      start: the step training goes on from; rows of later steps, written before an interruption and
        about to be computed again, are dropped.
      silent: reads what is there and writes nothing, for all but one of several processes.
    """

    def __init__(self, directory: pathlib.Path, *, start: int, silent: bool = False):
        path = directory / "metrics.jsonl"
        kept = [row for row in read_metrics(directory) if row["step"] <= start]
        self._written = {(row["step"], row["split"]) for row in kept}
        self._silent = silent
        if silent:
            return
        _write_rows(path, kept)
        self._path = path
        # Those of a fork are of another run, whose rows it has and whose events it has not.
        has_events = any((directory / "events").glob("*"))
        self._events = Events(directory / "events", start=start if has_events else 0)
        for row in () if has_events else kept:
            self._write_events(row)
        self._file = path.open("a")
        self._rows: list[Mapping[str, Any]] = list(kept)
        self._config = _content(directory / "config.json")

    def __enter__(self) -> "MetricWriter":
        return self

    def __exit__(self, *_: object) -> None:
        if self._silent:
            return
        with contextlib.closing(self._events), storage.naming(self._path):
            self._file.close()

    def has(self, step: int, split: str) -> bool:
        """Whether the row of this step is already there."""
        return (step, split) in self._written

    def write(self, step: int, split: str, metrics: Mapping[str, ArrayLike]) -> dict[str, float]:
        """Writes one row, which outlives this process, and returns its numbers.

        What is not finite is null in metrics.jsonl: JSON has no word for it.
        """
        numbers = {name: float(np.asarray(value)) for name, value in metrics.items()}
        row = {name: value if math.isfinite(value) else None for name, value in numbers.items()}
        self._written.add((step, split))
        if self._silent:
            return numbers
        self._put_back()
        with storage.naming(self._path):
            self._rows.append({"step": step, "split": split, **row})
            self._file.write(json.dumps(self._rows[-1]) + "\n")
            self._file.flush()
        self._write_events({"step": step, "split": split, **numbers})
        return numbers

    def _write_events(self, row: Mapping[str, Any]) -> None:
        numbers = {name: value for name, value in row.items() if name not in ("step", "split")}
        scalars = {f"{row['split']}/{name}": math.nan if value is None else value for name, value in numbers.items()}
        self._events.write_scalars(row["step"], scalars)

    def flush(self) -> None:
        """Returns once all is on disk: what a checkpoint is going to follow, a power cut shall not take away."""
        if self._silent:
            return
        self._put_back()
        with storage.naming(self._path):
            os.fsync(self._file.fileno())
        self._events.flush()

    def _put_back(self) -> None:
        """Writes again what somebody removed or replaced meanwhile: a checkpoint is no run without its files."""
        config = self._path.with_name("config.json")
        if self._config is not None and not os.path.lexists(config):
            warnings.warn(f"{config} was removed during training; it is put back", stacklevel=3)
            storage.write_bytes(config, self._config)
        try:
            is_same = os.path.samestat(os.stat(self._path), os.fstat(self._file.fileno()))
        except FileNotFoundError:
            is_same = False
        if not is_same:
            warnings.warn(f"{self._path} was removed during training; it is put back", stacklevel=3)
            with storage.naming(self._path):
                _write_rows(self._path, self._rows)
                self._file.close()
                self._file = self._path.open("a")

    def write_evaluation(self, step: int, found: Evaluation, image_range: tuple[float, float]) -> None:
        """Writes an evaluation: its pictures, in `image_range`, and its row."""
        self.write_pictures(step, {**found.pictures, "traversals": found.traversals}, image_range)
        # Last: an evaluation interrupted before it is whole is made again.
        self.write(step, "validation", found.metrics)

    def write_pictures(
        self, step: int, pictures: Mapping[str, Float[ArrayLike, "..."]], image_range: tuple[float, float]
    ) -> None:
        """Writes pictures in `image_range`, for TensorBoard alone; see `Events.write_pictures`."""
        if self._silent:
            return
        low, high = image_range
        shown = {
            name: np.clip((np.asarray(images) - low) / (high - low), 0.0, 1.0) for name, images in pictures.items()
        }
        self._events.write_pictures(step, {name: np.nan_to_num(images) for name, images in shown.items()})


def copy_metrics(source: pathlib.Path, target: pathlib.Path) -> None:
    """Gives the run `target` the rows of another."""
    _write_rows(target / "metrics.jsonl", read_metrics(source))


def read_metrics(directory: pathlib.Path) -> list[dict]:
    """The rows of metrics.jsonl, none where there is no such file.

    A last line cut short by a crash is left out.

    Raises:
      ValueError: where any other line is not a row.
    """
    file = directory / "metrics.jsonl"
    rows = storage.read_json_lines(file)
    for line, row in enumerate(rows, 1):
        check(row, _ROW, f"line {line} of {file}")
    return rows


def _content(file: pathlib.Path) -> bytes | None:
    return untrusted.read_bytes(file) if file.is_file() else None


def _write_rows(path: pathlib.Path, rows: Iterable[Mapping]) -> None:
    storage.write_bytes(path, "".join(json.dumps(row) + "\n" for row in rows).encode())
