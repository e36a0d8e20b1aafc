"""The summary: every measure of robustness in a row, every model in a column; and the same the other way round."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from seatbelt_jax.plots import text
from seatbelt_jax.plots.certificates import NORMS, main_certificate, question
from seatbelt_jax.plots.results import AttackData, CertificateData, ModelResults
from seatbelt_jax.plots.sweeps import Sweep, budget_kind, is_ball, sweeps, title_html
from seatbelt_jax.plots.text import escape, number
from seatbelt_jax.report.legend import Models, heading

# Entries of a sweep's summary: name, label, how it was measured, and which direction is better.
_ATTACK_ROWS = (
    ("median_objective", "Attack objective Δ", "{unit}, median", "higher"),
    (
        "median_excess_target_nll_nats",
        "Excess &minus;log <i>p</i>(<i>x</i><sup>t</sup>|<i>z</i>*)",
        "nats over the target&rsquo;s own code, median",
        "higher",
    ),
    ("median_distortion_l2", "Distortion ‖<i>d</i>‖", "pixel units, median", "higher"),
    ("median_distortion_half_way_l2", "Distortion to go half way", "pixel units, median over pairs", "higher"),
    ("median_distortion_nine_tenths_l2", "Distortion to go nine tenths", "pixel units, median over pairs", "higher"),
    ("share_reaching_half_way", "Pairs that went half way", "under any {budget}", "lower"),
    ("share_reaching_nine_tenths", "Pairs that went nine tenths", "under any {budget}", "lower"),
    ("median_auddc", "AUDDC", "area under the distortion-distortion curve; median over pairs", "higher"),
    (
        "median_relative_likelihood_degradation",
        "Degradation of log <i>p</i>(<i>x</i>|<i>z</i>*)",
        "change relative to log <i>p</i>(<i>x</i>|<i>z</i>), median",
        "lower",
    ),
    ("share_suspicious", "Suspicious attacks", "the fewer, the more reliable the rows above", ""),
)
# In a ball the attacker pays nothing for distortion, so its length says nothing.
_FREE = "median_distortion_l2"
# No best value is marked: its size depends on how a model scales its codes.
_OF_ITS_OWN_SCALE = "median_objective"
_NO_BREAK = "\u00a0"
_ARROWS = {
    "higher": '<span role="img" aria-label="higher is better">↑</span>',
    "lower": '<span role="img" aria-label="lower is better">↓</span>',
    "": "",
}


@dataclasses.dataclass(frozen=True)
class _Measure:
    """One measure of all models.

    Attributes:
      label, how: HTML.
      direction: "higher" or "lower" is better; empty where neither is.
      values: of each model, None where it has none.
      comparable: whether the models' values answer the same question; only then one is the best.
      intervals: HTML beside each value.
    """

    label: str
    how: str
    direction: str
    values: Sequence[float | None]
    comparable: bool
    show: Callable[[float | None], str] = number
    intervals: Sequence[str] = ()

    @property
    def cells(self) -> list[text.Cell]:
        known = [value for value in self.values if value is not None and not np.isnan(value)]
        best = None
        # Values that print alike count as equal.
        if self.comparable and self.direction and len({self.show(value) for value in known}) > 1:
            best = self.show(max(known) if self.direction == "higher" else min(known))
        intervals = self.intervals or [""] * len(self.values)
        shown = (f"<b>{content}</b>" if content == best else content for content in map(self.show, self.values))
        return [
            text.Cell(one + interval, value) for one, interval, value in zip(shown, intervals, self.values, strict=True)
        ]

    @property
    def row(self) -> list[str | text.Cell]:
        return [f"{self.label}<small>{self.how}</small>", _ARROWS[self.direction], *self.cells]


def summary(models: Models) -> str:
    """Measures in rows, models in columns, the best value of a row in bold where the models' values compare."""
    swept = sweeps(models)
    of_attacks = [(title_html(sweep), _attack_measures(sweep, models)) for sweep in swept]
    certified = [main_certificate(model) for model in models]
    others = _other_measures(models, certified)
    groups = [*of_attacks, ("Certificates and training" if swept else "", others)]
    rows: list[list[str | text.Cell]] = []
    for title, measures in groups:
        rows += [[title]] if title else []
        rows += [measure.row for measure in measures]
    header = ["measure", "", *(heading(index, model) for index, model in enumerate(models))]
    best = "; bold: the best value, where the models answer the same question." if len(models) > 1 else "."
    notes = [f"↑: higher is better, ↓: lower{best}"]
    notes += ["Attacks: over all pairs and budgets; in brackets, 95&nbsp;% intervals over pairs." if swept else ""]
    methods = {f"{c.method} ({NORMS[c.norm]}, {c.split} images)" for c in certified if c is not None}
    notes += [f"Certificates: method {escape(', '.join(sorted(methods)))}." if methods else ""]
    notes += ["∞: no attack of the sweep got there." if swept else "", "&ndash;: not measured yet."]
    return (
        text.table(header, rows)
        + f'<p class="note">{" ".join(filter(None, notes))}</p>'
        + _question_warning(certified)
        + (_turned(models, groups) if len(models) > 1 else "")
    )


