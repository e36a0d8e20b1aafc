"""Sections of rows as text and as HTML."""

import dataclasses
from collections.abc import Sequence
from typing import Any

Row = tuple[str, ...]

_PAGE = """<h3>{{ name }}</h3>
{%- for section in sections %}<h4>{{ section.title }}</h4>
{%- set rows = ([section.header] if section.header else []) + section.rows|list %}
{%- if rows %}<table>{% for row in rows %}<tr>
{%- for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>{% endfor %}</table>{% endif %}
{%- if section.note %}<p>{{ section.note }}</p>{% endif %}
{%- endfor %}"""


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
        import jinja2  # which only notebooks need here

        return jinja2.Template(_PAGE, autoescape=True).render(name=self.name, sections=self.sections)


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
