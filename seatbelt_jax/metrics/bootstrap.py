"""How much a number measured on some pairs of images would vary with other pairs."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int

# Stands for a number, or for an array of numbers measured together.
Numbers = Float[np.ndarray, "*numbers"]


def bootstrap_interval(
    statistic: Callable[[Int[np.ndarray, "*resample pair"]], float | Numbers],
    num_pairs: int,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
    vectorized: bool = False,
) -> tuple[Numbers, Numbers]:
    """A confidence interval by the percentile bootstrap over pairs (Efron and Tibshirani 1993, Ch. 13).

    Attacks on one pair resemble each other, whatever their budget. So pairs are drawn, with repetition, and each
    brings all its attacks; an interval from single attacks would be far too narrow. With few pairs (say, under
    20) this one, too, is somewhat too narrow.

    `scipy.stats.bootstrap` interpolates between resamples, which makes NaN of two infinite ones; here a statistic of
    pair numbers may be infinite.

    Args:
      statistic: pair numbers in [0, num_pairs), repeats among them -> a number, or an array of numbers that each
        get an interval. Infinite values are allowed (a median of distortions of which some are infinite); a
        NaN in any resample makes both bounds NaN.
      num_pairs: how many pairs there are, at least 2.
      level: of confidence.
      resamples: how often to draw.
      seed: of the draws; the same seed gives the same interval.
      vectorized: whether the statistic takes all resamples at once, [resample, pair] -> [resample, *numbers].

    Returns:
      (low, high), of the statistic's shape.

    Raises:
      ValueError: for fewer than 2 pairs, a level outside (0, 1) or no resamples.
    """
    if num_pairs < 2:
        raise ValueError(f"an interval needs at least 2 pairs to draw from, got {num_pairs}")
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie between 0 and 1, got {level}")
    if resamples < 1:
        raise ValueError(f"resamples must be at least 1, got {resamples}")
    rng = np.random.default_rng(seed)
    drawn = rng.integers(num_pairs, size=(resamples, num_pairs))
    values = np.asarray(statistic(drawn)) if vectorized else np.array([statistic(pairs) for pairs in drawn])
    tail = 0.5 * (1.0 - level)
    # Values that occurred: between two infinite ones, interpolation would make NaN.
    low = np.quantile(values, tail, axis=0, method="lower")
    return low, np.quantile(values, 1.0 - tail, axis=0, method="higher")
