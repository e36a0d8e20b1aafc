"""The models' names with their colours, and what is said where a result is absent."""

import shlex
from collections.abc import Sequence

from seatbelt_jax.plots import charts, text
from seatbelt_jax.plots.results import ModelResults
from seatbelt_jax.plots.text import escape

Models = Sequence[ModelResults]


def colour(index: int) -> str:
    """The style sheet's colour of model number `index`."""
    return f"var(--series-{index % len(charts.SERIES)})"


def heading(index: int, model: ModelResults) -> str:
    """The model's name behind a square of its colour."""
    return f'<span class="name" style="--series:{colour(index)}">{text.name(model.name)}</span>'


def names(lines: Sequence[str]) -> str:
    """The names of lines behind their colours."""
    items = (
        f'<li><span class="name" style="--series:{colour(index)}">{escape(name)}</span></li>'
        for index, name in enumerate(lines)
    )
    return f'<ul class="key">{"".join(items)}</ul>'


def key(models: Models) -> str:
    """All models with what they are."""
    items = (
        f"<li>{heading(index, model)} <small>{escape(model.kind)}</small></li>" for index, model in enumerate(models)
    )
    return f'<ul class="key">{"".join(items)}</ul>'


def absent(what: str, launcher: str, models: Models) -> str:
    """Says what these models lack and which commands make it; nothing where `models` is empty."""
    if not models:
        return ""
    names = ", ".join(model.name for model in models)
    option = "--config=CONFIG --workdir" if launcher == "train" else "--run"
    made = [f"seatbelt {launcher} {option}={shlex.quote(model.path)}" for model in models]
    return text.hint(f"There are no {what} of {names} yet. To make them:", made)
