"""Sweeps of one kind of attack over several models, and the words for objectives, threats and budgets."""

import dataclasses
import re
from collections import Counter
from collections.abc import Sequence

from seatbelt_jax.plots import text
from seatbelt_jax.plots.results import MeasuredAttack, ModelResults

# The attack that comes first.
_USUAL = ("latent_kl_all", "penalty")

_DIVERGENCES = {
    "kl": "KL divergence",
    "symmetric_kl": "symmetric KL divergence",
    "w2": "2-Wasserstein distance",
    "l2": "L2 distance",
    "joint_l2": "joint L2 distance",
}
_LATENT = re.compile(r"latent_(kl|symmetric_kl|w2|l2|joint_l2)_(all|top|bottom|layers(?:_\d+)+)")
_OTHERS = {
    "output_elbo": "output attack, ELBO of the target",
    "output_l2": "output attack, squared L2 distance to the target",
    "maximum_damage_both": "maximum damage",
    "maximum_damage_mean": "maximum damage through the means",
    "maximum_damage_std": "maximum damage through the standard deviations",
}
_THREATS = {
    "penalty": "penalty λ ‖d‖",
    "squared_penalty": "penalty λ ‖d‖²",
    "l2_ball": "‖d‖ within a radius",
    "linf_ball": "every pixel within a radius",
}


@dataclasses.dataclass(frozen=True)
class Sweep:
    """One kind of attack on all the models that have results of it.

    Attributes:
      key: a unique name, for files and elements.
      title: objective and threat in words.
      swept: (number of the model, the model, its results), at least one.
    """

    key: str
    title: str
    swept: Sequence[tuple[int, ModelResults, MeasuredAttack]]

    @property
    def heading(self) -> str:
        """The title with a capital."""
        return self.title[:1].upper() + self.title[1:]

    @property
    def first(self) -> MeasuredAttack:
        """The first model's results; all models share objective, unit, threat and whether there are targets."""
        return self.swept[0][2]


def sweeps(models: Sequence[ModelResults]) -> list[Sweep]:
    """The attacks that some model has results of, the usual one first.

    Files of the same name whose objectives or threats differ are different attacks.
    """
    groups: dict[tuple[str, str, str, str, bool], list[tuple[int, ModelResults, MeasuredAttack]]] = {}
    for index, model in enumerate(models):
        for file, attack in model.attacks.items():
            kind = (file, attack.name, attack.threat, attack.unit, attack.targeted)
            groups.setdefault(kind, []).append((index, model, attack))
    ordered = sorted(groups.items(), key=lambda entry: (entry[0][1:3] != _USUAL, entry[0]))
    titles = [threat_words(swept[0][2]) for _, swept in ordered]
    seen: Counter[str] = Counter()
    found = []
    for (kind, swept), title in zip(ordered, titles, strict=True):
        key = re.sub(r"[^\w.-]+", "_", kind[0])
        seen[key] += 1
        found.append(
            Sweep(
                key if seen[key] == 1 else f"{key}~{seen[key]}",
                title if titles.count(title) == 1 else f"{title} ({kind[0]})",
                swept,
            )
        )
    return found


def objective_words(name: str) -> str:
    """An objective's name in words: "latent attack, KL divergence, all layers"."""
    base, draws = name, ""
    if drawn := re.fullmatch(r"(.+)_(\d+)_draws", name):
        base, draws = drawn[1], f", {drawn[2]} draws"
    if latent := _LATENT.fullmatch(base):
        layers = latent[2].replace("_", " ") if latent[2].startswith("layers") else f"{latent[2]} layer"
        layers = "all layers" if latent[2] == "all" else layers
        return f"latent attack, {_DIVERGENCES[latent[1]]}, {layers}{draws}"
    return _OTHERS.get(base, base.replace("_", " ")) + draws


def threat_words(attack: MeasuredAttack) -> str:
    """Objective and threat in words."""
    return f"{objective_words(attack.name)}; {_THREATS.get(attack.threat, attack.threat)}"


def budget_kind(attack: MeasuredAttack) -> str:
    """What a budget is called."""
    return "radius" if attack.is_ball else "penalty"


def budget_words(attack: MeasuredAttack, budget: float) -> str:
    """A budget as a formula: λ = 2⁻²⁰ or ‖d‖ ≤ 0.5."""
    if attack.is_ball:
        return f"{'‖d‖' if attack.threat == 'l2_ball' else 'max |dᵢ|'} ≤ {text.tick(float(f'{budget:.3g}'))}"
    return f"λ = {text.power(2, budget)}"


def budget_label(attack: MeasuredAttack) -> str:
    """The label of an axis of budgets."""
    if attack.is_ball:
        return "radius, L2 in pixel units" if attack.threat == "l2_ball" else "radius, largest change of a pixel"
    per = "squared unit" if attack.threat == "squared_penalty" else "unit"
    return f"penalty λ, {attack.unit} per {per} of distortion"


def objective_label(attack: MeasuredAttack) -> str:
    """The title of a chart of objectives."""
    is_damage = attack.name.startswith("maximum_damage")
    return f"attack objective Δ{f' = {text.MINUS}damage' if is_damage else ''}, {attack.unit}"
