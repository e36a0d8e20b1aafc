"""Attacks against the penalty, and the images that they made."""

import dataclasses
import warnings
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes

from seatbelt_jax.plots.charts import Draw, label_ends, penalty_axis, series_colour, series_style, value_axis
from seatbelt_jax.plots.images import distortion_image, image_grid
from seatbelt_jax.plots.results import AttackData
from seatbelt_jax.plots.text import MINUS

# (number of the model, its name, its sweep)
Swept = Sequence[tuple[int, str, AttackData]]

# What the frames of one model's slider may weigh together, before compression.
_FRAME_BUDGET = 1_200_000
_MOST_STEPS = 17
_MOST_PAIRS = 4


@dataclasses.dataclass(frozen=True)
class Frame:
    """One attack as pictures of one row, PNG, and its numbers.

    Attributes:
      given: x, x + d and d.
      made: the reconstructions of x and of x + d.
    """

    given: bytes
    made: bytes
    penalty: float
    distortion: float
    distance_left: float
    distance_at_start: float


def shown_pairs(attack: AttackData) -> range:
    """The pairs that the page shows."""
    return range(min(_MOST_PAIRS, len(attack.sources)))


def slider_steps(attack: AttackData) -> list[int]:
    """The penalties that the page's slider stops at, as indices: as many as it can carry, evenly spread."""
    tiles = 5 * len(shown_pairs(attack)) * attack.sources[0].size
    count = int(np.clip(_FRAME_BUDGET // tiles, 3, _MOST_STEPS))
    return sorted({int(index) for index in np.linspace(0, len(attack.penalties) - 1, count).round()})


def frame(attack: AttackData, pair: int, penalty: int) -> Frame:
    """The pictures of one attack, one screen pixel per pixel: the page blows them up."""
    source, adversarial = attack.sources[pair], attack.adversarial[pair, penalty]
    given = [source, adversarial, distortion_image(adversarial - source, attack.image_range)]
    made = [attack.source_reconstructions[pair], attack.adversarial_reconstructions[pair, penalty]]
    return Frame(
        _row(given, attack.image_range),
        _row(made, attack.image_range),
        float(attack.penalties[penalty]),
        float(attack.distortion_norm[pair, penalty]),
        float(attack.distance_left[pair, penalty]),
        float(attack.distance_at_start[pair]),
    )


def target_row(attack: AttackData, pair: int) -> bytes:
    """The target and its reconstruction."""
    return _row([attack.targets[pair], attack.target_reconstructions[pair]], attack.image_range)


def attacked_images(attack: AttackData) -> bytes:
    """All shown pairs, each at its shown penalty, as one picture of seven columns."""
    rows = []
    for pair in shown_pairs(attack):
        column = attack.shown[pair]
        source, adversarial = attack.sources[pair], attack.adversarial[pair, column]
        rows.append(
            [
                source,
                adversarial,
                distortion_image(adversarial - source, attack.image_range),
                attack.source_reconstructions[pair],
                attack.adversarial_reconstructions[pair, column],
                attack.targets[pair],
                attack.target_reconstructions[pair],
            ]
        )
    return image_grid(np.array(rows), attack.image_range)


def attack_charts(swept: Swept) -> dict[str, Draw]:
    """The charts of one kind of attack, by name."""
    return {"objective": _objective(swept), "target_likelihood": _likelihood(swept)}


def _objective(swept: Swept) -> Draw:
    """Delta against the penalty, both logarithmic."""

    def draw(axes: Axes) -> None:
        ends = [
            _band(axes, index, attack.penalties, np.where(attack.objective > 0, attack.objective, np.nan))
            for index, _, attack in swept
        ]
        penalty_axis(axes)
        value_axis(axes, "attack objective Δ, nats", logarithmic=True)
        _label(axes, swept, ends)

    return draw


def _likelihood(swept: Swept) -> Draw:
    """-log p(x^t|z*) against the penalty, dashed what the target's own code reaches.

    Densities above 1 make it negative; then the axis is linear.
    """

    def draw(axes: Axes) -> None:
        ends = []
        lowest = np.inf
        for index, _, attack in swept:
            ends.append(_band(axes, index, attack.penalties, attack.negative_log_likelihood))
            clean = float(np.median(attack.clean_negative_log_likelihood))
            axes.axhline(clean, color=series_colour(index), ls=(0, (4, 3)), lw=1.0, alpha=0.9)
            lowest = min(lowest, clean, float(np.min(attack.negative_log_likelihood, initial=np.inf)))
        penalty_axis(axes)
        value_axis(axes, f"{MINUS}log p(xᵗ|z*), nats", logarithmic=lowest > 0.0)
        _label(axes, swept, ends)

    return draw


def _row(images: Sequence[np.ndarray], image_range: tuple[float, float]) -> bytes:
    return image_grid(np.array([images]), image_range, scale=1)


def _band(
    axes: Axes, index: int, penalties: Float[np.ndarray, " penalty"], values: Float[np.ndarray, "pair penalty"]
) -> float:
    """Draws the median over pairs and the middle half; returns where the median ends."""
    # A penalty of zero has no place on a logarithmic axis.
    finite = np.where(np.isfinite(values), values, np.nan)[:, penalties > 0.0]
    penalties = penalties[penalties > 0.0]
    with warnings.catch_warnings():
        # A penalty under which no attack has a value leaves a gap in the line.
        warnings.simplefilter("ignore", RuntimeWarning)
        low, middle, high = np.nanquantile(finite, (0.25, 0.5, 0.75), axis=0)
    colour = series_colour(index)
    axes.fill_between(penalties, low, high, color=colour, alpha=0.16, lw=0)
    axes.plot(penalties, middle, color=colour, ls=series_style(index))
    known = middle[np.isfinite(middle)]
    return float(known[-1]) if len(known) else float("nan")


def _label(axes: Axes, swept: Swept, ends: Sequence[float]) -> None:
    if len(swept) > 1:
        named = zip(swept, ends, strict=True)
        label_ends(axes, [(name, end, series_colour(index)) for (index, name, _), end in named if np.isfinite(end)])
