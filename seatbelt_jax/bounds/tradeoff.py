"""What probability of an event survives when its Gaussian moves (host, float64).

P is the law of the latents at the image, Q the law at the perturbed one. Each bound holds for every event, or for
every event that is drawn with its mirror image, so that nothing needs to be known of the decoder:

- Shifted by s standard deviations (Mahalanobis): Q(A) >= Phi(Phi^-1(P(A)) - s). Neyman and Pearson; attained by
  half-spaces across the shift.
- Symmetric: let p be the probability that a draw and its mirror image in the mean both lie in A. They do just where
  the draw lies in the symmetric part of A, which shifts by s and by -s leave equally likely; of all sets of this
  probability the slab across the shift loses most to the even mixture of the two (Neyman and Pearson again):
  Q(A) >= Phi(t - s) - Phi(-t - s), t = Phi^-1((1 + p) / 2).
- Rescaled: where log sigma moves by u with ||u||_2 <= U, a Gaussian of the same mean has KL(P||Q) =
  sum_i (e^{-2 u_i} - 1 + 2 u_i) / 2 <= f(U) = (e^{2U} - 1 - 2U) / 2: the worst is one coordinate that shrinks. An event
  cannot tell the laws apart better than all of the latents can, so kl(P(A), Q(A)) <= f(U), kl between two coins.
- Shifted and rescaled: shift first, at the old sigma, then rescale by the bound above; or by one divergence,
  kl(Q(A), P(A)) <= KL(Q||P) <= s^2 / 2 + f(U). The better of both counts.
"""

import numpy as np
from jaxtyping import Array, Bool, Float
from numpy import ndarray
from scipy.special import ndtr, ndtri, xlogy

from seatbelt_jax.bounds.checks import check_probability

Values = Float[ndarray, "*batch"]
# Halvings of a bracket: as close as float64 goes.
HALVINGS = 100


def gdp_compose(shifts: Float[Array | ndarray, "*batch level"], axis: int = -1) -> Values:
    """The one shift that is as easy to see as several, one after the other: the root of the sum of squares.

    Gaussian mechanisms, each of which may depend on the outcomes before it, compose to one whose shift is this (Dong,
    Roth and Su 2019, "Gaussian differential privacy", Corollary 2).

    Args:
      shifts: bounds of the levels' shifts, in standard deviations; not negative.
      axis: over which to compose.

    Raises:
      ValueError: a shift that is negative or not a number.
    """
    values = np.asarray(shifts, np.float64)
    if not (values >= 0.0).all():
        raise ValueError(f"shifts must be zero or positive, in standard deviations, got {values.min()}")
    return np.sqrt(np.sum(np.square(values), axis=axis))


def shifted(p: Values | float, shift: Values | float) -> Values:
    """The least Q(A), P(A) = p, for a mean that moves by `shift` standard deviations."""
    return ndtr(ndtri(p) - shift)


def shifted_symmetric(p: Values | float, shift: Values | float) -> Values:
    """The least Q(A), where p is the probability of a draw and its mirror image both in A."""
    half_width = ndtri(0.5 * (1.0 + np.asarray(p, np.float64)))
    return ndtr(half_width - shift) - ndtr(-half_width - shift)


def rescaling_divergence(log_std_shift: Values | float) -> Values:
    """f(U) = (e^{2U} - 1 - 2U) / 2, in nats: bounds the divergence of Gaussians whose log sigma differ by U in L2."""
    twice = 2.0 * np.asarray(log_std_shift, np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        value = 0.5 * (np.expm1(twice) - twice)
    # The difference of an infinite e^{2U} and an infinite 2U.
    return np.where(np.isnan(value), np.inf, value)


def bernoulli_divergence(p: Values | float, q: Values | float) -> Values:
    """kl(p, q) of coins with these probabilities of heads, in nats."""
    p, q = np.asarray(p, np.float64), np.asarray(q, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return xlogy(p, p) - xlogy(p, q) + xlogy(1.0 - p, 1.0 - p) - xlogy(1.0 - p, 1.0 - q)


def survives(
    p: Values,
    shift: Values | float,
    log_std_shift: Values | float = 0.0,
    *,
    risk: float,
    pair_p: Values | None = None,
) -> Bool[ndarray, "*batch"]:
    """Whether Q(A) > risk is certain.

    Args:
      p: [...], P(A) or a lower bound of it.
      shift: [...], bounds the movement of the mean, in standard deviations at the image.
      log_std_shift: [...], U, bounds the movement of log sigma in L2.
      risk: m, in (0, 1).
      pair_p: [...], the probability of a draw and its mirror image both in A, or a lower bound of it.
    """
    moved = shifted(p, shift)
    if pair_p is not None:
        moved = np.maximum(moved, shifted_symmetric(pair_p, shift))
    divergence = rescaling_divergence(log_std_shift)
    # Near the risk the coins' divergence is lost in rounding, which matters where nothing is rescaled.
    still = (divergence == 0.0) | (bernoulli_divergence(moved, risk) > divergence)
    one_after_the_other = (moved > risk) & still
    together = np.square(shift) / 2.0 + divergence < bernoulli_divergence(risk, p)
    return one_after_the_other | (together & (np.asarray(p) > risk))


def required_probability(shift: Values | float, log_std_shift: Values | float, *, risk: float) -> Values:
    """The least P(A) of which Q(A) > risk is certain, from above: `survives` holds for every larger one; at most 1."""
    check_probability("risk", risk)
    shift, log_std_shift = np.broadcast_arrays(np.asarray(shift, np.float64), np.asarray(log_std_shift, np.float64))
    low, high = np.full(shift.shape, risk), np.ones(shift.shape)
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        enough = survives(middle, shift, log_std_shift, risk=risk)
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    return high
