"""The sections on certificates: what is certified, and what is not, in plain words."""

import numpy as np

from seatbelt_jax.plots import text
from seatbelt_jax.plots.certificates import certified_fraction, margin_histogram
from seatbelt_jax.plots.charts import Draw
from seatbelt_jax.plots.legend import Models, heading
from seatbelt_jax.plots.results import CertificateData, ModelResults
from seatbelt_jax.plots.text import escape, number

# Of the methods of one model the strongest comes first.
_PREFERRED = ("hierarchical", "spectral", "camuto")

_SOUNDNESS = {
    "first_order": "first order: exact where the encoder's mean is affine, elsewhere an approximation that an "
    "attack inside the margin can break",
    "locally_exact": "locally exact: valid inside the region named in the assumptions",
    "sound": "sound: valid without linearising the model",
}


_NEVER_CERTIFIED = (
    "An image on which the method abstained carries no claim; that does not show it to be fragile.",
    "Only distortions of small L2 norm are covered: no rotations, shifts, changes of light, or other images.",
    "That a reconstruction stays where it was does not say that it was good.",
    "Attacks are no certificates: what they did not find may still exist.",
)


def main_certificate(model: ModelResults) -> CertificateData | None:
    """The certificate that stands for the model where there is room for one."""
    by_method = {certificate.method: certificate for certificate in model.certificates}
    return next((by_method[method] for method in (*_PREFERRED, *by_method) if method in by_method), None)


def certificate_charts(models: Models) -> dict[str, Draw]:
    """Each model's main certificate in a pair of charts, and a pair for every further method."""
    certified = [
        (index, model.name, certificate) for index, model in enumerate(models) for certificate in model.certificates
    ]
    mains = [entry for entry in certified if entry[2] is main_certificate(models[entry[0]])]
    groups = {", ".join(dict.fromkeys(certificate.method for _, _, certificate in mains)): mains} if mains else {}
    for method in dict.fromkeys(certificate.method for _, _, certificate in certified):
        if any(entry not in mains for entry in certified if entry[2].method == method):
            groups[method] = [entry for entry in certified if entry[2].method == method]
    drawn: dict[str, Draw] = {}
    for method, group in groups.items():
        drawn[f"certified fraction, {method}"] = certified_fraction(group, method)
        drawn[f"margins, {method}"] = margin_histogram(group, method)
    return drawn


def certificate_table(models: Models) -> str:
    rows = [
        [
            heading(index, model),
            escape(c.method),
            escape(c.soundness.replace("_", " ")),
            number(c.reconstruction_radius),
            f"{len(c.radius)}",
            text.percent(float(np.mean(c.abstained))),
            number(float(np.median(c.radius))),
            number(float(np.mean(c.radius))),
            text.tick(100.0 * (1.0 - c.alpha)) + " %",
            f"{c.num_samples:,}".replace(",", "\u2009"),
        ]
        for index, model in enumerate(models)
        for c in model.certificates
    ]
    header = ["model", "method", "soundness", "<i>r</i>", "images", "abstained", "median margin", "mean margin",
              "confidence", "draws"]  # fmt: skip
    return text.table(header, rows)


def not_certified(models: Models) -> str:
    """What the certificates do not say, in plain words."""
    certified = [certificate for model in models for certificate in model.certificates]
    words = dict.fromkeys(certificate.soundness for certificate in certified)
    items = [f"Margins here are {escape(_SOUNDNESS.get(word, word.replace('_', ' ')))}." for word in words]
    items += [
        f"<b>{escape(model.name)}</b> has {model.num_layers} latent layers and no certificate: margins for more than "
        "one latent layer are not certified yet. Only the attacks speak about it."
        for model in models
        if model.num_layers > 1 and not model.certificates
    ]
    items += [
        f"Each image on its own holds with confidence {text.tick(100.0 * (1.0 - alpha))} %; among {count} images at "
        f"most {number(alpha * count, digits=2)} bounds are expected to fail."
        for alpha, count in dict.fromkeys((certificate.alpha, len(certificate.radius)) for certificate in certified)
    ]
    items += _NEVER_CERTIFIED
    assumptions = dict.fromkeys(sentence for certificate in certified for sentence in certificate.assumptions)
    listed = ""
    if assumptions:
        inner = "".join(f"<li>{escape(sentence)}</li>" for sentence in assumptions)
        listed = (
            f"<details><summary>The assumptions of the certificates, word for word</summary><ul>{inner}</ul></details>"
        )
    return f"<ul>{''.join(f'<li>{item}</li>' for item in items)}</ul>{listed}"
