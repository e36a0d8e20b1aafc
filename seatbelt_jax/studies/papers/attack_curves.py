"""Figures of measures of attacks over beta, as declarations: which models, attacks and measures, in which panels."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import pandas as pd

from seatbelt_jax import plots
from seatbelt_jax.studies.papers import figure_numbers as numbers
from seatbelt_jax.studies.papers.drawing import Drawn, Row
from seatbelt_jax.studies.papers.figure_tables import Tables

# A column of the attacks' rows, in words.
_WORDS: dict[str, Callable[[str], str]] = {
    "data": str,
    "kind": numbers.NAMES.__getitem__,
    "objective": lambda objective: objective.split("_")[0],
}


class Panel(NamedTuple):
    """Measures that share one chart.

    Attributes:
      title: above; {unit} stands for Delta's.
      measures: with each one's name, empty where it is the only one; {unit} stands for Delta's.
      of_targets: measures that know no attack, drawn once.
    """

    title: str
    measures: Mapping[str, str]
    logarithmic: bool = False
    of_targets: tuple[str, ...] = ()


WAYS = Panel(numbers.WAY, numbers.WAYS)


class AttackCurves(NamedTuple):
    """A figure.

    Attributes:
      kinds: of models, as `figure_tables` has them.
      attacks: by objective; where there are none by one of these, `instead` may have another.
      panels: for each group of rows.
      apart: columns whose values have panels of their own.
      lines: the column whose values have lines of their own.
      columns: panels beside each other.
      depths: of the models; empty for all.
    """

    kinds: tuple[str, ...]
    attacks: tuple[str, ...]
    panels: tuple[Panel, ...]
    apart: tuple[str, ...]
    lines: str
    columns: int = 2
    depths: tuple[int, ...] = ()
    instead: Mapping[str, str] = {}

    def draw(self, tables: Tables) -> Drawn:
        """Draws it.

        Raises:
          MissingError: where there are no such models, or no such attacks on them.
        """
        cells = tables.of_kind(*self.kinds)
        if self.depths:
            cells = cells[cells["L"].isin(self.depths)]
        asked = [
            attack if len(tables.attacks(cells, attack)) else self.instead.get(attack, attack)
            for attack in self.attacks
        ]
        found, others = numbers.attacked_alike(tables, cells, asked)
        rows = pd.concat(found.values())
        panels: list[plots.Panel | None] = []
        table: list[Row] = []
        apart = {"data": cells["data"].unique(), "objective": asked, "kind": self.kinds}
        series = list(apart[self.lines])
        for name in (*self.apart, self.lines):
            rows[name] = pd.Categorical(rows[name], apart[name])
        for place, group in rows.groupby(list(self.apart), observed=True) if self.apart else (((), rows),):
            above = ": " + "\n".join(self._words(*one) for one in zip(self.apart, place, strict=True))
            for panel in self.panels:
                lines: list[plots.Line] = []
                for value, of_line in group.groupby(self.lines, observed=True):
                    lines += self._lines(panel, of_line, series.index(value), table)
                unit = numbers.unit_of(group)
                title = panel.title.format(unit=unit) + (above if self.apart else "")
                panels.append(plots.Curves(title, "β", lines, logarithmic=panel.logarithmic))
        lacking = [f"No attacks by {attack} ({numbers.ATTACKS[attack]})." for attack in asked if not len(found[attack])]
        shown = [f"{_WORDS['objective'](attack)}: {numbers.ATTACKS[attack]}" for attack in asked if len(found[attack])]
        which = [f"Attacks: {'; '.join(shown)}."] if self.lines == "objective" else []
        notes = (*which, numbers.counted(rows), numbers.POOLED, numbers.HALF_WAY, *lacking, *others)
        return Drawn(table, panels, columns=self.columns, notes=notes)

    def _words(self, column: str, value: str) -> str:
        return numbers.ATTACKS[value] if column == "objective" else _WORDS[column](value)

    def _lines(self, panel: Panel, rows: pd.DataFrame, number: int, table: list[Row]) -> list[plots.Line]:
        """A line for each measure; colours tell lines apart, or measures where there are more than two."""
        lines = []
        value = rows[self.lines].iloc[0]
        place = {"data": rows["data"].iloc[0], "model": rows["kind"].iloc[0], "attack": rows["objective"].iloc[0]}
        for count, (measure, words) in enumerate(panel.measures.items()):
            if measure in panel.of_targets and number:
                continue
            words = words.format(unit=numbers.unit_of(rows))
            called = (words,) if measure in panel.of_targets else _labels(words, _WORDS[self.lines](value), panel)
            many = len(panel.measures) > 2
            series = count + number * len(plots.SERIES) if many else number + count * len(plots.SERIES)
            line, of_line = numbers.curve(rows, measure, ", ".join(filter(None, called)), series, place)
            lines.append(line)
            table += of_line
        return lines


def _labels(words: str, of_line: str, panel: Panel) -> Sequence[str]:
    return (words, of_line) if len(panel.measures) > 2 else (of_line, words)
