"""Certified margins: how they are spread and what share of the images they cover."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes

from seatbelt_jax.plots.charts import (
    MUTED,
    Draw,
    budget_axis,
    label_ends,
    label_point,
    series_colour,
    series_style,
    tick_axis,
    value_axis,
)
from seatbelt_jax.plots.results import CertifiedModel, ModelResults
from seatbelt_jax.results import NORMS, Certificate, MinimalRobustRadius

# (number of the curve, its name, data); all of one norm.
Certified = Sequence[tuple[int, str, Certificate]]

Model = ModelResults | CertifiedModel

# The methods of one model, the first to be shown first: what is sound before what is of first order.
PREFERRED = ("best_sound", "pathwise", "hybrid", "lipschitz", "linear_region", "hierarchical", "spectral", "camuto")
_BINS = 24
_POINTS = 400
# Height of a row of a histogram, where each has height 1 to itself.
_ROW = 0.86
# Width of a letter, of the axis.
_LETTER = 0.02
# Typical margins that differ by more than this ratio share no linear axis.
_WIDE = 20.0


def main_of(certificates: Sequence[Certificate]) -> Certificate | None:
    """The main certificate, for places with room for one: of L2 margins and validation images if there is any."""
    ranks = {method: rank for rank, method in enumerate(PREFERRED)}
    return min(
        certificates,
        key=lambda one: (one.norm != "l2", one.split != "validation", ranks.get(one.method, len(ranks))),
        default=None,
    )


def main_certificate(model: Model) -> Certificate | None:
    """The model's main certificate, for places with room for one."""
    return main_of(model.certificates)


def named(certified: Certified) -> Certified:
    """With the method below each model's name where methods differ, so that a chart says what it compares."""
    if len({certificate.method for _, _, certificate in certified}) == 1:
        return certified
    return [
        (index, name if name == certificate.method else f"{name}\n{certificate.method}", certificate)
        for index, name, certificate in certified
    ]


def margin_histogram(certified: Certified, what: str) -> Draw:
    """Images per bin of the certified margin without abstentions; more than two certificates have a row each."""

    def draw(axes: Axes) -> None:
        edges, logarithmic = _axis(certified, _BINS + 1)
        in_rows = len(certified) > 2
        for position, (index, name, certificate) in enumerate(named(certified)):
            colour = series_colour(index)
            counts, _ = np.histogram(_claimed(certificate), edges)
            floor = len(certified) - 1 - position if in_rows else 0
            heights = floor + _ROW * counts / max(counts.max(), 1) if in_rows else counts
            axes.stairs(heights, edges, baseline=floor, color=colour, fill=True, alpha=0.18)
            axes.stairs(heights, edges, baseline=floor, color=colour, lw=1.4, ls=series_style(index))
            if in_rows:
                height = (floor + 0.5 * _ROW) / len(certified)
                label_point(axes, name, 1.0, height, colour, coordinates="axes fraction")
        axes.set_xlim(edges[0], edges[-1])
        budget_axis(axes, _label("certified margin", certified), logarithmic=logarithmic, powers_of_two=False)
        if in_rows:
            value_axis(axes, f"images per bin of margin, {what}")
            axes.set_ylim(0, len(certified))
            axes.set_yticks([])
            return
        value_axis(axes, f"images per bin of margin, {what}", whole=True)
        axes.set_ylim(bottom=0)
        if len(certified) == 2:
            top = axes.get_ylim()[1]
            largest_last = sorted(certified, key=lambda entry: float(np.median(entry[2].radius)))
            label_ends(axes, [(name, top, series_colour(index)) for index, name, _ in named(largest_last)])

    return draw


def certified_fraction(certified: Certified, what: str) -> Draw:
    """The share of all images, abstentions counted as not certified, whose margin is at least the radius."""

    def draw(axes: Axes) -> None:
        radii, logarithmic = _axis(certified, _POINTS)
        curves = []
        for index, name, certificate in named(certified):
            held = np.where(certificate.abstained, 0.0, certificate.radius)
            # At radius 0 only what carries a claim counts.
            share = np.mean((held[:, None] >= radii) & (held[:, None] > 0.0), axis=0)
            axes.plot(radii, share, color=series_colour(index), ls=series_style(index))
            curves.append((name, share, series_colour(index)))
        axes.set_xlim(radii[0], radii[-1])
        axes.set_ylim(0.0, 1.03)
        budget_axis(axes, _label("radius", certified), logarithmic=logarithmic, powers_of_two=False)
        value_axis(axes, f"share of images certified, {what}")
        _name_curves(axes, radii, curves)

    return draw


