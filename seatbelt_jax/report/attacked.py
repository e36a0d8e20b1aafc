"""The sections on attacks: pairs of images with a slider over the budget, and how far to trust the attacks."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from seatbelt_jax.plots import attacks, text
from seatbelt_jax.plots.images import data_uri
from seatbelt_jax.plots.results import MeasuredAttack
from seatbelt_jax.plots.sweeps import Sweep, budget_kind, budget_words
from seatbelt_jax.plots.text import number
from seatbelt_jax.report.page import Cell, Table
from seatbelt_jax.results import MEANING, NOT_CHECKED, Diagnosis

# The share of suspicious attacks beyond which a page warns.
WEAK = 0.1

_ENDINGS = {
    "converged": "finished: no direction that is allowed improves the attack",
    "stalled": "finished: the gain that a further step promises is lost in rounding",
    "stopped_early": "stopped: a further gain was due, but no step found it",
    "line_search_failed": "stopped: no step along the gradient improves the attack",
    "max_iterations": "cut short: the iterations ran out; more may give a stronger attack",
    "max_evaluations": "cut short: the evaluations ran out; more may give a stronger attack",
    "non_finite": "lost: the model gave no finite value",
    "running": "cut short before it ended",
}


def gallery(sweep: Sweep, galleries: int) -> dict[str, Any]:
    """Pairs of images under attack, of each model at distortions of one size.

    Args:
      galleries: how many models' there are on the page, which share its size.
    """
    size = attacks.common_size(sweep)
    first = sweep.first
    return {
        "kind": budget_kind(first),
        "targeted": first.targeted,
        "opening": f"each pair near ‖d‖ = {number(size)}",
        # Widths of the pictures, gaps of one pixel between them.
        "three": 3 * first.sources.shape[2] + 2,
        "two": 2 * first.sources.shape[2] + 1,
        "models": [
            {"index": index, "name": model.name, **_pictures(attack, galleries, size)}
            for index, model, attack in sweep.swept
        ],
    }


def _pictures(attack: MeasuredAttack, galleries: int, size: float) -> dict[str, Any]:
    pairs, steps = attacks.shown_pairs(attack, galleries), attacks.slider_steps(attack, galleries)
    columns = attacks.nearest(attack, size)
    rows = [_row(attack, pair, int(columns[pair])) for pair in pairs]
    if attack.targeted:
        for pair, row in zip(pairs, rows, strict=True):
            row["target"] = data_uri(attacks.target_row(attack, pair))
    frames = [
        {
            "label": budget_words(attack, float(attack.budgets[step])),
            "pairs": [_row(attack, pair, step) for pair in pairs],
        }
        for step in steps
    ]
    return {"rows": rows, "frames": frames}


def _row(attack: MeasuredAttack, pair: int, column: int) -> dict[str, str]:
    given, made = map(data_uri, attacks.frame(attack, pair, column))
    return {"given": given, "made": made, "caption": caption(attack, pair, column)}


def caption(attack: MeasuredAttack, pair: int, column: int) -> str:
    """What one attack came to."""
    budget, distortion = float(attack.budgets[column]), float(attack.distortion_norm[pair, column])
    words = f"{budget_words(attack, budget)} · ‖d‖ = {number(distortion)}"
    if not attack.targeted:
        return f"{words} · Δ = {number(float(attack.objective[pair, column]))} {attack.unit}"
    start, left = float(attack.distance_at_start[pair]), float(attack.distance_left[pair, column])
    way = 1.0 - left / start if start > 0 else math.nan
    # In this order NaN stays NaN.
    return f"{words} · {text.percent(max(way, 0.0))} of the way to the target"


class Signs(NamedTuple):
    """Signs of weakness by what was seen of them, in any of several sweeps of attacks.

    Attributes:
      raised, clean, untested: names of signs that some attack has, that none has, and that were not looked for.
      meanings, unchecked: of each name, in words.
      shares: of each sweep's attacks, by name; None where it was not looked for.
    """

    raised: Sequence[str]
    clean: Sequence[str]
    untested: Sequence[str]
    meanings: Mapping[str, str]
    unchecked: Mapping[str, str]
    shares: Sequence[Mapping[str, float | None]]


def signs(found: Sequence[Diagnosis]) -> Signs:
    """Sorts the signs of several sweeps of attacks."""
    known = {name: name.replace("_", " ") for diagnosis in found for name in diagnosis.flags}
    meanings = {words: MEANING[name] for name, words in known.items()}
    unchecked = {words: NOT_CHECKED.get(name, "") for name, words in known.items()}
    shares = [{known[name]: share for name, share in diagnosis.shares.items()} for diagnosis in found]
    raised = [name for name in meanings if any(one.get(name) for one in shares)]
    clean = [name for name in meanings if all(one.get(name) == 0.0 for one in shares)]
    untested = [name for name in meanings if name not in raised and name not in clean]
    return Signs(raised, clean, untested, meanings, unchecked, shares)


def trust(sweep: Sweep) -> dict[str, Any]:
    """Weak attacks, their signs, what was not checked, and how attacks ended."""
    names = [model.name for _, model, _ in sweep.swept]
    shares = [attack.summary["share_suspicious"] for _, _, attack in sweep.swept]
    seen = signs([attack.diagnosis for _, _, attack in sweep.swept])
    heads = [Cell(model.name, series=index) for index, model, _ in sweep.swept]
    rows = [[Cell(name, seen.meanings[name]), *(_share(one.get(name)) for one in seen.shares)] for name in seen.raised]
    return {
        "weak": [f"{text.percent(s)} of those on {name}" for name, s in zip(names, shares, strict=True) if s > WEAK],
        "signs": Table(["sign of weakness", *heads], rows) if rows else None,
        "clean": seen.clean,
        "unchecked": [f"{seen.unchecked[name]}{_on(names, seen.shares, name)}" for name in seen.untested],
        "endings": _endings(sweep, heads),
    }


def _share(share: float | None) -> Cell:
    return Cell("not checked" if share is None else text.percent(share), value=math.nan if share is None else share)


def _on(names: Sequence[str], shares: Sequence[Mapping[str, float | None]], sign: str) -> str:
    """On which models a sign was not looked for, where it was on others."""
    lacking = [name for name, found in zip(names, shares, strict=True) if found.get(sign) is None]
    return f" on {', '.join(lacking)}" if len(lacking) < len(shares) else ""


def _endings(sweep: Sweep, heads: Sequence[Cell]) -> Table:
    of_each = [attack.endings for _, _, attack in sweep.swept]
    words = [word for word in _ENDINGS if any(endings.get(word) for endings in of_each)]
    words += sorted({word for endings in of_each for word in endings} - set(_ENDINGS))
    rows: list[list[Cell]] = []
    for word in words:
        counts = [endings.get(word, 0) for endings in of_each]
        totals = [attack.objective.size for _, _, attack in sweep.swept]
        shares = (text.percent(count / total) for count, total in zip(counts, totals, strict=True))
        cells = (Cell(f"{count}", share, count) for count, share in zip(counts, shares, strict=True))
        rows.append([Cell(word.replace("_", " "), _ENDINGS.get(word, "")), *cells])
    return Table(["how the attacks ended", *heads], rows)
