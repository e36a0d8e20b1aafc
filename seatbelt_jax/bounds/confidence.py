"""Confidence bounds for a probability and a quantile, from independent draws.

All bounds are exact (Clopper and Pearson 1934), not asymptotic: they miss with probability at most
alpha for every true value and every number of draws. Each is one-sided and spends the whole alpha
on its side; two sides together need alpha / 2 each.
"""

import math
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from numpy import ndarray
from scipy import special

from seatbelt_jax.bounds.beta_quantile import beta_quantile
from seatbelt_jax.bounds.checks import check_counts, check_probability
from seatbelt_jax.bounds.precision import float64_formula, is_traced

Hits = Int[Array | ndarray, "*batch"] | Float[Array, "*batch"] | int
Bounds = Float[Array | ndarray, "*batch"]


def lower_confidence_bound(hits: Hits, trials: int, alpha: Bounds | float) -> Bounds:
    """The one-sided Clopper-Pearson lower bound of a probability.

    q = the alpha quantile of Beta(hits, trials - hits + 1), and 0 where hits = 0. With probability
    at least 1 - alpha over the draws, the true probability is at least q. All hits give
    alpha ** (1 / trials): the bound saturates, so draws buy little once every one of them hits.

    It can be jitted, vmapped and differentiated, once, in hits and alpha. What is traced is found by bisection on the
    regularised incomplete beta function in float64, and lowered by 1e-7 of itself: never above SciPy's quantile.

    Args:
      hits: [...], how many of the trials succeeded. For training, JAX arrays of real numbers may count softly, as sums
        of sigmoids do; a certificate's are integers.
      trials: number of independent draws, the same for every entry of `hits`.
      alpha: probability of a miss, for each entry on its own.

    Returns:
      [...] in [0, 1): NumPy float64; in a trace the common type of what is traced, rounded down, and NaN for hits
      outside 0..trials.

    Raises:
      TypeError: hits or trials are not integers.
      ValueError: trials < 1, hits outside 0..trials, or alpha outside (0, 1), where their values are known.
    """
    if is_traced(hits, alpha):
        check_counts(trials=trials)
        return _traced_bound(hits, alpha, trials=trials)
    return _scipys_bound(_check_counts(hits, trials, alpha), trials, alpha)


def _scipys_bound(
    counts: Int[ndarray, "*batch"] | Float[ndarray, "*batch"], trials: int, alpha: Bounds | float
) -> Bounds:
    # betaincinv needs positive parameters; the entries it cannot take are replaced afterwards.
    quantile = special.betaincinv(np.where(counts == 0, 1, counts), trials - counts + 1, np.asarray(alpha, np.float64))
    return np.where(counts == 0, 0.0, quantile)


@float64_formula(rounding="down", static=("trials",))
def _traced_bound(hits: Float[Array, ""], alpha: Float[Array, ""], *, trials: int) -> Float[Array, ""]:
    counted = hits > 0.0
    quantile = beta_quantile(jnp.where(counted, hits, 1.0), jnp.where(counted, trials - hits + 1.0, trials), alpha)
    # More than the rounding of the incomplete beta function: in log-odds, so that 1 - q keeps its digits near 1.
    quantile = quantile - 1e-7 * quantile * (1.0 - quantile)
    return jnp.where((hits >= 0.0) & (hits <= trials), jnp.where(counted, quantile, 0.0), jnp.nan)


def upper_confidence_bound(hits: Hits, trials: int, alpha: Bounds | float) -> Bounds:
    """The one-sided Clopper-Pearson upper bound of a probability.

    The 1 - alpha quantile of Beta(hits + 1, trials - hits), and 1 where hits = trials. Arguments,
    result and errors as for `lower_confidence_bound`; the two mirror each other. In a trace it is rounded up.
    """
    if is_traced(hits, alpha):
        check_counts(trials=trials)
        return _traced_upper_bound(hits, alpha, trials=trials)
    counts = _check_counts(hits, trials, alpha)
    return 1.0 - _scipys_bound(trials - counts, trials, alpha)


@float64_formula(rounding="up", static=("trials",))
def _traced_upper_bound(hits: Float[Array, ""], alpha: Float[Array, ""], *, trials: int) -> Float[Array, ""]:
    return 1.0 - _traced_bound(trials - hits, alpha, trials=trials)


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


def sufficient_hits(trials: int, alpha: float, risk: float) -> int:
    """The fewest hits whose lower bound exceeds `risk`; trials + 1 where no number of hits does."""
    return int(np.count_nonzero(lower_confidence_bound(np.arange(trials + 1), trials, alpha) <= risk))


def check_sufficient_samples(num_samples: int, alpha: float, risk: float, name: str = "num_samples") -> None:
    """Raises unless a certificate from so many draws could ever be more than an abstention."""
    needed = smallest_sufficient_trials(alpha, risk)
    if num_samples < needed:
        raise ValueError(
            f"{name} = {num_samples} can never certify: at alpha = {alpha} even if every draw "
            f"hits, the lower bound alpha ** (1 / {name}) stays at or below risk = {risk}; "
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


def _check_counts(hits: Hits, trials: int, alpha: Bounds | float) -> Int[ndarray, "*batch"] | Float[ndarray, "*batch"]:
    check_counts(trials=trials)
    check_probability("alpha", cast(float, alpha))
    counts = np.asarray(hits)
    soft = isinstance(hits, jax.Array) and jnp.issubdtype(counts.dtype, jnp.floating)
    if not np.issubdtype(counts.dtype, np.integer) and not soft:
        raise TypeError(f"hits must be integers (a count of draws), got dtype {counts.dtype}")
    counts = counts.astype(np.float64 if soft else np.int64)
    if counts.size and (counts.min() < 0 or counts.max() > trials):
        raise ValueError(f"hits must lie in 0..{trials} (the trials), got {counts.min()}..{counts.max()}")
    return counts
