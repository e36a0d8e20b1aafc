"""The Swiss roll through models with two latents, laid out like Fig. A.7 of Willetts et al. 2021."""

import dataclasses
import io
from collections.abc import Mapping

import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.patches import Circle
from PIL import Image

from seatbelt_jax.plots.charts import INK, MUTED, RULE, SETTINGS, series_colour
from seatbelt_jax.plots.text import MINUS, tick

_POINT_AREA = 3.0  # square points of 1/72 inch
_PANEL = 2.0  # inches
_PRIOR_RADII = (1.0, 2.0, 3.0)
_HEADING_SIZE = 10.5
_KEY = (
    "dashed: prior at 1, 2, 3 stds",
    "grey: the data",
    "TC: total correlation, nats",
    "MI: mutual information, nats",
    "ELBO: without β, nats",
    "error: RMS distance",
)


@dataclasses.dataclass(frozen=True)
class RollModel:
    """What the figure shows of one model.

    Attributes:
      latents: a sample of each point's posterior, [point, 2].
      reconstructions: the means that these decode to, (x, y, z) each, [point, 3].
      elbo: without beta, nats.
      error: root mean squared distance between a point and its reconstruction.
      total_correlation, mutual_information: of the aggregate posterior, nats.
    """

    latents: Float[np.ndarray, "point 2"]
    reconstructions: Float[np.ndarray, "point 3"]
    elbo: float
    error: float
    total_correlation: float
    mutual_information: float


def swiss_roll_figure(
    points: Float[np.ndarray, "point 3"],
    position: Float[np.ndarray, " point"],
    vae: RollModel,
    penalised: Mapping[float, tuple[RollModel, RollModel]],
) -> bytes:
    """A PNG: data and VAE above, then a row for each beta, its beta-VAE at the left and its beta-TCVAE at the right.

    Args:
      points: the data, (x, y, z) in [-1, 1]; shown are x and z, along the roll's axis.
      position: where along the roll each point lies, in [0, 1]; colours it in every panel.
      vae: the model without penalty.
      penalised: beta -> (beta-VAE, beta-TCVAE).

    Raises:
      ValueError: where there is no penalised model, or a model has another number of points.
    """
    if not penalised:
        raise ValueError("penalised names no model; give one beta at least")
    models = [vae, *(model for pair in penalised.values() for model in pair)]
    for model in models:
        if len(model.latents) != len(points) or len(model.reconstructions) != len(points):
            raise ValueError(
                f"each model must show all {len(points)} points, got {len(model.latents)} latents and "
                f"{len(model.reconstructions)} reconstructions"
            )
    reach = max(_PRIOR_RADII[-1], *(float(np.abs(model.latents).max()) for model in models)) * 1.03
    rows = 1 + len(penalised)
    width, height = 4.75 * _PANEL, (1.16 * rows + 0.62) * _PANEL
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(width, height))
        # The first row stands apart: below it come the names of the two columns of models.
        top, below = 1.0 - 0.32 * _PANEL / height, 1.0 - (1.0 + 0.84) * _PANEL / height
        above = _cells(figure, 1, top, top - _PANEL / height)
        cells = _cells(figure, rows - 1, below, 0.12 * _PANEL / height)
        _draw_key(figure.add_subplot(above[0, 0]))
        data = figure.add_subplot(above[0, 1])
        _draw_roll(data, points, position)
        data.set_title("data, seen along the axis", fontsize=9.0, color=MUTED)
        _name(*_draw_model(figure, above, (0, 1), vae, position, points, reach), "VAE", INK)
        for row, (beta, pair) in enumerate(penalised.items()):
            for side, (model, name) in enumerate(zip(pair, ("β-VAE", "β-TCVAE"), strict=True)):
                panels = _draw_model(figure, cells, (row, side), model, position, points, reach)
                if row == 0:
                    _name(*panels, name, series_colour(side))
                if side == 0:
                    panels[0].set_ylabel(f"β = {tick(beta)}", color=INK, fontsize=_HEADING_SIZE)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=160)
    # A palette of the colours that there are takes a third of the bytes.
    picture, small = Image.open(buffer).convert("RGB"), io.BytesIO()
    picture.quantize(256, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)
    return small.getvalue()


