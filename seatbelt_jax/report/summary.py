"""The summary: every measure of robustness in a row, every model in a column; and the same the other way round."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Float
from markupsafe import Markup

from seatbelt_jax import metrics
from seatbelt_jax.plots import text
from seatbelt_jax.plots.certificates import main_certificate
from seatbelt_jax.plots.results import MeasuredAttack, ModelResults
from seatbelt_jax.plots.sweeps import Sweep, budget_kind, sweeps
from seatbelt_jax.plots.text import number
from seatbelt_jax.report.page import Cell, Row, Table, formula
from seatbelt_jax.results import NORMS, Certificate
from seatbelt_jax.results import measures as measures_table
from seatbelt_jax.results.measures import OF_ATTACKS, OF_MODELS, of_place

# In a ball the attacker pays nothing for distortion, so its length says nothing.
_FREE = "median_distortion_l2"
# No best value is marked: its size depends on how a model scales its codes.
_OF_ITS_OWN_SCALE = "median_objective"
_NO_BREAK = "\u00a0"
_ARROWS = {
    "higher": Markup('<span role="img" aria-label="higher is better">↑</span>'),
    "lower": Markup('<span role="img" aria-label="lower is better">↓</span>'),
    "": "",
}

Interval = tuple[float, float]
_UNKNOWN: Interval = (np.nan, np.nan)


@dataclasses.dataclass(frozen=True)
class Measure:
    """One measure of all models.

    Attributes:
      direction: "higher" or "lower" is better; empty where neither is.
      values: of each model, None where it has none.
      comparable: whether the models' values answer the same question; only then one is the best.
      intervals: of the values, NaN where there is none.
    """

    label: str
    how: str
    direction: str
    values: Sequence[float | None]
    comparable: bool
    show: Callable[[float | None], str] = number
    intervals: Sequence[Interval] = ()

    @property
    def best(self) -> int | None:
        """The model of the best value whose interval overlaps no other's; None without one."""
        known = [(value, index) for index, value in enumerate(self.values) if value is not None and not np.isnan(value)]
        if not (self.comparable and self.direction and self.intervals and len(known) > 1):
            return None
        sign = 1.0 if self.direction == "higher" else -1.0
        best = max(known, key=lambda entry: sign * entry[0])[1]
        ends = {index: sorted(sign * end for end in self.intervals[index]) for _, index in known}
        # A comparison with NaN, which is no interval, is false.
        return best if all(ends[best][0] > high for index, (_, high) in ends.items() if index != best) else None

    @property
    def cells(self) -> list[Cell]:
        best, intervals = self.best, self.intervals or [_UNKNOWN] * len(self.values)
        return [
            Cell(self.show(value), self._brackets(interval), np.nan if value is None else value, index == best)
            for index, (value, interval) in enumerate(zip(self.values, intervals, strict=True))
        ]

    def _brackets(self, interval: Interval) -> str:
        # On a narrow screen the line may break only between the two bounds.
        low, high = (self.show(bound).replace(" ", _NO_BREAK) for bound in interval)
        return "" if np.isnan(interval).any() else f"[{low}, {high}]"


@dataclasses.dataclass(frozen=True)
class Summary:
    """What the page's summary shows.

    Attributes:
      table: measures in rows.
      turned: a title and a table for each kind of attack, models in rows.
      methods: of certificates, with their norms and splits.
      differing: what the certificates differ in, so that they do not compare.
    """

    table: Table
    turned: Sequence[tuple[str, Table]]
    methods: Sequence[str]
    differing: Sequence[str]


def summary(models: Sequence[ModelResults]) -> Summary:
    """Measures in rows, models in columns; the best value of a row is marked where values compare and differ."""
    swept = sweeps(models)
    certified = [main_certificate(model) for model in models]
    groups = [(sweep.heading, _attack_measures(sweep, models)) for sweep in swept]
    groups += [("Certificates and training" if swept else "", _other_measures(models, certified))]
    heads = [Cell(model.name, series=index) for index, model in enumerate(models)]
    rows: list[Row] = []
    turned = []
    for title, measures in groups:
        rows += [[title]] if title else []
        rows += [[Cell(one.label, one.how), _ARROWS[one.direction], *one.cells] for one in measures]
        columns = [one.cells for one in measures]
        header = ["model", *(Markup("{} {}").format(one.label, _ARROWS[one.direction]) for one in measures)]
        of_models = [[head, *(cells[index] for cells in columns)] for index, head in enumerate(heads)]
        turned.append((title, Table(header, of_models, "numbers sortable dense")))
    known = [one for one in certified if one is not None]
    methods = sorted({f"{one.method} ({NORMS[one.norm]}, {one.split} images)" for one in known})
    return Summary(Table(["measure", "", *heads], rows), turned, methods, _differing(known))


