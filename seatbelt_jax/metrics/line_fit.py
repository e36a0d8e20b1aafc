"""How two numbers of each image go together: the best line, and the correlation (Camuto et al. 2021, Fig. 6)."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class LineFit(NamedTuple):
    """y = offset + slope x by least squares, over so many points; NaN without a line.

    Attributes:
      correlation: Pearson's.
      rank_correlation: Spearman's, which single points far out do not sway.
    """

    slope: float
    offset: float
    correlation: float
    rank_correlation: float
    points: int


def line_fit(x: Float[np.ndarray, " point"], y: Float[np.ndarray, " point"]) -> LineFit:
    """The line through the points that are finite; it takes three, and differences in both directions.

    Raises:
      ValueError: where x and y differ in length.
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if x.shape != y.shape or x.ndim != 1:
        raise ValueError(f"x and y must be numbers of the same points, got shapes {x.shape} and {y.shape}")
    known = np.isfinite(x) & np.isfinite(y)
    x, y = x[known], y[known]
    if len(x) < 3 or np.ptp(x) == 0.0 or np.ptp(y) == 0.0:
        return LineFit(np.nan, np.nan, np.nan, np.nan, len(x))
    from scipy import stats  # takes a third of a second, which only those who use it should pay

    found = stats.linregress(x, y)
    ranks = stats.spearmanr(x, y).statistic
    return LineFit(float(found.slope), float(found.intercept), float(found.rvalue), float(ranks), len(x))
