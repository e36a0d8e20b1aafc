"""The charts of certified margins, for the report and as files."""

import dataclasses
from collections.abc import Sequence

from seatbelt_jax.plots.certificates import (
    Certified,
    Model,
    certified_fraction,
    main_certificate,
    main_of,
    margin_against,
    margin_histogram,
    minimal_radii,
)
from seatbelt_jax.plots.charts import Draw, figure, short
from seatbelt_jax.plots.empirical import (
    Compared,
    certified_against_empirical,
    compare,
    probability_against_norm,
)
from seatbelt_jax.plots.results import CertifiedModel
from seatbelt_jax.results import NORMS, Certificate, Comparable

# Settings of models: the field, what stands at the axis, and the figure's name.
_SETTINGS = (("beta", "β, objective.beta", "beta"), ("tau", "τ, model.posterior_std_offset", "tau"))


def certificate_charts(models: Sequence[Model]) -> dict[str, Draw]:
    """Pairs of charts: of all models' main certificates, and of the methods of each model that has several.

    Beside them, where there are attacks on the same question, what these showed. Norms, splits, r and risks share no
    chart.
    """
    drawn: dict[str, Draw] = {}
    asked = sorted({one.comparable for model in models for one in model.certificates}, key=_first_things_first)
    for one_question in asked:
        of_each = [[one for one in model.certificates if one.comparable == one_question] for model in models]
        mains = [
            (index, model.name, main)
            for index, (model, found) in enumerate(zip(models, of_each, strict=True))
            if (main := main_of(found)) is not None
        ]
        several = {
            model.name: [(number, one.method, one) for number, one in enumerate(found)]
            for model, found in zip(models, of_each, strict=True)
            if len(found) > 1
        }
        # The methods of a lone model have its main one among them.
        if not (len(models) == 1 and several):
            methods = ", ".join(dict.fromkeys(main.method for _, _, main in mains))
            drawn |= _pair(mains, _titled(methods, one_question, asked))
        for name, methods_of in several.items():
            drawn |= _pair(methods_of, _titled(short(name), one_question, asked))
        pairs = (compare(index, models[index], main) for index, _, main in mains)
        if together := [pair for pair in pairs if pair is not None]:
            used = _titled(", ".join(dict.fromkeys(one.certificate.method for one in together)), one_question, asked)
            drawn[f"certified against attacked, {used}"] = certified_against_empirical(together, used)
    return drawn


def certification_figures(models: Sequence[CertifiedModel]) -> dict[str, bytes]:
    """PNG by file name; models were certified for the same r, risk and norm.

    Always certified_margins.png; where there are attacks certified_against_empirical.png and
    probability_against_norm.png, with minimal radii minimal_radius.png, and where models differ in beta or in the
    offset of sigma margin_against_beta.png and margin_against_tau.png.
    """
    every = [one for model in models for one in model.certificates]
    norm, methods = every[0].norm, list(dict.fromkeys(one.method for one in every))
    draws: dict[str, Sequence[Draw]] = {}
    margins = certificate_charts([dataclasses.replace(model, empirical=()) for model in models])
    draws["certified_margins"] = list(margins.values())
    beside = {method: found for method in methods if (found := _compared(models, norm, method))}
    draws["certified_against_empirical"] = [
        certified_against_empirical(found, method) for method, found in beside.items()
    ]
    if attacked := _compared(models, norm, None):
        draws["probability_against_norm"] = [probability_against_norm(attacked)]
    groups = {method: _by(models, method) for method in methods}
    mains = _by(models, None)
    # Methods differ between models of different depth, so these are a group of their own.
    groups.setdefault(", ".join(dict.fromkeys(certificate.method for _, _, certificate in mains)), mains)
    for field, label, name in _SETTINGS:
        draws[f"margin_against_{name}"] = [
            margin_against([(*entry, getattr(models[entry[0]], field)) for entry in group], label, what)
            for what, group in groups.items()
            if len({getattr(models[index], field) for index, _, _ in group}) > 1
        ]
    minimal = [
        (index, model.name, model.minimal_radius)
        for index, model in enumerate(models)
        if model.minimal_radius is not None
    ]
    if minimal:
        draws["minimal_radius"] = [minimal_radii(minimal, every[0].reconstruction_radius)]
    return {f"{name}.png": figure(charts) for name, charts in draws.items() if charts}


def _certificate(model: Model, method: str | None) -> Certificate | None:
    """The model's certificate by the method or, without one, its main certificate."""
    if method is None:
        return main_certificate(model)
    return next((one for one in model.certificates if one.method == method), None)


def _by(models: Sequence[CertifiedModel], method: str | None) -> list[tuple[int, str, Certificate]]:
    found = ((index, model.name, _certificate(model, method)) for index, model in enumerate(models))
    return [(index, name, certificate) for index, name, certificate in found if certificate is not None]


def _first_things_first(asked: Comparable) -> tuple[object, ...]:
    return (asked.norm != "l2", asked.split != "validation", asked.radius, asked.risk)


def _titled(what: str, asked: Comparable, all_asked: Sequence[Comparable]) -> str:
    """With what is unusual about a question, or tells it from the others."""
    parts = [what]
    parts += [NORMS[asked.norm]] * (asked.norm != "l2")
    parts += [f"{asked.split} images"] * (asked.split != "validation")
    parts += [f"r = {asked.radius:g}"] * (len({other.radius for other in all_asked}) > 1)
    parts += [f"risk {asked.risk:g}"] * (len({other.risk for other in all_asked}) > 1)
    return ", ".join(parts)


def _pair(certified: Certified, what: str) -> dict[str, Draw]:
    return {
        f"certified fraction, {what}": certified_fraction(certified, what),
        f"margins, {what}": margin_histogram(certified, what),
    }


def _compared(models: Sequence[Model], norm: str, method: str | None) -> list[Compared]:
    """Certificates, as `_certificate` chooses them, beside attacks, for the models that have both."""
    pairs = (compare(index, model, _certificate(model, method)) for index, model in enumerate(models))
    return [pair for pair in pairs if pair is not None and pair.certificate.norm == norm]