def _attack_measures(sweep: Sweep, models: Sequence[ModelResults]) -> list[Measure]:
    """The measures of an attack; without those that it has of no model."""
    measures = []
    of_model = {index: attack.summary for index, _, attack in sweep.swept}
    compare = _same_data(models) and len({_effort(attack) for _, _, attack in sweep.swept}) == 1
    for measure in of_place("report", OF_ATTACKS):
        entry = measure.name
        if any(entry in found for found in of_model.values()) and not (entry == _FREE and sweep.first.is_ball):
            found = [of_model.get(index, {}) for index in range(len(models))]
            values, intervals = [one.get(entry) for one in found], [_interval(one, entry) for one in found]
            row = _row(measure, values, compare and entry != _OF_ITS_OWN_SCALE, intervals)
            how = row.how.format(unit=sweep.first.unit, budget=budget_kind(sweep.first))
            measures.append(dataclasses.replace(row, how=how))
    return measures


def _row(
    measure: measures_table.Measure,
    values: Sequence[float | None],
    comparable: bool,
    intervals: Sequence[Interval] = (),
) -> Measure:
    how = formula(", ".join(filter(None, (measure.unit, measure.how))))
    show = text.percent if measure.is_share else number
    return Measure(formula(measure.label), how, measure.direction, values, comparable, show, intervals)


def _effort(attack: MeasuredAttack) -> tuple[object, ...]:
    """How many pairs were attacked, and under which budgets."""
    return (len(attack.sources), *sorted(attack.budgets.tolist()))


def _same_data(models: Sequence[ModelResults]) -> bool:
    """Whether all are of the same images, as far as their settings say."""
    return len({tuple(item for item in model.settings.items() if item[0].startswith("data.")) for model in models}) == 1


def _other_measures(models: Sequence[ModelResults], certified: Sequence[Certificate | None]) -> list[Measure]:
    same_data = _same_data(models)
    asked = {(c.method, c.comparable, len(c.radius), c.alpha, c.num_samples) for c in certified if c is not None}
    compare = same_data and len(asked) == 1
    values: dict[str, Sequence[float | None]] = {
        "certified_margin": [None if c is None else float(np.median(c.radius)) for c in certified],
        "certified_share_abstained": [None if c is None else float(np.mean(c.abstained)) for c in certified],
        "reconstruction_error_l2": [_last(model, "reconstruction_error") for model in models],
    }
    comparable = {"reconstruction_error_l2": same_data}
    intervals = {"certified_margin": [_UNKNOWN if c is None else _median_interval(c.radius) for c in certified]}
    return [
        _row(one, values[one.name], comparable.get(one.name, compare), intervals.get(one.name, ()))
        for one in of_place("report", OF_MODELS)
    ]


def _median_interval(margins: Float[np.ndarray, " image"]) -> Interval:
    """The 95 % bootstrap interval of the median over images."""
    if len(margins) < 2:
        return _UNKNOWN
    low, high = metrics.bootstrap_interval(lambda images: np.median(margins[images], axis=-1), len(margins),
                                           vectorized=True)  # fmt: skip
    return float(low), float(high)


def _interval(found: Mapping[str, float], entry: str) -> Interval:
    return found.get(f"{entry}_low", np.nan), found.get(f"{entry}_high", np.nan)


def _last(model: ModelResults, name: str) -> float | None:
    rows = [row[name] for row in model.metrics if row["split"] == "validation" and name in row]
    return rows[-1] if rows else None


def _differing(known: Sequence[Certificate]) -> list[str]:
    """What the certificates that stand for the models differ in."""
    differing = []
    if len(radii := {c.reconstruction_radius for c in known}) > 1:
        differing += [f"different reconstruction radii r ({', '.join(number(r) for r in sorted(radii))})"]
    if len(norms := {NORMS[c.norm] for c in known}) > 1:
        differing += [f"distortions of different norms ({', '.join(sorted(norms))})"]
    if len(splits := {c.split for c in known}) > 1:
        differing += [f"images of different parts of the data ({', '.join(sorted(splits))})"]
    if len(risks := {c.risk for c in known}) > 1:
        differing += [f"different risks ({', '.join(number(risk) for risk in sorted(risks))})"]
    return differing
