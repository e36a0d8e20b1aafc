"""The summary: every measure of robustness in a row, every model in a column."""

from collections.abc import Callable, Sequence

import numpy as np

from seatbelt_jax.plots import text
from seatbelt_jax.plots.attacked import attack_names, title
from seatbelt_jax.plots.certified import main_certificate
from seatbelt_jax.plots.legend import Models, heading
from seatbelt_jax.plots.results import CertificateData, ModelResults
from seatbelt_jax.plots.text import escape, number

# Of a sweep's summary: its name there, the measure, how it was taken, and what is better.
_ATTACK_ROWS = (
    ("median_objective_nats", "Attack objective Δ", "nats, median", "higher"),
    (
        "median_excess_target_nll_nats",
        "Excess &minus;log <i>p</i>(<i>x</i><sup>t</sup>|<i>z</i>*)",
        "nats over the target&rsquo;s own code, median",
        "higher",
    ),
    ("median_distortion_l2", "Distortion ‖<i>d</i>‖", "pixel units, median", "higher"),
    ("median_distortion_half_way_l2", "Distortion to go half way", "pixel units, median over pairs", "higher"),
    ("median_distortion_nine_tenths_l2", "Distortion to go nine tenths", "pixel units, median over pairs", "higher"),
    ("share_reaching_nine_tenths", "Pairs that went nine tenths", "at any penalty", "lower"),
    ("share_cut_short", "Attacks cut short", "the fewer, the more the rows above say", ""),
    ("share_beaten", "Attacks outdone", "by the same pair&rsquo;s at another penalty, by 10 %", ""),
)
_ARROWS = {
    "higher": '<span role="img" aria-label="higher is better">↑</span>',
    "lower": '<span role="img" aria-label="lower is better">↓</span>',
    "": "",
}


def summary(models: Models) -> str:
    """Measures in rows, models in columns, the best value of a row in bold."""
    name = next(iter(attack_names(models)), None)
    swept = [model.attacks.get(name) if name else None for model in models]
    certified = [main_certificate(model) for model in models]
    margins = [None if c is None else float(np.median(c.radius)) for c in certified]
    abstained = [None if c is None else float(np.mean(c.abstained)) for c in certified]
    errors = [_last(model, "reconstruction_error") for model in models]
    rows = [
        _row(
            label,
            unit,
            direction,
            [None if attack is None else attack.summary.get(entry) for attack in swept],
            text.percent if entry.startswith("share_") else number,
        )
        for entry, label, unit, direction in _ATTACK_ROWS
    ]
    rows += [
        _row("Certified margin", "pixel units, median, an abstention counts 0", "higher", margins),
        _row("Images without a certificate", "the method abstained", "lower", abstained, text.percent),
        _row("Reconstruction error", "pixel units, mean over validation images", "lower", errors),
    ]
    header = ["measure", "", *(heading(index, model) for index, model in enumerate(models))]
    notes = ["↑: higher is better, ↓: lower" + ("; the best in bold." if len(models) > 1 else ".")]
    notes += [f"Attacks: {escape(title(name))}, medians over all pairs and penalties." if name else ""]
    methods = {c.method for c in certified if c is not None}
    notes += [f"Certificates: method {escape(', '.join(sorted(methods)))}." if methods else ""]
    notes += ["∞: no penalty of the sweep got there. &ndash;: not measured yet."]
    return (
        text.table(header, rows) + f'<p class="note">{" ".join(filter(None, notes))}</p>' + _radius_warning(certified)
    )


def _row(
    label: str,
    unit: str,
    direction: str,
    values: Sequence[float | None],
    show: Callable[[float | None], str] = number,
) -> list[str]:
    known = [value for value in values if value is not None and not np.isnan(value)]
    best = None
    if direction and len(known) > 1 and min(known) < max(known):
        best = max(known) if direction == "higher" else min(known)
    cells = [f"<b>{show(value)}</b>" if value is not None and value == best else show(value) for value in values]
    return [f"{label}<small>{unit}</small>", _ARROWS[direction], *cells]


def _last(model: ModelResults, name: str) -> float | None:
    rows = [row[name] for row in model.metrics if row["split"] == "validation" and name in row]
    return rows[-1] if rows else None


def _radius_warning(certified: Sequence[CertificateData | None]) -> str:
    radii = {c.reconstruction_radius for c in certified if c is not None}
    if len(radii) < 2:
        return ""
    listed = ", ".join(number(radius) for radius in sorted(radii))
    return (
        f'<p class="flag">The models were certified for different reconstruction radii <i>r</i> ({listed}): '
        "their margins do not compare.</p>"
    )
