"""Sections of rows as text and as HTML."""

import dataclasses
import html
from collections.abc import Sequence
from typing import Any

Row = tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Section:
    """Rows below a title; the first cell of each row is a label. `note` names missing results and their commands."""

    title: str
    rows: Sequence[Row] = ()
    header: Row = ()
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Summary:
    """The overview, which prints as a short table and displays as HTML in a notebook.

    Attributes:
      name: of the run.
      sections: in reading order.
    """

    name: str
    sections: Sequence[Section]

    def __str__(self) -> str:
        return "\n".join([self.name, *(line for section in self.sections for line in _lines(section))])

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        parts = [f"<h3>{html.escape(self.name)}</h3>"]
        for section in self.sections:
            parts.append(f"<h4>{html.escape(section.title)}</h4>")
            rows = [section.header] * bool(section.header) + list(section.rows)
            cells = ("".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in rows)
            parts.append(f"<table>{''.join(f'<tr>{row}</tr>' for row in cells)}</table>" if rows else "")
            parts.append(f"<p>{html.escape(section.note)}</p>" if section.note else "")
        return "".join(parts)


def _lines(section: Section) -> list[str]:
    rows = [section.header] * bool(section.header) + list(section.rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)] if rows else []
    lines = ["", section.title]
    for row in rows:
        # Where there are several columns, those after the first hold numbers.
        aligned = [row[0].ljust(widths[0])]
        aligned += [
            cell.ljust(width) if len(row) == 2 else cell.rjust(width)
            for cell, width in zip(row[1:], widths[1:], strict=True)
        ]
        lines.append(f"  {'  '.join(aligned)}".rstrip())
    return [*lines, f"  {section.note}"] if section.note else lines


def number(value: Any) -> str:
    """A number to four digits, "-" for what is none."""
    try:
        return f"{float(value):.4g}"
    except (TypeError, ValueError):
        return "-"
