"""The sections on certificates: what is certified, and what is not, in plain words."""

import numpy as np

from seatbelt_jax.plots import text
from seatbelt_jax.plots.certificates import NORMS
from seatbelt_jax.plots.legend import Models, heading
from seatbelt_jax.plots.text import escape, number

_SOUNDNESS = {
    "first_order": "of first order: exact where the encoder's means are affine and its standard deviations do as "
    "assumed, elsewhere an approximation that an attack inside the margin can break",
    "locally_exact": "locally exact: they end where the encoder ceases to be affine, so nothing is approximated",
    "sound": "sound: they bound the encoder over the whole ball, without linearising it",
}

_NEVER_CERTIFIED = (
    "An image on which the method abstained carries no claim; that does not show it to be fragile.",
    "Only distortions of small {norms} norm are covered: no rotations, shifts, changes of light, or other images.",
    "That a reconstruction stays where it was does not say that it was good.",
    "Attacks are no certificates: what they did not find may still exist.",
)


def certificate_table(models: Models) -> str:
    """Each model's certificates, and below them what attacks showed."""
    rows = []
    for index, model in enumerate(models):
        rows += [
            [
                heading(index, model),
                escape(c.method),
                escape(c.soundness.replace("_", " ")),
                NORMS[c.norm],
                number(c.reconstruction_radius),
                f"{len(c.radius)}",
                text.percent(float(np.mean(c.abstained))),
                number(float(np.median(c.radius))),
                number(float(np.mean(c.radius))),
                *_effort(c.alpha, c.num_samples),
            ]
            for c in model.certificates
        ]
        rows += [
            [
                heading(index, model),
                "attacks show: at most",
                "upper bound",
                NORMS[e.norm],
                number(e.reconstruction_radius),
                f"{len(e.upper)}",
                f"not found: {text.percent(float(np.mean(np.isinf(e.upper))))}",
                number(float(np.median(e.upper))),
                number(float(np.mean(e.upper))),
                *_effort(e.alpha, e.num_samples),
            ]
            for e in model.empirical
        ]
    header = ["model", "method", "soundness", "norm", "<i>r</i>", "images", "abstained", "median margin", "mean margin",
              "confidence", "draws"]  # fmt: skip
    return text.table(header, rows)


def _effort(alpha: float, num_samples: int) -> tuple[str, str]:
    """The confidence, and the draws for each image."""
    return text.tick(100.0 * (1.0 - alpha)) + " %", f"{num_samples:,}".replace(",", "\u2009")


def not_certified(models: Models) -> str:
    """What the certificates do not say, in plain words."""
    certified = [certificate for model in models for certificate in model.certificates]
    methods: dict[str, dict[str, None]] = {}
    for certificate in certified:
        methods.setdefault(certificate.soundness, {})[certificate.method] = None
    items = [
        f"Margins by {escape(', '.join(names))} are {escape(_SOUNDNESS.get(word, word.replace('_', ' ')))}."
        for word, names in methods.items()
    ]
    items += [
        f"<b>{escape(model.name)}</b> has no certificate: only attacks can speak about it."
        for model in models
        if not model.certificates
    ]
    items += [
        f"Each image on its own holds with confidence {text.tick(100.0 * (1.0 - alpha))} %; among {count} images at "
        f"most {number(alpha * count, digits=2)} bounds are expected to fail."
        for alpha, count in dict.fromkeys((certificate.alpha, len(certificate.radius)) for certificate in certified)
    ]
    norms = " or ".join(dict.fromkeys(NORMS[certificate.norm] for certificate in certified)) or NORMS["l2"]
    items += [item.format(norms=norms) for item in _NEVER_CERTIFIED]
    assumptions = dict.fromkeys(sentence for certificate in certified for sentence in certificate.assumptions)
    listed = ""
    if assumptions:
        inner = "".join(f"<li>{escape(sentence)}</li>" for sentence in assumptions)
        listed = (
            f"<details><summary>The assumptions of the certificates, word for word</summary><ul>{inner}</ul></details>"
        )
    return f"<ul>{''.join(f'<li>{item}</li>' for item in items)}</ul>{listed}"
