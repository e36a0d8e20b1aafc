"""What the documentation has from tables: figures in docs/results/, and parts of pages between two comments.

    <!-- measured: w21_3 -->   the table of `measured.BLOCKS` of that name
    <!-- columns: pairs -->    the columns of a sweep's table, of `schema`
    <!-- claims -->            how many comparisons hold up each claim

A part ends with <!-- end -->. Everything outside is written by hand.
"""

import pathlib
import re
from collections.abc import Callable, Iterator
from functools import cache

import pandas as pd

from seatbelt_jax import storage
from seatbelt_jax.studies import schema
from seatbelt_jax.studies.papers import drawing, figure_tables, figures, measured
from seatbelt_jax.studies.papers.figures import FIGURES

# Folders of docs/results/ whose figures are drawn from several sweeps.
_TOGETHER = {"w21_output": ("w21_small", "w21_output")}
# Figures that show images, of run directories: no table makes them again.
_OF_RUNS = ("w21_1", "w21_4", "w21_6c", "c21_8", "s18_4_1", "s18_4_2", "s18_4_3")
_PART = re.compile(r"(<!-- (measured|columns|claims)(?:: (\w+))? -->\n).*?(<!-- end -->)", re.DOTALL)


def texts(docs: pathlib.Path) -> Iterator[tuple[pathlib.Path, str]]:
    """Each page with parts, and each figure's table or page that is in docs/results/, as they should read.

    Raises:
      ValueError: for a part that does not exist, a damaged table, or a figure that tables no longer make.
    """
    results = docs / "results"
    tables = _reader(results)

    def part(found: re.Match) -> str:
        kind, name = found[2], found[3]
        if kind == "columns":
            made = columns(name)
        elif kind == "claims":
            made = claims(tables(("w21_small",)))
        else:
            if name not in measured.BLOCKS:
                raise ValueError(f"there is no table {name!r} of what was measured; add it to measured.BLOCKS")
            folders, block = measured.BLOCKS[name]
            made = block(tables(folders))
        return f"{found[1]}{made}\n{found[4]}"

    for page in sorted(docs.glob("*.md")):
        text = page.read_text()
        if (made := _PART.sub(part, text)) != text or _PART.search(text):
            yield page, made
    for folder, name, drawn in _figures(results, tables):
        for suffix, text in figures.texts(FIGURES[name], drawn).items():
            if (file := folder / f"{name}.{suffix}").exists():
                yield file, text


def _figures(results: pathlib.Path, tables: Callable) -> Iterator[tuple[pathlib.Path, str, drawing.Drawn]]:
    """The figures that folders of docs/results/ have, drawn from tables, but for those of images.

    Raises:
      ValueError: where the tables lack what a figure needs.
    """
    for folder in sorted(path for path in results.iterdir() if (path / "sweep.csv").exists()):
        found = tables(_TOGETHER.get(folder.name, (folder.name,)))
        for name in (name for name in FIGURES if name not in _OF_RUNS and any(folder.glob(f"{name}.*"))):
            try:
                drawn = FIGURES[name].draw(found)
            except figure_tables.MissingError as error:
                raise ValueError(f"{folder / name} can no longer be drawn: it needs {error}") from error
            yield folder, name, drawn


def write(docs: pathlib.Path) -> list[pathlib.Path]:
    """Writes those of `texts` that differ from what is there, and draws the figures' pictures; returns their paths."""
    written = [(file, text.encode()) for file, text in texts(docs) if file.read_text() != text]
    for folder, name, drawn in _figures(docs / "results", _reader(docs / "results")):
        if (file := folder / f"{name}.png").exists():
            written.append((file, figures.picture(FIGURES[name], drawn)))
    for file, content in written:
        storage.write_bytes(file, content)
    return [file for file, _ in written]


def _reader(results: pathlib.Path) -> Callable[[tuple[str, ...]], figure_tables.Tables]:
    """Reads the tables of folders of docs/results/, once."""
    return cache(lambda folders: figure_tables.read([results / name for name in folders]))


def columns(name: str) -> str:
    """The columns of a sweep's table."""
    lines = [
        [f"`{column.name}`" + " (key)" * column.is_key, column.kind, column.unit, column.what]
        for column in schema.TABLES[name]
    ]
    return drawing.page(["column", "kind", "unit", "what"], lines)


def claims(tables: figure_tables.Tables) -> str:
    """How many comparisons hold up each claim, contradict it, and leave it open."""
    rows = pd.DataFrame(FIGURES["claims"].draw(tables).rows)
    found = rows.groupby(["claim", "held_up"], sort=False).size().unstack(fill_value=0)
    found = found.reindex(columns=["yes", "no", "open"], fill_value=0)
    lines = [[str(claim), *map(str, counts)] for claim, counts in zip(found.index, found.to_numpy(), strict=True)]
    return drawing.page(["claim", "held up", "contradicted", "open"], lines)
