"""One self-contained page on the robustness of one or several models, and its figures as files."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from seatbelt_jax import storage
from seatbelt_jax.plots import charts, text
from seatbelt_jax.plots.images import data_uri, image_grid
from seatbelt_jax.plots.results import ModelResults
from seatbelt_jax.plots.sweeps import sweeps
from seatbelt_jax.report import attacked, certified, figures
from seatbelt_jax.report.answers import answers
from seatbelt_jax.report.page import Cell, Row, Table, render, shown
from seatbelt_jax.report.summary import summary

_SHOWN_COLUMNS = 8
# What a model may lack, and the command that makes it.
_MAKERS = {"attacks": "attack", "certificates": "certify", "samples": "train", "metrics": "train"}

Models = Sequence[ModelResults]


@dataclasses.dataclass(frozen=True)
class Report:
    """A page, and figures as PNG by file name."""

    html: str
    figures: Mapping[str, bytes]

    def write(self, path: storage.Path) -> None:
        """Writes the page and, beside it, figures/, every file whole or not at all."""
        path = pathlib.Path(path)
        for name, content in self.figures.items():
            storage.write_bytes(path.parent / "figures" / name, content)
        storage.write_bytes(path, self.html.encode())


def build(models: Models, *, command: str) -> Report:
    """Makes the report.

    Args:
      models: at least one, their names all different; results that are absent are named on the page
        with the command that makes them.
      command: what was typed to make this report, for its foot.

    Raises:
      ValueError: without models, or where two have the same name.
    """
    names = [model.name for model in models]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"a report takes models of different names, at least one; got {names}")
    # Drawn once, used in the page and in the files.
    drawn = figures.charts_of(models)
    return Report(_page(models, drawn, command), figures.files(models, drawn))


def _page(models: Models, drawn: Mapping[str, Mapping[str, charts.Draw]], command: str) -> str:
    swept = sweeps(models)
    galleries = sum(len(sweep.swept) for sweep in swept)
    items, assumptions = certified.limits(
        [one for model in models for one in model.certificates],
        [(model.name, "has no certificate: only attacks tell about it.") for model in models if not model.certificates],
    )
    heads = [Cell(model.name, series=index) for index, model in enumerate(models)]
    rows = [
        [head, *row]
        for head, model in zip(heads, models, strict=True)
        for row in certified.rows(model.certificates, model.empirical)
    ]
    return render(
        "runs.html",
        command=command,
        models=models,
        lacking={what: [one for one in models if not getattr(one, what)] for what in _MAKERS}
        | {"measures": [one for one in models if "validation" not in one.measures]},
        answers=answers(models),
        summary=summary(models),
        attacks=[
            {
                "title": sweep.heading,
                "key": sweep.key,
                "gallery": attacked.gallery(sweep, galleries),
                "charts": drawn[f"attack_{sweep.key}"],
                "trust": attacked.trust(sweep),
            }
            for sweep in swept
        ],
        certificates={
            "charts": drawn["certified_margins"],
            "table": Table(["model", *certified.HEADER], rows, "numbers sortable dense"),
        },
        not_certified=(items, assumptions),
        measures=_measures(models, heads),
        looks=[_look(index, model) for index, model in enumerate(models) if model.samples],
        learning=drawn["learning_curves"],
        settings=_settings(models, heads),
    )


def _measures(models: Models, heads: Sequence[Cell]) -> dict[str, Table]:
    """All numbers of the evaluations, by split."""
    tables = {}
    for split in dict.fromkeys(split for model in models for split in model.measures):
        found = [model.measures.get(split, {}) for model in models]
        names = dict.fromkeys(name for one in found for name in one)
        rows: list[Row] = [[name.replace("_", " "), *(shown(one.get(name)) for one in found)] for name in names]
        tables[split] = Table(["measure", *heads], rows, "numbers sortable")
    return tables


def _look(index: int, model: ModelResults) -> dict[str, Any]:
    """Reconstructions and samples."""
    found = model.samples
    assert found is not None
    count = min(_SHOWN_COLUMNS, len(found.images))
    columns = min(_SHOWN_COLUMNS, len(found.samples))
    kept = len(found.samples) // columns * columns
    pairs = np.stack([found.images[:count], found.reconstructions[:count]])
    generated = found.samples[:kept].reshape(-1, columns, *found.samples.shape[1:])
    pictures = {
        f"Validation images, each above its reconstruction; step {found.step}.": pairs,
        "Images generated from the prior.": generated,
    }
    return {
        "index": index,
        "name": model.name,
        "pictures": {
            words: data_uri(image_grid(images, found.image_range, scale=1)) for words, images in pictures.items()
        },
    }


def _settings(models: Models, heads: Sequence[Cell]) -> dict[str, Table]:
    """All settings, those that differ, and where the models are from."""
    names = dict.fromkeys(name for model in models for name in model.settings)
    rows = [[name, *(model.settings.get(name, text.ABSENT) for model in models)] for name in names]
    differing = [row for row in rows if len(set(row[1:])) > 1]
    origins = dict.fromkeys(name for model in models for name in model.provenance)
    made = [[name, *(model.provenance.get(name, text.ABSENT) for model in models)] for name in origins]
    return {
        "differing": Table(["setting", *heads], differing, "words"),
        "all": Table(["setting", *heads], rows, "words"),
        "made": Table(["", *heads], made, "words"),
    }
