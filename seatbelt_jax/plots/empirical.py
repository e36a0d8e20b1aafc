"""Certified margins against upper bounds by attacks (Camuto et al. 2021, Fig. 5 and 6)."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from matplotlib.axes import Axes

from seatbelt_jax.plots.certificates import Model, named
from seatbelt_jax.plots.charts import INK, MUTED, Draw, series_colour, series_style, tick_axis, tick_tens, value_axis
from seatbelt_jax.plots.text import number
from seatbelt_jax.results import NORMS, Certificate, EmpiricalMargin

_POINTS = 200
# Axes are logarithmic where the upper bounds are more than so many times the certified margins.
_FAR = 4.0


@dataclasses.dataclass(frozen=True)
class Compared:
    """A model's certificate and its attacks, of the same r, risk and norm; index is the model's number."""

    index: int
    name: str
    certificate: Certificate
    empirical: EmpiricalMargin

    @property
    def margins(self) -> tuple[Float[np.ndarray, " image"], Float[np.ndarray, " image"]]:
        """The certified margin, 0 where abstained, and the upper bound of the images that have both."""
        images = min(len(self.certificate.radius), len(self.empirical.upper))
        return self.certificate.radius[:images], self.empirical.upper[:images]

    @property
    def found(self) -> Bool[np.ndarray, " image"]:
        certified, upper = self.margins
        return np.isfinite(certified) & np.isfinite(upper)


def compare(index: int, model: Model, certificate: Certificate | None) -> Compared | None:
    """The certificate with the model's attacks; None where no attack has the same r, risk, norm and split."""
    for empirical in model.empirical:
        if certificate is not None and empirical.comparable == certificate.comparable:
            return Compared(index, model.name, certificate, empirical)
    return None


def certified_against_empirical(compared: Sequence[Compared], what: str) -> Draw:
    """Each dot an image: the certified margin, and what an attack showed it to be at most.

    Both axes have the same limits, so that y = x is the diagonal, which no dot may lie below; they are logarithmic
    where attacks stay so far above it that dots would all lie at the left edge. Such an axis has no place for images
    without a certificate.
    """

    def draw(axes: Axes) -> None:
        certified, upper = (np.concatenate([one.margins[side][one.found] for one in compared]) for side in (0, 1))
        both = (certified > 0.0) & (upper > 0.0)
        logarithmic = bool(both.any() and np.median(upper[both]) > _FAR * np.median(certified[both]))
        for name, one in zip(_names(compared), compared, strict=True):
            x, y = (margins[one.found] for margins in one.margins)
            axes.plot(x, y, "o", ms=3.5, mew=0, alpha=0.8, color=series_colour(one.index), label=name)
        if logarithmic:
            low, high = certified[both].min() / 1.4, upper[both].max() * 1.4
            axes.set_xscale("log")
            axes.set_yscale("log")
        else:
            low, high = 0.0, 1.1 * float(max(certified.max(initial=0.0), upper.max(initial=0.0))) or 1.0
        ends = np.array([low, high])
        axes.plot(ends, ends, color=MUTED, lw=1.0, label="y = x")
        if len(certified) > 2 and np.ptp(certified) > 0.0 and np.ptp(upper) > 0.0:
            slope, offset = np.polyfit(certified, upper, 1)
            correlation = np.corrcoef(certified, upper)[0, 1]
            # Where there are dots: on logarithmic axes it is a curve.
            along = np.linspace(certified.min(), certified.max(), _POINTS)
            fitted = offset + slope * along
            drawn = (along > 0.0) & (fitted > 0.0) if logarithmic else np.ones(_POINTS, bool)
            words = f"best fit, correlation {number(correlation, 2)}"
            axes.plot(along[drawn], fitted[drawn], color=INK, lw=1.0, ls="--", label=words)
        axes.set_xlim(low, high)
        axes.set_ylim(low, high)
        missed = sum(int(np.count_nonzero(~one.found)) for one in compared)
        abstained = int(np.count_nonzero(~both)) if logarithmic else 0
        unseen = [f"{missed} not found"] * (missed > 0) + [f"{abstained} without a certificate"] * (abstained > 0)
        axes.set_xlabel(f"certified margin by {what}, {_norms(compared)} in pixel units")
        value_axis(
            axes, "margin at most, by attack" + (f" ({', '.join(unseen)})" if unseen else ""), logarithmic=logarithmic
        )
        if logarithmic:
            tick_tens(axes.xaxis, low, high)
        else:
            tick_axis(axes.xaxis)
        # Below the diagonal there should be nothing.
        _legend(axes, loc="lower right")

    return draw


def probability_against_norm(compared: Sequence[Compared]) -> Draw:
    """P(||Delta|| <= r) along the direction found for each image: the median over images and their middle half.

    Beyond the end of an image's curve its last value stands. A triangle marks the median certified margin.
    """

    def draw(axes: Axes) -> None:
        # Half of the curves reach at least as far.
        right = max(float(np.median(one.empirical.curve_norms[:, -1])) for one in compared)
        norms = np.linspace(0.0, right or 1.0, _POINTS)
        for name, one in zip(_names(compared), compared, strict=True):
            found = zip(one.empirical.curve_norms, one.empirical.curve_probability, strict=True)
            curves = [np.interp(norms, *curve) for curve in found]
            low, middle, high = np.quantile(curves, [0.25, 0.5, 0.75], axis=0)
            colour = series_colour(one.index)
            axes.fill_between(norms, low, high, color=colour, alpha=0.15, lw=0)
            axes.plot(norms, middle, color=colour, ls=series_style(one.index), label=name)
            certified = float(np.median(one.certificate.radius))
            axes.plot(certified, one.certificate.risk, "^", ms=6, color=colour, mec="white", mew=0.6, clip_on=False)
        risks = sorted({one.certificate.risk for one in compared})
        for risk in risks:
            axes.axhline(risk, color=MUTED, lw=1.0, ls=":")
        axes.plot([], [], ":", color=MUTED, lw=1.0, label="risk")
        axes.plot([], [], "^", ms=6, color=MUTED, mec="white", label="median certified margin")
        axes.set_xlim(0.0, norms[-1])
        axes.set_ylim(0.0, 1.03)
        tick_axis(axes.xaxis)
        axes.set_xlabel(f"‖d‖ along the directions found, {_norms(compared)} in pixel units")
        radii = ", ".join(
            f"{radius:g}" for radius in sorted({one.certificate.reconstruction_radius for one in compared})
        )
        value_axis(axes, f"P(‖Δ‖ ≤ r), r = {radii}; medians and middle halves of images")
        _legend(axes)

    return draw


def _names(compared: Sequence[Compared]) -> list[str]:
    """Names for a legend, with the methods where these differ."""
    certified = [(one.index, one.name, one.certificate) for one in compared]
    return [", ".join(name.split("\n")) for _, name, _ in named(certified)]


def _norms(compared: Sequence[Compared]) -> str:
    return ", ".join(dict.fromkeys(NORMS[one.certificate.norm] for one in compared))


def _legend(axes: Axes, **where: Any) -> None:
    """A legend where there is most room; a directory may be called $x$, which is not a formula."""
    for words in axes.legend(frameon=False, fontsize=8.0, labelcolor=MUTED, handlelength=1.6, **where).get_texts():
        words.set_parse_math(False)
