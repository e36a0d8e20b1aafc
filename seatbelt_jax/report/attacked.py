"""The sections on attacks: pairs of images with a slider over the budget, and how far to trust the attacks."""

import json
import math
from collections.abc import Mapping, Sequence

from seatbelt_jax.plots import attacks, text
from seatbelt_jax.plots.images import data_uri
from seatbelt_jax.plots.results import AttackData, ModelResults
from seatbelt_jax.plots.sweeps import Sweep, budget_kind, budget_words, is_ball
from seatbelt_jax.plots.text import escape, number
from seatbelt_jax.report.legend import colour, heading

# Attacks that are suspicious, beyond which the page warns.
_WEAK = 0.1

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


def attacked_images(sweep: Sweep, galleries: int) -> str:
    """For each model, pairs of images under attack, with a slider over the budget.

    Args:
      galleries: how many such there are on the page, which share its size.
    """
    return "".join(_pictures(index, model, attack, galleries) for index, model, attack in sweep.swept)


def _pictures(index: int, model: ModelResults, attack: AttackData, galleries: int) -> str:
    pairs = attacks.shown_pairs(attack, galleries)
    steps = attacks.slider_steps(attack, galleries)
    frames = [
        {
            "label": budget_words(attack, float(attack.budgets[step])),
            "pairs": [_frame_data(attack, pair, step) for pair in pairs],
        }
        for step in steps
    ]
    width = attack.sources.shape[2]
    rows = "".join(
        f'<figure class="pair"><div class="strip pixels">'
        f"{_image('three given', attacks.frame(attack, pair, own).given, 'input, attacked input, distortion')}"
        f"{_image('two made', attacks.frame(attack, pair, own).made, 'their reconstructions')}"
        f"{_target(attack, pair)}"
        f"</div><figcaption>{escape(caption(attack, pair, own))}</figcaption></figure>"
        for pair, own in ((pair, int(attack.shown[pair])) for pair in pairs)
    )
    kind, targets = budget_kind(attack), "" if attack.targeted else ' class="untargeted"'
    its_own = kind if is_ball(attack) else "λ"
    # A unit comes from a file: without < nothing in it can end the script element.
    packed = json.dumps(frames).replace("<", "\\u003c")
    return (
        f'<div data-attack{targets} style="--series:{colour(index)};--three:{3 * width + 2};--two:{2 * width + 1}">'
        f"<h4>{heading(index, model)}</h4>"
        f'<div class="budget" hidden><label>{kind} <input type="range" min="0" max="{len(steps) - 1}" '
        f'value="{len(steps) // 2}"></label><output>each pair at its own {its_own}</output>'
        f'<button type="button" hidden>back to its own {its_own}</button></div>'
        f'<div class="strip heads" aria-hidden="true">{_HEADS}{_TARGET_HEAD if attack.targeted else ""}</div>{rows}'
        f'<script type="application/json">{packed}</script></div>'
    )


_HEADS = """<div class="three"><span class="group">given to the model</span>
<div class="tiles"><span><i>x</i></span><span><i>x</i> + <i>d</i></span><span><i>d</i></span></div></div>
<div class="two"><span class="group">drawn from</span>
<div class="tiles"><span><i>x</i></span><span><i>x</i> + <i>d</i></span></div></div>"""
_TARGET_HEAD = """<div class="two"><span class="group">the attacker&rsquo;s target</span>
<div class="tiles"><span><i>x</i><sup>t</sup></span><span>drawn</span></div></div>"""


def _target(attack: AttackData, pair: int) -> str:
    return _image("two", attacks.target_row(attack, pair), "target and its reconstruction") if attack.targeted else ""


def _image(kind: str, content: bytes, alternative: str) -> str:
    share, *rest = kind.split()
    return f'<div class="{share}"><img class="{" ".join(rest)}" alt="{alternative}" src="{data_uri(content)}"></div>'


def _frame_data(attack: AttackData, pair: int, column: int) -> dict[str, str]:
    frame = attacks.frame(attack, pair, column)
    return {"given": data_uri(frame.given), "made": data_uri(frame.made), "caption": caption(attack, pair, column)}


