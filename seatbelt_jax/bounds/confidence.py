"""Confidence bounds for a probability and a quantile, from independent draws (host, float64).

All bounds are exact (Clopper and Pearson 1934), not asymptotic: they miss with probability at most
alpha for every true value and every number of draws. Each is one-sided and spends the whole alpha
on its side; two sides together need alpha / 2 each.
"""

import math

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from scipy import special

from seatbelt_jax.bounds.checks import check_counts, check_probability


def lower_confidence_bound(hits: Int[ndarray, "*batch"] | int, trials: int, alpha: float) -> Float[ndarray, "*batch"]:
    """The one-sided Clopper-Pearson lower bound of a probability.

    q = the alpha quantile of Beta(hits, trials - hits + 1), and 0 where hits = 0. With probability
    at least 1 - alpha over the draws, the true probability is at least q. All hits give
    alpha ** (1 / trials): the bound saturates, so draws buy little once every one of them hits.

    Args:
      hits: [...], how many of the trials succeeded.
      trials: number of independent draws, the same for every entry of `hits`.
      alpha: probability of a miss, for each entry on its own.

    Returns:
      [...] float64, in [0, 1).

    Raises:
      TypeError: hits or trials are not integers.
      ValueError: trials < 1, hits outside 0..trials, or alpha outside (0, 1).
    """
    counts = _check_counts(hits, trials, alpha)
    # betaincinv needs positive parameters; the entries it cannot take are replaced afterwards.
    quantile = special.betaincinv(np.maximum(counts, 1), trials - counts + 1, alpha)
    return np.where(counts == 0, 0.0, quantile)


def upper_confidence_bound(hits: Int[ndarray, "*batch"] | int, trials: int, alpha: float) -> Float[ndarray, "*batch"]:
    """The one-sided Clopper-Pearson upper bound of a probability.

    The 1 - alpha quantile of Beta(hits + 1, trials - hits), and 1 where hits = trials. Arguments,
    result and errors as for `lower_confidence_bound`; the two mirror each other.
    """
    counts = _check_counts(hits, trials, alpha)
    return 1.0 - lower_confidence_bound(trials - counts, trials, alpha)


def smallest_sufficient_trials(alpha: float, risk: float) -> int:
    """The fewest trials after which all hits would put the lower bound above `risk`.

    The bound is then alpha ** (1 / trials), so this is the least integer above
    log(alpha) / log(risk). With fewer trials every certificate abstains whatever is drawn.
    """
    check_probability("alpha", alpha)
    check_probability("risk", risk)
    trials = max(1, math.floor(math.log(alpha) / math.log(risk)))
    while lower_confidence_bound(trials, trials, alpha) <= risk:
        trials += 1
    return trials


def check_sufficient_samples(num_samples: int, alpha: float, risk: float) -> None:
    """Raises unless a certificate from so many draws could ever be more than an abstention."""
    needed = smallest_sufficient_trials(alpha, risk)
    if num_samples < needed:
        raise ValueError(
            f"num_samples = {num_samples} can never certify: at alpha = {alpha} even if every draw "
            f"hits, the lower bound alpha ** (1 / num_samples) stays at or below risk = {risk}; "
            f"at least {needed} draws are needed"
        )


def check_refutable(num_samples: int, alpha: float, risk: float) -> None:
    """Raises unless so many draws, none of them in the event, would put its probability below the risk."""
    lowest = float(upper_confidence_bound(0, num_samples, alpha))
    if lowest >= risk:
        raise ValueError(
            f"num_samples = {num_samples} can never refute: at level {alpha:g} even if no draw hits, the upper bound "
            f"stays at {lowest:.4g}, not below risk = {risk}; take more draws or a larger alpha"
        )


def quantile_ranks(trials: int, level: float, alpha: float) -> tuple[int, int]:
    """Ranks of the order statistics that bound a quantile from below and from above.

    Let Q = inf{r : P(D <= r) > level} and D_(1) <= ... <= D_(trials) the sorted draws of D. Then
    P(Q < D_(low)) <= alpha and P(Q > D_(high)) <= alpha, for any distribution of D, continuous or
    not, because the number of draws at or below Q is binomial.

    Returns:
      (low, high), one-based. low = 0 or high = trials + 1 where no order statistic will do: the
      bound on that side is then the trivial one.

    Raises:
      ValueError: trials < 1, or level or alpha outside (0, 1).
    """
    check_probability("level", level)
    check_probability("alpha", alpha)
    check_counts(trials=trials)
    ranks = np.arange(1, trials + 1)
    # P(Bin(trials, level) >= rank) and its complement; the complement is computed, not subtracted.
    at_least = special.betainc(ranks, trials - ranks + 1, level)
    below = special.betaincc(ranks, trials - ranks + 1, level)
    low = int(np.count_nonzero(below <= alpha))
    high = trials + 1 - int(np.count_nonzero(at_least <= alpha))
    return low, high


def _check_counts(hits: Int[ndarray, "*batch"] | int, trials: int, alpha: float) -> Int[ndarray, "*batch"]:
    check_counts(trials=trials)
    check_probability("alpha", alpha)
    counts = np.asarray(hits)
    if not np.issubdtype(counts.dtype, np.integer):
        raise TypeError(f"hits must be integers (a count of draws), got dtype {counts.dtype}")
    counts = counts.astype(np.int64)
    if counts.size and (counts.min() < 0 or counts.max() > trials):
        raise ValueError(f"hits must lie in 0..{trials} (the trials), got {counts.min()}..{counts.max()}")
    return counts
