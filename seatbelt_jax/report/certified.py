"""The sections on certificates: what is certified, and what is not, in plain words."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from seatbelt_jax.plots import text
from seatbelt_jax.report.page import Cell, Row, formula, shown
from seatbelt_jax.results import NORMS, Certificate, EmpiricalMargin

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

HEADER: Row = ("method", "soundness", "norm", formula("r"), "images", "abstained", "median margin", "mean margin",
               "confidence", "draws")  # fmt: skip


def rows(certificates: Sequence[Certificate], empirical: Sequence[EmpiricalMargin]) -> list[list[str | Cell]]:
    """What stands in a table of one model's certificates, and of what attacks showed, below `HEADER`."""
    found: list[list[str | Cell]] = [
        [c.method, c.soundness.replace("_", " "), *_asked(c, len(c.radius)),
         shown(float(np.mean(c.abstained)), text.percent), *_margins(c.radius), *_effort(c)]
        # What is sound stands first.
        for c in sorted(certificates, key=lambda one: one.soundness != "sound")
    ]  # fmt: skip
    for e in empirical:
        missed = float(np.mean(np.isinf(e.upper)))
        found.append(
            ["attacks show: at most", "upper bound", *_asked(e, len(e.upper)),
             Cell(f"not found: {text.percent(missed)}", value=missed), *_margins(e.upper), *_effort(e)]
        )  # fmt: skip
    return found


def _asked(data: Certificate | EmpiricalMargin, images: int) -> tuple[str | Cell, ...]:
    return NORMS[data.norm], shown(data.reconstruction_radius), Cell(f"{images} {data.split}", value=images)


def _margins(margins: Float[np.ndarray, " image"]) -> tuple[Cell, Cell]:
    return shown(float(np.median(margins))), shown(float(np.mean(margins)))


def _effort(data: Certificate | EmpiricalMargin) -> tuple[Cell, Cell]:
    """The confidence, and the draws for each image."""
    confidence = 100.0 * (1.0 - data.alpha)
    return Cell(text.tick(confidence) + " %", value=confidence), shown(data.num_samples, text.tick)


def limits(
    certified: Sequence[Certificate], without: Sequence[tuple[str, str]]
) -> tuple[list[str | tuple[str, str]], list[str]]:
    """What certificates do not say, in plain words, and their assumptions.

    Args:
      certified: of all models.
      without: who has none, and what follows.
    """
    methods: dict[str, dict[str, None]] = {}
    for certificate in certified:
        methods.setdefault(certificate.soundness, {})[certificate.method] = None
    items: list[str | tuple[str, str]] = [
        f"Margins by {', '.join(names)} are {_SOUNDNESS.get(word, word.replace('_', ' '))}."
        for word, names in methods.items()
    ]
    items += without
    items += [
        f"Each image’s bound holds with confidence {text.tick(100.0 * (1.0 - alpha))} %; among {count} images "
        f"at most {text.number(alpha * count, digits=2)} bounds are expected to fail."
        for alpha, count in dict.fromkeys((certificate.alpha, len(certificate.radius)) for certificate in certified)
    ]
    norms = " or ".join(dict.fromkeys(NORMS[certificate.norm] for certificate in certified)) or NORMS["l2"]
    items += [item.format(norms=norms) for item in _NEVER_CERTIFIED]
    return items, list(dict.fromkeys(sentence for certificate in certified for sentence in certificate.assumptions))
