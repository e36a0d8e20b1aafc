"""The first screen: which model, how large a perturbation fools it, what is proven, and how strong the attack was."""

from collections.abc import Sequence

import numpy as np

from seatbelt_jax.plots import text
from seatbelt_jax.plots.results import MeasuredAttack, ModelResults
from seatbelt_jax.plots.sweeps import budget_kind, budget_words, sweeps
from seatbelt_jax.plots.text import number
from seatbelt_jax.report.attacked import WEAK
from seatbelt_jax.report.page import Cell, Table
from seatbelt_jax.results import NORMS, Certificate

HEADER = ("Model", "A perturbation of this size fools it", "Proven: no smaller one does", "Strength of the attack")


def answers(models: Sequence[ModelResults]) -> Table:
    """A row for each model."""
    swept = sweeps(models)
    # An attack with a target, which can be reached, before one that only does damage.
    ordered = sorted(swept, key=lambda sweep: not sweep.first.targeted)
    rows = []
    for index, model in enumerate(models):
        of_model = ((sweep, attack) for sweep in ordered for number, _, attack in sweep.swept if number == index)
        title, attack = next(((sweep.heading, attack) for sweep, attack in of_model), ("", None))
        rows.append(
            [
                Cell(model.name, model.kind, series=index),
                Cell("not attacked yet") if attack is None else _fooled(attack),
                _proven(model.certificates),
                Cell(text.ABSENT, "no attack") if attack is None else _strength(attack, title),
            ]
        )
    return Table(HEADER, rows)


def _fooled(attack: MeasuredAttack) -> Cell:
    pairs = len(attack.sources)
    if not attack.targeted:
        column = int(np.argmax(attack.budgets))
        moved = -float(np.median(attack.objective[:, column]))
        within = budget_words(attack, float(attack.budgets[column]))
        return Cell(f"{within} moves it by {number(moved)}",
                    f"{attack.unit}, median over {pairs} images; the attack had no target")  # fmt: skip
    size = attack.summary["median_distortion_half_way_l2"]
    there = text.percent(attack.summary["share_reaching_half_way"])
    if not np.isfinite(size):
        return Cell("none found", f"{there} of {pairs} pairs went half way to the target under any "
                    f"{budget_kind(attack)}")  # fmt: skip
    low, high = (attack.summary[f"median_distortion_half_way_l2_{end}"] for end in ("low", "high"))
    interval = f" [{number(low)}, {number(high)}]" if np.isfinite([low, high]).all() else ""
    levels = attack.image_range[1] - attack.image_range[0]
    a_pixel = size / (levels * np.sqrt(attack.sources[0].size))
    return Cell(
        f"‖d‖ = {number(size)}",
        f"median{interval} that moves the reconstruction half way to the attacker’s target; a change of "
        f"{text.percent(float(a_pixel))} of the pixel range, root mean square; {there} of {pairs} pairs got there",
    )


def _proven(certificates: Sequence[Certificate]) -> Cell:
    """The largest sound margin; what is of first order is no proof."""
    if not certificates:
        return Cell("nothing", "not certified yet")
    best = max(certificates, key=lambda one: (one.soundness == "sound", one.norm == "l2", float(np.median(one.radius))))
    margin, confidence = number(float(np.median(best.radius))), text.tick(100.0 * (1.0 - best.alpha))
    claim = (
        f"{best.method}, {NORMS[best.norm]}: the reconstruction stays within {number(best.reconstruction_radius)} of "
        f"what it was with a probability above {text.percent(best.risk)}"
    )
    how = f"median of {len(best.radius)} {best.split} images, {confidence} % confidence each"
    if best.soundness == "sound":
        return Cell(f"‖d‖ < {margin}", f"{claim}; {how}")
    kind = best.soundness.replace("_", " ")
    return Cell("nothing", f"no sound margin; {kind}, which is no proof: {margin} ({claim}; {how})")


def _strength(attack: MeasuredAttack, title: str) -> Cell:
    share = attack.summary["share_suspicious"]
    pairs, budgets = attack.objective.shape
    kind = budget_kind(attack) if budgets == 1 else {"penalty": "penalties", "radius": "radii"}[budget_kind(attack)]
    effort = f"{title}: {pairs} pairs under {budgets} {kind}"
    words = f"{text.percent(share)} of attacks look weak" if share else "no sign of weakness"
    bound = "a stronger attack may need a smaller ‖d‖" if share > WEAK else "still an attack, so ‖d‖ is an upper bound"
    return Cell(words, f"{effort}; {bound}")