def _cells(figure: Figure, rows: int, top: float, bottom: float) -> GridSpec:
    """Rows of two pairs of panels, a gap between the pairs."""
    ratios = (1.0, 1.0, 0.16, 1.0, 1.0)
    return GridSpec(
        rows, 5, figure, width_ratios=ratios, left=0.05, right=0.99, top=top, bottom=bottom, wspace=0.08, hspace=0.16
    )


def _draw_model(
    figure: Figure,
    cells: GridSpec,
    place: tuple[int, int],
    model: RollModel,
    position: Float[np.ndarray, " point"],
    points: Float[np.ndarray, "point 3"],
    reach: float,
) -> tuple[Axes, Axes]:
    """Aggregate posterior and reconstructions beside each other at (row, side)."""
    row, side = place
    left, right = (figure.add_subplot(cells[row, 3 * side + column]) for column in range(2))
    _frame(left, reach)
    _scatter(left, model.latents, position)
    for radius in _PRIOR_RADII:
        left.add_patch(Circle((0.0, 0.0), radius, fill=False, color=INK, lw=0.7, alpha=0.75, ls=(0, (4, 3)), zorder=3))
    left.set_xlabel(f"TC {_fixed(model.total_correlation, 3)}, MI {_fixed(model.mutual_information, 2)}")
    _draw_roll(right, model.reconstructions, position, points)
    right.set_xlabel(f"ELBO {_fixed(model.elbo, 1)}, error {_fixed(model.error, 2)}")
    return left, right


def _fixed(value: float, decimals: int) -> str:
    """So many decimals, as the numbers of a column have; no zero is negative."""
    return f"{value:z.{decimals}f}".replace("-", MINUS)


def _colours() -> Colormap:
    """Dark at the roll's inner end to light at its outer one, but dark enough there for a white page."""
    return LinearSegmentedColormap.from_list("roll", matplotlib.colormaps["plasma"](np.linspace(0.0, 0.88, 256)))


def _draw_roll(
    axes: Axes,
    points: Float[np.ndarray, "point 3"],
    position: Float[np.ndarray, " point"],
    behind: Float[np.ndarray, "point 3"] | None = None,
) -> None:
    _frame(axes, 1.12)
    if behind is not None:
        axes.scatter(behind[:, 0], behind[:, 2], s=_POINT_AREA, color=RULE, linewidths=0)
    _scatter(axes, points[:, ::2], position)


def _scatter(axes: Axes, points: Float[np.ndarray, "point 2"], position: Float[np.ndarray, " point"]) -> None:
    axes.scatter(
        points[:, 0], points[:, 1], c=position, cmap=_colours(), vmin=0.0, vmax=1.0, s=_POINT_AREA, linewidths=0
    )


def _frame(axes: Axes, reach: float) -> None:
    """A square around the origin, without ticks: panels of a kind have the same."""
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), xticks=[], yticks=[], aspect="equal")
    axes.spines[:].set_visible(True)


def _name(left: Axes, right: Axes, name: str, colour: str) -> None:
    """Says what model two panels show, and what they show of it."""
    left.set_title("aggregate posterior q(z)", fontsize=9.0, color=MUTED)
    right.set_title("reconstructions", fontsize=9.0, color=MUTED)
    _heading(left, name, colour)


def _heading(axes: Axes, text: str, colour: str) -> None:
    axes.annotate(
        text,
        (0.0, 1.0),
        xytext=(0.0, 25.0),
        xycoords="axes fraction",
        textcoords="offset points",
        color=colour,
        fontsize=_HEADING_SIZE,
        fontweight="bold",
    )


def _draw_key(axes: Axes) -> None:
    """What colours, circles and numbers mean."""
    axes.set_axis_off()
    _heading(axes, "Swiss roll", INK)
    for line, text in enumerate(_KEY):
        axes.text(0.0, 0.98 - 0.095 * line, text, va="top", fontsize=8.0, color=MUTED)
    bar = axes.inset_axes((0.0, 0.13, 0.92, 0.06))
    bar.imshow(np.linspace(0.0, 1.0, 256)[None], cmap=_colours(), aspect="auto")
    bar.set_axis_off()
    for along, text, side in ((0.0, "inner end", "left"), (0.92, "outer end", "right")):
        axes.text(along, 0.09, text, ha=side, va="top", fontsize=8.0, color=MUTED)
