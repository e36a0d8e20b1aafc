"""Attacks against their budgets, and the images that they made."""

import warnings
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes

from seatbelt_jax.plots.charts import Draw, budget_axis, label_ends, series_colour, series_style, value_axis
from seatbelt_jax.plots.images import distortion_image, image_grid
from seatbelt_jax.plots.results import MeasuredAttack
from seatbelt_jax.plots.sweeps import Sweep, budget_label, objective_label
from seatbelt_jax.plots.text import MINUS

# The most bytes of all frames of one model's slider, before compression.
_FRAME_BUDGET = 1_200_000
# And all sliders of a page: as base64 of PNG that compress badly, less than 10 MB.
_ALL_FRAMES = 6_000_000
_MOST_STEPS = 17
_LEAST_STEPS = 3
# Pictures of a pair that change with the budget.
_TILES = 5
_MOST_PAIRS = 4
# Single attacks are marked on lines through fewer than these.
_FEW_BUDGETS = 12
_DECADE = 10.0
# What lies below zero by less than this share of the largest value is rounding.
_ROUNDING = 1e-4


def shown_pairs(attack: MeasuredAttack, galleries: int = 1) -> range:
    """The pairs that the page shows in each of so many galleries."""
    most = _frame_room(galleries) // (_LEAST_STEPS * _TILES * attack.sources[0].size)
    return range(min(int(np.clip(most, 1, _MOST_PAIRS)), len(attack.sources)))


