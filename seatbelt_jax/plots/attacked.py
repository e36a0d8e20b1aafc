"""The sections on attacks: pairs of images with a slider over the penalty, and how the attacks ended."""

import json
import math

from seatbelt_jax.plots import attacks, text
from seatbelt_jax.plots.images import data_uri
from seatbelt_jax.plots.legend import Models, colour, heading
from seatbelt_jax.plots.results import AttackData, ModelResults
from seatbelt_jax.plots.text import escape, number

_TITLES = {"latent_kl": "latent attack, KL divergence, all layers"}
_PREFERRED_ATTACK = "latent_kl"
_WEAK = 0.1

_ENDINGS = {
    "converged": "finished: no direction inside the image range improves the attack",
    "stalled": "finished: the last gain is lost in rounding",
    "line_search_failed": "stopped: no step along the gradient improves the attack",
    "max_iterations": "cut short: the iterations ran out; more may give a stronger attack",
    "max_evaluations": "cut short: the evaluations ran out; more may give a stronger attack",
    "non_finite": "lost: the model gave no finite value",
    "running": "cut short before it ended",
}


def title(name: str) -> str:
    """An attack's name in words."""
    return _TITLES.get(name, name.replace("_", " "))


def attack_names(models: Models) -> list[str]:
    """The attacks that some model has results of, the usual one first."""
    names = {name for model in models for name in model.attacks}
    return sorted(names, key=lambda name: (name != _PREFERRED_ATTACK, name))


def attacked_images(models: Models, name: str) -> str:
    """For each model, pairs of images under attack, with a slider over the penalty."""
    parts = [
        _pictures(index, model, model.attacks[name]) for index, model in enumerate(models) if name in model.attacks
    ]
    return "".join(parts)


def _pictures(index: int, model: ModelResults, attack: AttackData) -> str:
    pairs = attacks.shown_pairs(attack)
    first = [attacks.frame(attack, pair, int(attack.shown[pair])) for pair in pairs]
    steps = attacks.slider_steps(attack)
    frames = [
        {
            "label": f"λ = {text.power(2, float(attack.penalties[step]))}",
            "pairs": [_frame_data(attacks.frame(attack, pair, step)) for pair in pairs],
        }
        for step in steps
    ]
    width = attack.sources.shape[2]
    rows = "".join(
        f'<figure class="pair"><div class="strip pixels">'
        f"{_image('three given', shown.given, 'input, attacked input, distortion')}"
        f"{_image('two made', shown.made, 'their reconstructions')}"
        f"{_image('two', attacks.target_row(attack, pair), 'target and its reconstruction')}"
        f"</div><figcaption>{escape(_frame_caption(shown))}</figcaption></figure>"
        for pair, shown in zip(pairs, first, strict=True)
    )
    # Numbers and base64 alone: nothing in it can end the script element.
    packed = json.dumps(frames)
    return (
        f'<div data-attack style="--series:{colour(index)};--three:{3 * width + 2};--two:{2 * width + 1}">'
        f"<h3>{heading(index, model)}</h3>"
        f'<div class="penalty" hidden><label>penalty <input type="range" min="0" max="{len(steps) - 1}" '
        f'value="{len(steps) // 2}"></label><output>each pair at its own λ</output>'
        f'<button type="button" hidden>back to its own λ</button></div>'
        f"{_HEADS}{rows}"
        f'<script type="application/json">{packed}</script></div>'
    )


_HEADS = """<div class="strip heads" aria-hidden="true">
<div class="three"><span class="group">given to the model</span>
<div class="tiles"><span><i>x</i></span><span><i>x</i> + <i>d</i></span><span><i>d</i></span></div></div>
<div class="two"><span class="group">drawn from</span>
<div class="tiles"><span><i>x</i></span><span><i>x</i> + <i>d</i></span></div></div>
<div class="two"><span class="group">the attacker&rsquo;s target</span>
<div class="tiles"><span><i>x</i><sup>t</sup></span><span>drawn</span></div></div>
</div>"""


def _image(kind: str, content: bytes, alternative: str) -> str:
    share, *rest = kind.split()
    return f'<div class="{share}"><img class="{" ".join(rest)}" alt="{alternative}" src="{data_uri(content)}"></div>'


def _frame_data(frame: attacks.Frame) -> dict[str, str]:
    return {"given": data_uri(frame.given), "made": data_uri(frame.made), "caption": _frame_caption(frame)}


def _frame_caption(frame: attacks.Frame) -> str:
    start = frame.distance_at_start
    way = 1.0 - frame.distance_left / start if start > 0 else math.nan
    # In this order NaN stays NaN.
    gone = text.percent(max(way, 0.0))
    return f"λ = {text.power(2, frame.penalty)} · ‖d‖ = {number(frame.distortion)} · {gone} of the way to the target"


def endings(models: Models, name: str) -> str:
    """How the attacks ended, and a warning where many were cut short."""
    swept = [(index, model, model.attacks[name]) for index, model in enumerate(models) if name in model.attacks]
    words = [word for word in _ENDINGS if any(attack.endings.get(word) for _, _, attack in swept)]
    words += sorted({word for _, _, attack in swept for word in attack.endings} - set(_ENDINGS))
    rows = []
    for word in words:
        shares = []
        for _, _, attack in swept:
            count = attack.endings.get(word, 0)
            shares.append(f"{count} <small>{text.percent(count / attack.objective.size)}</small>")
        rows.append([f"{escape(word.replace('_', ' '))}<small>{_ENDINGS.get(word, '')}</small>", *shares])
    weak = [
        f"of the attacks on {escape(model.name)}, {text.percent(cut_short)} were cut short and "
        f"{text.percent(beaten)} outdone by the same pair&rsquo;s at another penalty"
        for _, model, attack in swept
        for cut_short, beaten in [[attack.summary.get(entry, 0.0) for entry in ("share_cut_short", "share_beaten")]]
        if max(cut_short, beaten) > _WEAK
    ]
    flag = (
        f'<p class="flag">Weak attacks: {"; ".join(weak)}. Stronger ones may exist: read the distances '
        "above as upper bounds of the robustness. To search longer, raise <code>--iterations</code> of "
        "launch/attack.py.</p>"
    )
    header = ["ending", *(heading(index, model) for index, model, _ in swept)]
    return (flag if weak else "") + text.table(header, rows)
