"""How a run's files hold results: which record is in a file, and the step and options that it was made with.

A file says this itself, in two members of its archive that are read without the arrays beside them.
"""

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

from seatbelt_jax import storage
from seatbelt_jax.results.certificate import Certificate
from seatbelt_jax.results.empirical import EmpiricalMargin
from seatbelt_jax.results.minimal import MinimalRobustRadius
from seatbelt_jax.results.record import Record

AnyRecord = TypeVar("AnyRecord", bound=Record)

SPLITS = ("validation", "test")
# What a run's folder of certificates holds.
Margins = Certificate | EmpiricalMargin | MinimalRobustRadius
# By the beginnings of the files' names; other files hold certificates.
_KINDS: dict[str, type[Margins]] = {"empirical_margin": EmpiricalMargin, "minimal_radius": MinimalRobustRadius}


class MadeBy(NamedTuple):
    """What a result was made with.

    Attributes:
      step: of the model; None in files of early versions, which do not say it.
      options: of the command, as JSON has them; None where they are not known.
    """

    step: int | None
    options: Mapping[str, Any] | None

    def is_of(self, step: int | None, options: Any = None) -> bool:
        """Whether a result is of the model at this step and, where options are given, was made with these.

        A result without a step passes for one of any step, so that it can be shown, but never for one of given options.

        Args:
          options: the dataclass of the command's options.
        """
        if options is not None:
            return (self.step, self.options) == (step, as_json(options))
        return self.step in (None, step)


def made_by(file: pathlib.Path) -> MadeBy:
    """What the result in a file was made with.

    Raises:
      ValueError: naming the file, where it is damaged.
    """
    found = storage.read_npz(file, ("step", "options"))
    step = found.get("step")
    if step is not None and (step.shape or step.dtype.kind not in "iu"):
        raise ValueError(f"{file}: step must be one whole number, got {step.dtype} of shape {step.shape}")
    try:
        options = storage.parse_json(f"{found['options']}", "options") if "options" in found else None
    except ValueError:
        options = None
    return MadeBy(None if step is None else int(step), options if isinstance(options, dict) else None)


def current(folder: pathlib.Path, step: int | None) -> tuple[list[pathlib.Path], list[pathlib.Path]]:
    """The files of a folder whose results are of the model at a step, and those of another step, in order."""
    files = sorted(folder.glob("*.npz"))
    is_current = {file: made_by(file).is_of(step) for file in files}
    return [file for file in files if is_current[file]], [file for file in files if not is_current[file]]


def read(file: pathlib.Path, kind: type[AnyRecord]) -> AnyRecord:
    """The record of this kind in a file.

    Raises:
      ValueError: naming the file, where it is damaged or holds something else.
    """
    arrays = storage.read_npz(file)
    try:
        record = kind.from_arrays(arrays)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error
    # Early versions said the split by the folder alone.
    split = next((split for split in SPLITS if file.parent.name.endswith(f"_{split}")), SPLITS[0])
    return record if record.split else dataclasses.replace(record, split=split)


def read_margins(file: pathlib.Path) -> Margins:
    """The record in a file of a run's certificates; raises as `read`."""
    return read(
        file, next((kind for beginning, kind in _KINDS.items() if file.stem.startswith(beginning)), Certificate)
    )


def write(file: pathlib.Path, record: Record, step: int | None, options: Any) -> None:
    """Writes a record with the step and the options that it was made with."""
    storage.write_npz(file, {**record.to_arrays(), "step": step, "options": json.dumps(as_json(options))})


def of_split(name: str, split: str) -> str:
    """The name of a file or folder for results on a part of the data: those on test images stand apart."""
    path = pathlib.Path(name)
    return name if split == SPLITS[0] else f"{path.stem}_{split}{path.suffix}"


def as_json(options: Any) -> Any:
    """A dataclass of options as a JSON file gives it back."""
    return json.loads(json.dumps(dataclasses.asdict(options)))