def slider_steps(attack: MeasuredAttack, galleries: int = 1) -> list[int]:
    """The budgets that the page's slider stops at, as indices: as many as it can carry, evenly spread, rising."""
    tiles = _TILES * len(shown_pairs(attack, galleries)) * attack.sources[0].size
    count = int(np.clip(_frame_room(galleries) // tiles, _LEAST_STEPS, _MOST_STEPS))
    chosen = sorted({int(index) for index in np.linspace(0, len(attack.budgets) - 1, count).round()})
    return [int(index) for index in np.argsort(attack.budgets)[chosen]]


def _frame_room(galleries: int) -> int:
    return min(_FRAME_BUDGET, _ALL_FRAMES // galleries)


def common_size(sweep: Sweep) -> float:
    """The ||d|| at which all models are shown: the middle one of what it takes to move their reconstructions half way.

    Where that is not known, the median of all distortions.
    """
    half_way = [attack.summary.get("median_distortion_half_way_l2", np.nan) for _, _, attack in sweep.swept]
    known = [size for size in half_way if np.isfinite(size)]
    if not known:
        norms = np.concatenate([attack.distortion_norm.ravel() for _, _, attack in sweep.swept])
        known = norms[np.isfinite(norms) & (norms > 0.0)].tolist() or [0.0]
    return float(np.median(known))


def nearest(attack: MeasuredAttack, size: float) -> Int[np.ndarray, " pair"]:
    """For each pair the budget, as an index, whose attack has a ||d|| nearest to `size`."""
    away = np.where(np.isfinite(attack.objective), np.abs(attack.distortion_norm - size), np.inf)
    return np.argmin(away, axis=1)


def frame(attack: MeasuredAttack, pair: int, column: int) -> tuple[bytes, bytes]:
    """One attack as PNG, one screen pixel per pixel, which the page blows up.

    Returns x, x + d and d in a row, and what is drawn from x and x + d.
    """
    shown = tiles(attack, pair, column)
    return _row(shown[:3], attack.image_range), _row(shown[3:5], attack.image_range)


def target_row(attack: MeasuredAttack, pair: int) -> bytes:
    """The target and its reconstruction."""
    return _row([attack.targets[pair], attack.target_reconstructions[pair]], attack.image_range)


def attack_charts(sweep: Sweep) -> dict[str, Draw]:
    """The charts of one kind of attack, by name."""
    drawn = {"objective": _objective(sweep)}
    if sweep.first.targeted:
        drawn["target_likelihood"] = _likelihood(sweep)
    return drawn


def _objective(sweep: Sweep) -> Draw:
    """Delta against the budget; under penalties, whose cost grows with lambda, by orders of magnitude."""

    def draw(axes: Axes) -> None:
        values = [attack.objective for _, _, attack in sweep.swept]
        logarithmic = not sweep.first.is_ball and _wants_logarithm(values)
        ends = _bands(axes, sweep, values, logarithmic)
        value_axis(axes, objective_label(sweep.first), logarithmic=logarithmic)
        _label(axes, sweep, ends)

    return draw


def _likelihood(sweep: Sweep) -> Draw:
    """-log p(x^t|z*) against the budget; dashed, the value for the target's own code."""

    def draw(axes: Axes) -> None:
        cleans = [float(np.median(attack.clean_negative_log_likelihood)) for _, _, attack in sweep.swept]
        values = [attack.negative_log_likelihood for _, _, attack in sweep.swept]
        logarithmic = _wants_logarithm([*values, np.array(cleans)])
        ends = _bands(axes, sweep, values, logarithmic)
        for (index, _, _), clean in zip(sweep.swept, cleans, strict=True):
            axes.axhline(clean, color=series_colour(index), ls=(0, (4, 3)), lw=1.0, alpha=0.9)
        value_axis(axes, f"{MINUS}log p(xᵗ|z*), nats", logarithmic=logarithmic)
        _label(axes, sweep, ends)

    return draw


def tiles(attack: MeasuredAttack, pair: int, column: int) -> list[np.ndarray]:
    """x, x + d, d; what is drawn from x and x + d; the target and what is drawn from it."""
    source, adversarial = attack.sources[pair], attack.adversarial[pair, column]
    return [
        source,
        adversarial,
        distortion_image(adversarial - source, attack.image_range),
        attack.source_reconstructions[pair],
        attack.adversarial_reconstructions[pair, column],
        attack.targets[pair],
        attack.target_reconstructions[pair],
    ]


def _row(images: Sequence[np.ndarray], image_range: tuple[float, float]) -> bytes:
    return image_grid(np.array([images]), image_range, scale=1)


def _wants_logarithm(values: Sequence[np.ndarray]) -> bool:
    """Whether numbers are shown on a logarithmic axis: none is negative, and they span more than a decade."""
    known = np.concatenate([np.ravel(array) for array in values])
    known = known[np.isfinite(known)]
    positive = known[known > 0.0]
    if not positive.size or known.min() < -_ROUNDING * positive.max():
        return False
    return bool(positive.max() > _DECADE * positive.min())


def _bands(
    axes: Axes, sweep: Sweep, values: Sequence[Float[np.ndarray, "pair budget"]], logarithmic: bool
) -> list[float]:
    """Draws, for each model, the median over pairs and the middle half; returns where the medians end."""
    budgets = np.concatenate([attack.budgets for _, _, attack in sweep.swept])
    # A ball of radius 0 is a point of the curve; a penalty of 0 has no place among powers of two.
    shown = budgets if sweep.first.is_ball else budgets[budgets > 0.0]
    logarithmic_budgets = _wants_logarithm([shown]) and shown.min() > 0.0
    ends = []
    for (index, _, attack), of_pairs in zip(sweep.swept, values, strict=True):
        order = np.argsort(attack.budgets)
        order = order[attack.budgets[order] > 0.0] if logarithmic_budgets else order
        ends.append(_band(axes, index, attack.budgets[order], of_pairs[:, order], logarithmic))
    budget_axis(axes, budget_label(sweep.first), logarithmic=logarithmic_budgets, powers_of_two=not sweep.first.is_ball)
    return ends


def _band(
    axes: Axes,
    index: int,
    budgets: Float[np.ndarray, " budget"],
    values: Float[np.ndarray, "pair budget"],
    logarithmic: bool,
) -> float:
    with warnings.catch_warnings():
        # A budget under which no attack has a value leaves a gap in the line.
        warnings.simplefilter("ignore", RuntimeWarning)
        quantiles = np.nanquantile(np.where(np.isfinite(values), values, np.nan), (0.25, 0.5, 0.75), axis=0)
    # So does a median of 0 where the axis has no place for it.
    low, middle, high = np.where((quantiles > 0.0) | (not logarithmic), quantiles, np.nan)
    colour, marker = series_colour(index), "o" if len(budgets) < _FEW_BUDGETS else ""
    axes.fill_between(budgets, low, high, color=colour, alpha=0.16, lw=0)
    axes.plot(budgets, middle, color=colour, ls=series_style(index), marker=marker, markersize=3.5)
    known = middle[np.isfinite(middle)]
    return float(known[-1]) if len(known) else float("nan")


def _label(axes: Axes, sweep: Sweep, ends: Sequence[float]) -> None:
    if len(sweep.swept) > 1:
        named = zip(sweep.swept, ends, strict=True)
        label_ends(
            axes, [(model.name, end, series_colour(index)) for (index, model, _), end in named if np.isfinite(end)]
        )
