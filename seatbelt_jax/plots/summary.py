"""The summary: every measure of robustness in a row, every model in a column."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from seatbelt_jax.plots import text
from seatbelt_jax.plots.certificates import NORMS, main_certificate
from seatbelt_jax.plots.legend import Models, heading
from seatbelt_jax.plots.results import CertificateData, ModelResults
from seatbelt_jax.plots.sweeps import Sweep, budget_kind, is_ball, sweeps, title_html
from seatbelt_jax.plots.text import escape, number

# Of a sweep's summary: its name there, the measure, how it was taken, and what is better.
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
    ("median_auddc", "AUDDC", "area under the curve of distortions up to that of the images; median", "higher"),
    (
        "median_relative_likelihood_degradation",
        "Degradation of log <i>p</i>(<i>x</i>|<i>z</i>*)",
        "change relative to log <i>p</i>(<i>x</i>|<i>z</i>), median",
        "lower",
    ),
    ("share_suspicious", "Suspicious attacks", "the fewer, the more the rows above say", ""),
)
# In a ball the attacker pays nothing for distortion: how long it is says nothing.
_FREE = "median_distortion_l2"
_NO_BREAK = "\u00a0"
_ARROWS = {
    "higher": '<span role="img" aria-label="higher is better">↑</span>',
    "lower": '<span role="img" aria-label="lower is better">↓</span>',
    "": "",
}


def summary(models: Models) -> str:
    """Measures in rows, models in columns, the best value of a row in bold."""
    swept = sweeps(models)
    certified = [main_certificate(model) for model in models]
    margins = [None if c is None else float(np.median(c.radius)) for c in certified]
    abstained = [None if c is None else float(np.mean(c.abstained)) for c in certified]
    errors = [_last(model, "reconstruction_error") for model in models]
    rows = [row for sweep in swept for row in _attack_rows(sweep, len(models))]
    rows += [
        ["Certificates and training"] if swept else [],
        _row("Certified margin", "pixel units, median, an abstention counts 0", "higher", margins),
        _row("Images without a certificate", "the method abstained", "lower", abstained, text.percent),
        _row("Reconstruction error", "pixel units, mean over validation images", "lower", errors),
    ]
    header = ["measure", "", *(heading(index, model) for index, model in enumerate(models))]
    notes = ["↑: higher is better, ↓: lower" + ("; the best in bold." if len(models) > 1 else ".")]
    notes += ["Of attacks: over all pairs and budgets, in brackets 95&nbsp;% intervals over pairs." if swept else ""]
    methods = {f"{c.method} ({NORMS[c.norm]})" for c in certified if c is not None}
    notes += [f"Certificates: method {escape(', '.join(sorted(methods)))}." if methods else ""]
    notes += ["∞: no attack of the sweep got there." if swept else "", "&ndash;: not measured yet."]
    return (
        text.table(header, filter(None, rows))
        + f'<p class="note">{" ".join(filter(None, notes))}</p>'
        + _question_warning(certified)
    )


def _attack_rows(sweep: Sweep, num_models: int) -> list[list[str]]:
    """The title of an attack, and its measures; without those that it has of no model."""
    rows = [[title_html(sweep)]]
    of_model = {index: attack.summary for index, _, attack in sweep.swept}
    for entry, label, how, direction in _ATTACK_ROWS:
        if any(entry in found for found in of_model.values()) and not (entry == _FREE and is_ball(sweep.first)):
            found = [of_model.get(index, {}) for index in range(num_models)]
            show = text.percent if entry.startswith("share_") else number
            rows.append(
                _row(
                    label,
                    how.format(unit=escape(sweep.first.unit), budget=budget_kind(sweep.first)),
                    direction,
                    [one.get(entry) for one in found],
                    show,
                    [_interval(one, entry, show) for one in found],
                )
            )
    return rows


def _interval(found: Mapping[str, float], entry: str, show: Callable[[float | None], str]) -> str:
    """The bounds of a number's interval, where it has any."""
    bounds = [found.get(f"{entry}_{bound}", np.nan) for bound in ("low", "high")]
    if np.isnan(bounds).any():
        return ""
    # On a narrow screen it breaks between the two alone.
    low, high = (show(bound).replace(" ", _NO_BREAK) for bound in bounds)
    return f"<small>[{low}, {high}]</small>"


def _row(
    label: str,
    how: str,
    direction: str,
    values: Sequence[float | None],
    show: Callable[[float | None], str] = number,
    intervals: Sequence[str] | None = None,
) -> list[str]:
    known = [value for value in values if value is not None and not np.isnan(value)]
    best = None
    if direction and len(known) > 1 and min(known) < max(known):
        best = max(known) if direction == "higher" else min(known)
    cells = [f"<b>{show(value)}</b>" if value is not None and value == best else show(value) for value in values]
    if intervals is not None:
        cells = [cell + interval for cell, interval in zip(cells, intervals, strict=True)]
    return [f"{label}<small>{how}</small>", _ARROWS[direction], *cells]


def _last(model: ModelResults, name: str) -> float | None:
    rows = [row[name] for row in model.metrics if row["split"] == "validation" and name in row]
    return rows[-1] if rows else None


def _question_warning(certified: Sequence[CertificateData | None]) -> str:
    radii = {c.reconstruction_radius for c in certified if c is not None}
    norms = {NORMS[c.norm] for c in certified if c is not None}
    differing = []
    if len(radii) > 1:
        differing += [f"different reconstruction radii <i>r</i> ({', '.join(number(r) for r in sorted(radii))})"]
    if len(norms) > 1:
        differing += [f"distortions of different norms ({', '.join(sorted(norms))})"]
    if not differing:
        return ""
    return f'<p class="flag">The models were certified for {" and ".join(differing)}: their margins do not compare.</p>'