def caption(attack: AttackData, pair: int, column: int) -> str:
    """What one attack came to."""
    budget, distortion = float(attack.budgets[column]), float(attack.distortion_norm[pair, column])
    shown = f"{budget_words(attack, budget)} · ‖d‖ = {number(distortion)}"
    if not attack.targeted:
        return f"{shown} · Δ = {number(float(attack.objective[pair, column]))} {attack.unit}"
    start, left = float(attack.distance_at_start[pair]), float(attack.distance_left[pair, column])
    way = 1.0 - left / start if start > 0 else math.nan
    # In this order NaN stays NaN.
    return f"{shown} · {text.percent(max(way, 0.0))} of the way to the target"


def trust(sweep: Sweep) -> str:
    """Signs of weak attacks, a warning where many attacks have one, what was not checked, and how attacks ended."""
    return _warning(sweep) + _flags(sweep) + _endings(sweep)


def _warning(sweep: Sweep) -> str:
    shares = ((model.name, attack.summary["share_suspicious"]) for _, model, attack in sweep.swept)
    weak = [f"{text.percent(share)} of those on {escape(name)}" for name, share in shares if share > _WEAK]
    if not weak:
        return ""
    return (
        f'<p class="flag">Weak attacks: {" and ".join(weak)} show a sign of weakness. Stronger ones may exist: read '
        "the distances above as upper bounds of the robustness. A longer search, more starts or another solver may "
        "find them; <code>seatbelt attack --help</code> says how.</p>"
    )


def _flags(sweep: Sweep) -> str:
    """The signs that some attack has, and those that none has or that were not looked for, in words."""
    meanings = {flag.name: flag.meaning for _, _, attack in sweep.swept for flag in attack.flags}
    shares = [{flag.name: flag.share for flag in attack.flags} for _, _, attack in sweep.swept]
    raised = [name for name in meanings if any(of_model.get(name) for of_model in shares)]
    rows = [
        [
            f"{escape(name)}<small>{escape(meanings[name])}</small>",
            *("not checked" if of_model.get(name) is None else text.percent(of_model[name]) for of_model in shares),
        ]
        for name in raised
    ]
    header = ["sign of weakness", *(heading(index, model) for index, model, _ in sweep.swept)]
    tested = [name for name in meanings if all(of_model.get(name) == 0.0 for of_model in shares)]
    untested = [name for name in meanings if name not in raised and name not in tested]
    notes = []
    if tested:
        notes.append(f"Looked for and not found: {escape(', '.join(tested))}.")
    if untested:
        unchecked = {flag.name: flag.unchecked for _, _, attack in sweep.swept for flag in attack.flags}
        explained = (f"{unchecked[name]}{_on(sweep, shares, name)}" for name in untested)
        notes.append(f"Not checked: {escape('; '.join(explained))}.")
    return (text.table(header, rows) if rows else "") + f'<p class="note">{" ".join(notes)}</p>'


def _on(sweep: Sweep, shares: Sequence[Mapping[str, float | None]], name: str) -> str:
    """On which models a sign was not looked for, where it was on others."""
    lacking = [model.name for (_, model, _), found in zip(sweep.swept, shares, strict=True) if found.get(name) is None]
    return f" on {', '.join(lacking)}" if len(lacking) < len(shares) else ""


def _endings(sweep: Sweep) -> str:
    words = [word for word in _ENDINGS if any(attack.endings.get(word) for _, _, attack in sweep.swept)]
    words += sorted({word for _, _, attack in sweep.swept for word in attack.endings} - set(_ENDINGS))
    rows = []
    for word in words:
        counts = ((attack.endings.get(word, 0), attack.objective.size) for _, _, attack in sweep.swept)
        shares = [f"{count} <small>{text.percent(count / total)}</small>" for count, total in counts]
        rows.append([f"{escape(word.replace('_', ' '))}<small>{_ENDINGS.get(word, '')}</small>", *shares])
    return text.table(["how the attacks ended", *(heading(index, model) for index, model, _ in sweep.swept)], rows)
