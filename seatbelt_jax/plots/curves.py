"""Learning curves: one small chart per metric, every model in it."""

import re
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes

from seatbelt_jax.plots.charts import Draw, label_ends, series_colour, series_style, tick_axis, value_axis
from seatbelt_jax.plots.results import ModelResults

# More points than this no screen shows; neighbours are averaged.
_MOST_POINTS = 240
# The first steps are orders of magnitude off and would flatten everything after them.
_SETTLED_AFTER = 0.1

_ESTIMATORS = {"mws": "minibatch-weighted", "mss": "stratified", "exact": "exact"}


def learning_charts(models: Sequence[ModelResults]) -> dict[str, Draw]:
    """The metrics worth a chart among those the models have, by name, in reading order."""
    found = {name for model in models for row in model.metrics for name in row}
    order: list[str] = [name for name in ("elbo", "log_likelihood") if name in found]
    order += sorted((name for name in found if re.fullmatch(r"kl_\d+", name)), key=lambda name: int(name[3:]))
    order += sorted(name for name in found if name.startswith("total_correlation_"))
    return {name: _chart(models, name) for name in order}


def _chart(models: Sequence[ModelResults], name: str) -> Draw:
    def draw(axes: Axes) -> None:
        ends, settled = [], []
        for index, model in enumerate(models):
            colour = series_colour(index)
            train, validation = (_series(model, split, name) for split in ("train", "validation"))
            if len(train):
                shown = _averaged(train)
                alone = not len(validation)
                axes.plot(*shown.T, color=colour, alpha=1.0 if alone else 0.45, lw=1.2, ls=series_style(index))
            if len(validation):
                axes.plot(*validation.T, color=colour, marker="o", markersize=3.5, ls=series_style(index))
            settled += [_settled(series) for series in (train, validation) if len(series)]
            if len(validation) or len(train):
                ends.append((model.name, (validation if len(validation) else shown)[-1, 1], colour))
        if settled:
            _frame(axes, np.concatenate(settled))
        axes.set_xlim(left=0.0)
        axes.set_xlabel("training step")
        tick_axis(axes.xaxis, whole=True)
        splits = {row["split"] for model in models for row in model.metrics if name in row}
        value_axis(axes, _title(name) + (f" ({splits.pop()})" if len(splits) == 1 else ""))
        if len(models) > 1:
            label_ends(axes, ends)

    return draw


def _series(model: ModelResults, split: str, name: str) -> Float[np.ndarray, "point 2"]:
    """(step, value) where the value is a finite number."""
    points = [(row["step"], row[name]) for row in model.metrics if row["split"] == split and name in row]
    series = np.array(points, np.float64).reshape(-1, 2)
    return series[np.isfinite(series).all(axis=1)]


def _settled(series: Float[np.ndarray, "point 2"]) -> Float[np.ndarray, " value"]:
    return series[series[:, 0] >= _SETTLED_AFTER * series[-1, 0], 1]


def _averaged(series: Float[np.ndarray, "point 2"]) -> Float[np.ndarray, "shown 2"]:
    if len(series) <= _MOST_POINTS:
        return series
    return np.array([block.mean(axis=0) for block in np.array_split(series, _MOST_POINTS)])


def _frame(axes: Axes, values: Float[np.ndarray, " value"]) -> None:
    low, high = float(values.min()), float(values.max())
    margin = 0.06 * (high - low) or 1.0
    axes.set_ylim(low - margin, high + margin)


def _title(name: str) -> str:
    if name == "elbo":
        return "ELBO, nats per image"
    if name == "log_likelihood":
        return "log-likelihood E log p(x|z), nats per image"
    if name.startswith("kl_"):
        return f"KL of latent layer {name[3:]}, nats per image"
    estimator = name.removeprefix("total_correlation_")
    return f"total correlation, {_ESTIMATORS.get(estimator, estimator)} estimate from one path an image, nats"