def _turned(models: Models, groups: Sequence[tuple[str, Sequence[_Measure]]]) -> str:
    """Models in rows, to be sorted by any measure; one table for each kind of attack."""
    parts = []
    for title, measures in groups:
        columns = [measure.cells for measure in measures]
        rows: Iterator[text.Row] = (
            [heading(index, model), *(cells[index] for cells in columns)] for index, model in enumerate(models)
        )
        header = ["model", *(f"{measure.label} {_ARROWS[measure.direction]}" for measure in measures)]
        parts.append((f"<h4>{title}</h4>" if title else "") + text.table(header, rows, kind="numbers sortable"))
    return f"<details><summary>The same table with a model in each row, to sort</summary>{''.join(parts)}</details>"


def _attack_measures(sweep: Sweep, models: Models) -> list[_Measure]:
    """The measures of an attack; without those that it has of no model."""
    measures = []
    of_model = {index: attack.summary for index, _, attack in sweep.swept}
    compare = _same_data(models) and len({_effort(attack) for _, _, attack in sweep.swept}) == 1
    for entry, label, how, direction in _ATTACK_ROWS:
        if any(entry in found for found in of_model.values()) and not (entry == _FREE and is_ball(sweep.first)):
            found = [of_model.get(index, {}) for index in range(len(models))]
            show = text.percent if entry.startswith("share_") else number
            measures.append(
                _Measure(
                    label,
                    how.format(unit=escape(sweep.first.unit), budget=budget_kind(sweep.first)),
                    direction,
                    [one.get(entry) for one in found],
                    compare and entry != _OF_ITS_OWN_SCALE,
                    show,
                    [_interval(one, entry, show) for one in found],
                )
            )
    return measures


def _effort(attack: AttackData) -> tuple[object, ...]:
    """How many pairs were attacked, and under which budgets."""
    return (len(attack.sources), *sorted(attack.budgets.tolist()))


def _same_data(models: Models) -> bool:
    """Whether all are of the same images, as far as their settings say."""
    return len({tuple(item for item in model.settings.items() if item[0].startswith("data.")) for model in models}) == 1


def _other_measures(models: Models, certified: Sequence[CertificateData | None]) -> list[_Measure]:
    margins = [None if c is None else float(np.median(c.radius)) for c in certified]
    abstained = [None if c is None else float(np.mean(c.abstained)) for c in certified]
    errors = [_last(model, "reconstruction_error") for model in models]
    same_data = _same_data(models)
    asked = {(c.method, question(c), len(c.radius), c.alpha, c.num_samples) for c in certified if c is not None}
    compare = same_data and len(asked) == 1
    return [
        _Measure("Certified margin", "pixel units, median, an abstention counts 0", "higher", margins, compare),
        _Measure("Images without a certificate", "the method abstained", "lower", abstained, compare, text.percent),
        _Measure("Reconstruction error", "pixel units, mean over validation images", "lower", errors, same_data),
    ]


def _interval(found: Mapping[str, float], entry: str, show: Callable[[float | None], str]) -> str:
    """The bounds of a number's interval, where it has any."""
    bounds = [found.get(f"{entry}_{bound}", np.nan) for bound in ("low", "high")]
    if np.isnan(bounds).any():
        return ""
    # On a narrow screen the line may break only between the two bounds.
    low, high = (show(bound).replace(" ", _NO_BREAK) for bound in bounds)
    return f"<small>[{low}, {high}]</small>"


def _last(model: ModelResults, name: str) -> float | None:
    rows = [row[name] for row in model.metrics if row["split"] == "validation" and name in row]
    return rows[-1] if rows else None


def _question_warning(certified: Sequence[CertificateData | None]) -> str:
    """Says what the certificates that stand for the models differ in."""
    known = [c for c in certified if c is not None]
    differing = []
    if len(radii := {c.reconstruction_radius for c in known}) > 1:
        differing += [f"different reconstruction radii <i>r</i> ({', '.join(number(r) for r in sorted(radii))})"]
    if len(norms := {NORMS[c.norm] for c in known}) > 1:
        differing += [f"distortions of different norms ({', '.join(sorted(norms))})"]
    if len(splits := {c.split for c in known}) > 1:
        differing += [f"images of different parts of the data ({', '.join(sorted(splits))})"]
    if len(risks := {c.risk for c in known}) > 1:
        differing += [f"different risks ({', '.join(number(risk) for risk in sorted(risks))})"]
    if not differing:
        return ""
    return f'<p class="flag">The models were certified for {" and ".join(differing)}: their margins do not compare.</p>'
