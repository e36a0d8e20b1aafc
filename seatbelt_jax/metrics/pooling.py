"""Means over attacks that are pooled over pairs, penalties and models, with the papers' intervals and with ours."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from seatbelt_jax.metrics.bootstrap import bootstrap_interval


class Interval(NamedTuple):
    """A number and the bounds of its interval; they are NaN where there is too little to give one."""

    value: float
    low: float
    high: float


class PooledMean(NamedTuple):
    """The mean over pooled attacks.

    Attributes:
      mean: over all attacks.
      low, high: its confidence interval over attacks, which takes attacks for independent.
      low_over_pairs, high_over_pairs: its confidence interval over pairs of images.
      attacks, pairs: how many there are.
    """

    mean: float
    low: float
    high: float
    low_over_pairs: float
    high_over_pairs: float
    attacks: int
    pairs: int


def pooled_mean(
    counts: Sequence[float],
    means: Sequence[float],
    stds: Sequence[float],
    pairs: Sequence[object],
    *,
    level: float = 0.95,
) -> PooledMean:
    """The mean over the attacks of many groups, such as one pair's attacks under all penalties on one model.

    The interval over attacks follows the captions of Willetts et al. 2021 (Fig. 3: "95% CI produced by attacking 20
    images for each combination" of d_z and 50 penalties): Student's t for the mean over all attacks. It treats the
    attacks on one pair as independent, which they are not, and a fixed grid of penalties as random. The interval over
    pairs does neither: `bootstrap_interval` draws pairs, each with its attacks on all models.

    Args:
      counts: how many attacks each group has; empty groups are ignored.
      means: the mean of each group.
      stds: the standard deviation of the attacks in each group, with the sum of squares divided by the count.
      pairs: the pair of images that each group belongs to.
      level: of confidence.

    Raises:
      ValueError: where lengths differ.
    """
    if not len(counts) == len(means) == len(stds) == len(pairs):
        raise ValueError(f"groups differ in number: {len(counts)}, {len(means)}, {len(stds)} and {len(pairs)}")
    groups = np.array([counts, means, stds], np.float64)
    size, mean_of, std_of = groups[:, groups[0] > 0]
    labels, of_pair = _numbered([pair for pair, count in zip(pairs, counts, strict=True) if count])
    attacks = int(size.sum())
    if not attacks:
        return PooledMean(np.nan, np.nan, np.nan, np.nan, np.nan, attacks=0, pairs=0)
    mean = float(size @ mean_of / attacks)
    squares = float(size @ (std_of**2 + (mean_of - mean) ** 2))
    low, high = _student(mean, squares, attacks, level)
    over_pairs = (np.nan, np.nan)
    if labels > 1:
        sizes = np.bincount(of_pair, size, labels)
        sums = np.bincount(of_pair, size * mean_of, labels)
        bounds = bootstrap_interval(
            lambda drawn: sums[drawn].sum(axis=-1) / sizes[drawn].sum(axis=-1), labels, level=level, vectorized=True
        )
        over_pairs = (float(bounds[0]), float(bounds[1]))
    return PooledMean(mean, low, high, over_pairs[0], over_pairs[1], attacks=attacks, pairs=labels)


def median_over_pairs(values: Sequence[float], pairs: Sequence[object], *, level: float = 0.95) -> Interval:
    """The median of one number for each pair and model, by `bootstrap_interval` over pairs; NaN is left out.

    Args:
      values: may be infinite: a distortion that was never enough.
      pairs: which pair of images each is of.
      level: of confidence.
    """
    labels, of_pair = _numbered([pair for pair, value in zip(pairs, values, strict=True) if not np.isnan(value)])
    known = np.array([value for value in values if not np.isnan(value)], np.float64)
    if not len(known):
        return Interval(np.nan, np.nan, np.nan)
    median = float(np.median(known))
    if labels < 2:
        return Interval(median, np.nan, np.nan)
    sizes = np.bincount(of_pair)
    # A row for each pair; NaN, which fills them up, is sorted to the end.
    members = np.full((labels, sizes.max()), np.nan)
    for label in range(labels):
        members[label, : sizes[label]] = known[of_pair == label]

    def of(drawn: Int[np.ndarray, "resample pair"]) -> Float[np.ndarray, " resample"]:
        ordered, count = np.sort(members[drawn].reshape(len(drawn), -1)), sizes[drawn].sum(axis=-1)
        middle = np.stack([(count - 1) // 2, count // 2], axis=-1)
        return np.take_along_axis(ordered, middle, axis=-1).mean(axis=-1)

    low, high = bootstrap_interval(of, labels, level=level, vectorized=True)
    return Interval(median, float(low), float(high))


def ratio_over_pairs(
    first: Float[np.ndarray, " pair"],
    second: Float[np.ndarray, " pair"],
    statistic: Callable[..., Any] = np.median,
    *,
    level: float = 0.95,
) -> Interval:
    """The ratio of the first model's statistic to the second's, by `bootstrap_interval` over pairs.

    Where both statistics of a resample are infinite, the ratio may be anything, and the interval is as wide.

    Args:
      first, second: one number for each of the same pairs, in one order; they may be infinite.
      statistic: np.median or np.mean, of numbers that are all of one model.
      level: of confidence.

    Raises:
      ValueError: where they differ in length.
    """
    if first.shape != second.shape:
        raise ValueError(f"both need a number for every pair, got {first.shape} and {second.shape}")

    def ratio(drawn: Int[np.ndarray, "*resample pair"]) -> Float[np.ndarray, "*resample"]:
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(statistic(first[drawn], axis=-1) / statistic(second[drawn], axis=-1))

    def ends(drawn: Int[np.ndarray, "resample pair"]) -> Float[np.ndarray, "resample 2"]:
        found = ratio(drawn)
        return np.stack([np.nan_to_num(found, nan=0.0, posinf=np.inf), np.where(np.isnan(found), np.inf, found)], -1)

    value = float(ratio(np.arange(len(first))))
    if len(first) < 2:
        return Interval(value, np.nan, np.nan)
    low, high = bootstrap_interval(ends, len(first), level=level, vectorized=True)
    return Interval(value, float(low[0]), float(high[1]))


def mean_over_models(values: Sequence[float], *, level: float = 0.95) -> Interval:
    """The mean of one number a model, by Student's t; no bounds for a single model, and NaN is left out."""
    known = np.array([value for value in values if not np.isnan(value)], np.float64)
    if not len(known):
        return Interval(np.nan, np.nan, np.nan)
    mean = float(known.mean())
    return Interval(mean, *_student(mean, float(np.sum((known - mean) ** 2)), len(known), level))


def _student(mean: float, squares: float, count: int, level: float) -> tuple[float, float]:
    """Bounds of a mean of so many numbers, from the sum of squares of what they differ from it."""
    if count < 2:
        return np.nan, np.nan
    error = np.sqrt(squares / (count - 1) / count)
    from scipy import stats  # takes a third of a second, which only those who use it should pay

    reach = float(stats.t.ppf(0.5 * (1.0 + level), count - 1) * error)
    return mean - reach, mean + reach


def _numbered(labels: Sequence[object]) -> tuple[int, Int[np.ndarray, " group"]]:
    """How many different labels there are, and each one's number."""
    numbers = {label: number for number, label in enumerate(dict.fromkeys(labels))}
    return len(numbers), np.array([numbers[label] for label in labels], int)
