"""What attacks cost, and pictures of them: figures that stand by themselves."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes

from seatbelt_jax.plots.attacks import nearest, shown_pairs, tiles
from seatbelt_jax.plots.charts import Draw, label_ends, series_colour, series_style, tick_axis, value_axis
from seatbelt_jax.plots.papers import Tiles
from seatbelt_jax.plots.sweeps import Sweep
from seatbelt_jax.plots.text import number, percent

# Shares of the way to the target, and how opaque their lines are.
WAYS = {0.5: 1.0, 0.9: 0.45}
_COLUMNS = ("x", "x + d", "d", "x\ndrawn", "x + d\ndrawn", "target", "target\ndrawn")


def cost_chart(sweep: Sweep, costs: Sequence[Sequence[Float[np.ndarray, " pair"]]]) -> Draw:
    """The share of pairs that attacks of at most a norm move half way to the target, and nine tenths of the way.

    Args:
      costs: of each model of the sweep, for each of `WAYS`: the least ||d|| by pair that gets there.
    """

    def draw(axes: Axes) -> None:
        ends: list[tuple[str, float, str]] = []
        right = max(float(np.nanmax(attack.distortion_norm)) for _, _, attack in sweep.swept) or 1.0
        for (index, model, _), of_model in zip(sweep.swept, costs, strict=True):
            for found, alpha in zip(of_model, WAYS.values(), strict=True):
                x, y = _steps(found, right)
                axes.step(x, y, where="post", color=series_colour(index), ls=series_style(index), alpha=alpha)
            ends.append((model.name, float(y[-1]), series_colour(index)))
        axes.set_xlim(0.0, right)
        axes.set_ylim(0.0, 1.03)
        tick_axis(axes.xaxis)
        axes.set_xlabel("‖d‖, L2 in pixel units")
        value_axis(axes, "share of pairs half way to the target (pale: 9/10)")
        if len(ends) > 1:
            label_ends(axes, ends)

    return draw


def _steps(
    costs: Float[np.ndarray, " pair"], right: float
) -> tuple[Float[np.ndarray, " step"], Float[np.ndarray, " step"]]:
    """The share of pairs whose cost is at most x, where it changes and at both ends."""
    x = np.array([0.0, *np.sort(costs[np.isfinite(costs)]), right])
    return x, np.mean(costs[:, None] <= x, axis=0)


def attack_tiles(sweep: Sweep, position: int, size: float) -> Tiles:
    """Pairs of the model at a position of the sweep under attack, at distortions of about a size."""
    _, model, attack = sweep.swept[position]
    columns, pairs = nearest(attack, size), shown_pairs(attack)
    count = len(_COLUMNS) if attack.targeted else 5
    rows = [tiles(attack, pair, int(columns[pair]))[:count] for pair in pairs]
    notes = []
    for pair in pairs:
        note = f"‖d‖ = {number(float(attack.distortion_norm[pair, columns[pair]]))}"
        if attack.targeted:
            way = 1.0 - attack.distance_left[pair, columns[pair]] / attack.distance_at_start[pair]
            note += f", {percent(max(float(way), 0.0))} of the way"
        notes.append(note)
    names = [f"pair {pair + 1}" for pair in pairs]
    return Tiles(model.name, np.array(rows), attack.image_range, names, _COLUMNS[:count], notes)