def margin_against(certified: Sequence[tuple[int, str, Certificate, float]], setting: str, what: str) -> Draw:
    """Medians of the margin, abstentions counted as 0, and the middle halves, against a setting of the models.

    Camuto et al. 2021, Fig. 7 and 9. Each entry ends with the model's value of the setting.
    """

    def draw(axes: Axes) -> None:
        names = [name for _, name, _ in named([entry[:3] for entry in certified])]
        for name, (index, _, certificate, value) in zip(names, certified, strict=True):
            low, middle, high = np.quantile(certificate.radius, [0.25, 0.5, 0.75])
            colour = series_colour(index)
            axes.errorbar(value, middle, [[middle - low], [high - middle]], fmt="o", ms=4.5, color=colour, capsize=3)
            label_point(axes, name, value, middle, colour)
        values = [value for *_, value in certified]
        # Room for the names at the right.
        span = max(values) - min(values)
        axes.set_xlim(min(values) - 0.08 * span, max(values) + 0.35 * span)
        tick_axis(axes.xaxis)
        axes.set_xlabel(setting)
        axes.set_ylim(bottom=0)
        units = ", ".join(dict.fromkeys(NORMS[certificate.norm] for _, _, certificate, _ in certified))
        value_axis(axes, f"certified margin, {units} in pixel units, {what}")

    return draw


def minimal_radii(found: Sequence[tuple[int, str, MinimalRobustRadius]], radius: float) -> Draw:
    """The share of images whose minimal r is at most r; the band is that share for the ends of their intervals.

    Args:
      found: (number of the model, its name, data).
      radius: the r certified for, which is marked.
    """

    def draw(axes: Axes) -> None:
        ends = [radius]
        for _, _, minimal in found:
            ends += [float(end) for end in minimal.upper if np.isfinite(end)] or [float(minimal.estimate.max())]
        axis = np.linspace(0.0, 1.05 * max(ends), _POINTS)
        curves = []
        for index, name, minimal in found:
            colour = series_colour(index)
            pessimistic, share, optimistic = (
                np.mean(values[:, None] <= axis, axis=0) for values in (minimal.upper, minimal.estimate, minimal.lower)
            )
            axes.fill_between(axis, pessimistic, optimistic, color=colour, alpha=0.18, lw=0)
            axes.plot(axis, share, color=colour, ls=series_style(index))
            curves.append((name, share, colour))
        axes.axvline(radius, color=MUTED, lw=1.0, ls=":")
        label_point(axes, "certified r", radius, 0.02, MUTED)
        axes.set_xlim(0.0, axis[-1])
        axes.set_ylim(0.0, 1.03)
        tick_axis(axes.xaxis)
        axes.set_xlabel("minimal r, L2 in pixel units")
        value_axis(axes, "share of images with at most this minimal r")
        _name_curves(axes, axis, curves)

    return draw


def _name_curves(
    axes: Axes, points: Float[np.ndarray, " point"], curves: Sequence[tuple[str, Float[np.ndarray, " point"], str]]
) -> None:
    """Writes the names of several monotonous curves, of shares over the same points: beside them, or at the right
    where another curve would run through a name.

    Args:
      points: evenly spaced on the axis.
      curves: (name, shares, colour).
    """
    if len(curves) < 2:
        return

    def crossing(share: Float[np.ndarray, " point"], part: float) -> tuple[int, float]:
        level = part * float(share.max())
        return int(np.argmax(share <= level if share[0] > share[-1] else share >= level)), level

    # Each name a little lower than the one before: at the ends the curves meet.
    parts = [max(0.8 - 0.11 * position, 0.1) for position in range(len(curves))]
    clear = not any("\n" in name for name, _, _ in curves) and all(
        not 0 <= crossing(other, part)[0] - crossing(share, part)[0] < _LETTER * len(points) * (len(name) + 2)
        for (name, share, _), part in zip(curves, parts, strict=True)
        for _, other, _ in curves
        if other is not share
    )
    if clear:
        for (name, share, colour), part in zip(curves, parts, strict=True):
            index, level = crossing(share, part)
            label_point(axes, name, float(points[index]), level, colour)
    else:
        rightmost_last = sorted(curves, key=lambda curve: crossing(curve[1], 0.5)[0])
        label_ends(axes, [(name, axes.get_ylim()[1], colour) for name, _, colour in rightmost_last])


def _label(quantity: str, certified: Certified) -> str:
    norms = dict.fromkeys(NORMS[certificate.norm] for _, _, certificate in certified)
    return f"{quantity}, {', '.join(norms)} in pixel units"


def _claimed(certificate: Certificate) -> Float[np.ndarray, " claim"]:
    return certificate.radius[~certificate.abstained & np.isfinite(certificate.radius)]


def _axis(certified: Certified, points: int) -> tuple[Float[np.ndarray, " point"], bool]:
    """Margins from the least shown to the largest, and whether they are spaced by ratios."""
    of_each = [_claimed(certificate) for _, _, certificate in certified]
    positive = [claimed[claimed > 0.0] for claimed in of_each if (claimed > 0.0).any()]
    if not positive:
        return np.linspace(0.0, 1.0, points), False
    values, typical = np.concatenate(positive), [np.median(claimed) for claimed in positive]
    if max(typical) > _WIDE * min(typical):
        return np.geomspace(values.min() / 1.1, values.max() * 1.1, points), True
    return np.linspace(0.0, values.max() * 1.02, points), False
