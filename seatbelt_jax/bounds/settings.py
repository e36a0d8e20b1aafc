"""The settings that public functions take by keyword, as the records that they make."""

import dataclasses
from collections.abc import Mapping
from typing import Any, TypedDict

from seatbelt_jax.bounds.checks import Norm
from seatbelt_jax.bounds.margin import LipschitzConstants
from seatbelt_jax.bounds.question import Question
from seatbelt_jax.bounds.work import Work
from seatbelt_jax.unfinished import Store


class Pieces(TypedDict, total=False):
    """How draws are decoded; see `Work`."""

    decode_batch: int | None
    progress: bool


class Draws(Pieces, total=False):
    """What is asked of draws; see `Question` and `Work`."""

    num_samples: int
    alpha: float
    risk: float
    batch_size: int


class Settings(Draws, total=False):
    """What is asked of perturbations, too; see `Question` and `Work`."""

    num_paths: int
    num_pilot_samples: int
    norm: Norm
    lipschitz: LipschitzConstants | None
    draw_batch: int | None
    chunk_size: int
    store: Store | None


def records(settings: Mapping[str, Any], allowed: type, **asked: Any) -> tuple[Question, Work]:
    """The question and the work that settings name.

    Args:
      settings: by their names; None stands for the default.
      allowed: a TypedDict of the names.
      asked: further fields of the question.

    Raises:
      TypeError: a setting that is not allowed.
      ValueError: see `Question` and `Work`.
    """
    if unknown := settings.keys() - allowed.__annotations__:
        raise TypeError(
            f"unexpected keyword argument {', '.join(sorted(unknown))}; settings are "
            f"{', '.join(sorted(allowed.__annotations__))}"
        )
    return Question(**asked, **chosen(settings, Question)), Work(**chosen(settings, Work))


def chosen(settings: Mapping[str, Any], record: type) -> dict[str, Any]:
    """The settings that are fields of a record."""
    names = [field.name for field in dataclasses.fields(record)]
    return {name: settings[name] for name in names if settings.get(name) is not None}
