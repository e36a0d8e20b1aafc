"""The sections on certificates: what is certified, and what is not, in plain words."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from seatbelt_jax.plots import text
from seatbelt_jax.plots.certificates import NORMS
from seatbelt_jax.plots.results import CertificateData, EmpiricalData
from seatbelt_jax.plots.text import escape, number
from seatbelt_jax.report.legend import Models, heading

_SOUNDNESS = {
    "first_order": "of first order: exact where the encoder's means are affine and its standard deviations do as "
    "assumed, elsewhere an approximation that an attack inside the margin can break",
    "locally_exact": "locally exact: they end where the encoder ceases to be affine, so nothing is approximated",
    "sound": "sound: they bound the model over the whole ball, without linearising it",
}

_NEVER_CERTIFIED = (
    "Where the method abstained there is no claim about the image; that does not show it to be fragile.",
    "Only distortions of small {norms} norm are covered: no rotations, shifts, changes of light, or other images.",
    "A reconstruction that does not move may still be a poor one.",
    "Attacks are no certificates: an attack that was not found may still exist.",
)


def certificate_table(models: Models) -> str:
    """Each model's certificates, and below them what attacks showed; to be sorted."""
    rows = []
    for index, model in enumerate(models):
        rows += [[heading(index, model), *row] for row in certificate_rows(model.certificates, model.empirical)]
    return text.table(["model", *CERTIFICATE_HEADER], rows, kind="numbers sortable")


CERTIFICATE_HEADER = ("method", "soundness", "norm", "<i>r</i>", "images", "abstained", "median margin", "mean margin",
                      "confidence", "draws")  # fmt: skip


def certificate_rows(
    certificates: Sequence[CertificateData], empirical: Sequence[EmpiricalData]
) -> list[list[str | text.Cell]]:
    """What stands in a table of one model's certificates, and of what attacks showed, below `CERTIFICATE_HEADER`."""
    rows = [
        [escape(c.method), escape(c.soundness.replace("_", " ")), *_asked(c, len(c.radius)),
         text.shown(float(np.mean(c.abstained)), text.percent), *_margins(c.radius), *_effort(c)]
        # What is sound stands first.
        for c in sorted(certificates, key=lambda one: one.soundness != "sound")
    ]  # fmt: skip
    rows += [
        ["attacks show: at most", "upper bound", *_asked(e, len(e.upper)),
         f"not found: {text.percent(float(np.mean(np.isinf(e.upper))))}", *_margins(e.upper), *_effort(e)]
        for e in empirical
    ]  # fmt: skip
    return rows


def _asked(data: CertificateData | EmpiricalData, images: int) -> tuple[str | text.Cell, ...]:
    return NORMS[data.norm], text.shown(data.reconstruction_radius), text.Cell(f"{images} {escape(data.split)}", images)


def _margins(margins: Float[np.ndarray, " image"]) -> tuple[text.Cell, text.Cell]:
    return text.shown(float(np.median(margins))), text.shown(float(np.mean(margins)))


def _effort(data: CertificateData | EmpiricalData) -> tuple[text.Cell, text.Cell]:
    """The confidence, and the draws for each image."""
    confidence = 100.0 * (1.0 - data.alpha)
    return (
        text.Cell(text.tick(confidence) + " %", confidence),
        text.Cell(f"{data.num_samples:,}".replace(",", "\u2009"), data.num_samples),
    )


def not_certified(certified: Sequence[CertificateData], without: Sequence[str]) -> str:
    """What certificates do not say, in plain words.

    Args:
      certified: of all models.
      without: of models that have none, sentences of HTML.
    """
    methods: dict[str, dict[str, None]] = {}
    for certificate in certified:
        methods.setdefault(certificate.soundness, {})[certificate.method] = None
    items = [
        f"Margins by {escape(', '.join(names))} are {escape(_SOUNDNESS.get(word, word.replace('_', ' ')))}."
        for word, names in methods.items()
    ]
    items += without
    items += [
        f"Each image&rsquo;s bound holds with confidence {text.tick(100.0 * (1.0 - alpha))} %; among {count} images "
        f"at most {number(alpha * count, digits=2)} bounds are expected to fail."
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
