"""Certified margins: how they are spread and what share of the images they cover."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes

from seatbelt_jax.plots.charts import Draw, label_ends, label_point, series_colour, series_style, tick_axis, value_axis
from seatbelt_jax.plots.results import CertificateData

Certified = Sequence[tuple[int, str, CertificateData]]

_BINS = 24
_POINTS = 400


def margin_histogram(certified: Certified, method: str) -> Draw:
    """Images per bin of the certified margin, abstentions left out; (number of the model, name, data)."""

    def draw(axes: Axes) -> None:
        edges = np.linspace(0.0, _largest(certified), _BINS + 1)
        for index, _, certificate in certified:
            colour = series_colour(index)
            counts, _ = np.histogram(_claimed(certificate), edges)
            axes.stairs(counts, edges, color=colour, fill=True, alpha=0.18)
            axes.stairs(counts, edges, color=colour, lw=1.4, ls=series_style(index))
        axes.set_xlim(0.0, edges[-1])
        tick_axis(axes.xaxis)
        axes.set_xlabel("certified margin, L2 in pixel units")
        value_axis(axes, f"images per bin of margin, {method}")
        axes.set_ylim(bottom=0)
        if len(certified) > 1:
            top = axes.get_ylim()[1]
            label_ends(axes, [(name, top, series_colour(index)) for index, name, _ in certified])

    return draw


def certified_fraction(certified: Certified, method: str) -> Draw:
    """The share of all images, abstentions counted as not certified, whose margin is at least the radius."""

    def draw(axes: Axes) -> None:
        radii = np.linspace(0.0, _largest(certified), _POINTS)
        for position, (index, name, certificate) in enumerate(certified):
            held = np.where(certificate.abstained, 0.0, certificate.radius)
            # At radius 0 only what carries a claim counts.
            share = np.mean((held[:, None] >= radii) & (held[:, None] > 0.0), axis=0)
            axes.plot(radii, share, color=series_colour(index), ls=series_style(index))
            if len(certified) > 1:
                # Beside the curve, each name a little lower than the one before: at the right all are near zero.
                level = share[0] * max(0.8 - 0.11 * position, 0.1)
                label_point(axes, name, float(radii[np.argmax(share <= level)]), level, series_colour(index))
        axes.set_xlim(0.0, radii[-1])
        axes.set_ylim(0.0, 1.03)
        tick_axis(axes.xaxis)
        axes.set_xlabel("radius, L2 in pixel units")
        value_axis(axes, f"share of images certified, {method}")

    return draw


def _claimed(certificate: CertificateData) -> Float[np.ndarray, " claim"]:
    return certificate.radius[~certificate.abstained & np.isfinite(certificate.radius)]


def _largest(certified: Certified) -> float:
    values = np.concatenate([_claimed(certificate) for _, _, certificate in certified])
    return float(values.max()) * 1.02 if len(values) and values.max() > 0.0 else 1.0
