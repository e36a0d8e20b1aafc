"""Margins of r-robustness from a probability and the encoder's Jacobian, for one latent layer.

R(x) = sup{R : for all ||d||_2 < R, P(A_r) > m at x + d}, where A_r is the event that the decoded
draw lies within r of the reconstruction g(mu(x)) of the *unperturbed* image. Both margins here are
lower bounds of R(x) to first order in d, with sigma frozen at x:

- a perturbation that moves the latent mean by s standard deviations (Mahalanobis) leaves
  P(A_r) >= Phi(Phi^-1(p) - s), whatever the decoder (Neyman and Pearson);
- so P(A_r) > m while s < Phi^-1(p) - Phi^-1(m), the budget of a margin;
- to first order s = ||W d||_2 <= ||W||_2 ||d||_2, W the whitened Jacobian.

They speak of one Gaussian layer. In a hierarchy the higher levels' means depend on the lower
levels' samples, so a margin from the bottom layer alone, or from Jacobians taken at the means, is
no bound; see hierarchy.py.
"""

import dataclasses
from collections.abc import Callable
from typing import Literal

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.special import ndtri

from seatbelt_jax.bounds.checks import check_probability
from seatbelt_jax.bounds.jacobian import JacobianNorms

Soundness = Literal["first_order", "locally_exact", "sound"]


def margin(
    p_lower: Float[ndarray, "*batch"] | float, norm_bound: Float[ndarray, "*batch"] | float, *, risk: float = 0.5
) -> Float[ndarray, "*batch"]:
    """(Phi^-1(p) - Phi^-1(m)) / b, where a perturbation d moves the draw by at most b ||d||_2 standard deviations.

    Args:
      p_lower: [...], the probability of the event at the unperturbed image, or a lower bound of it.
      norm_bound: [...], b >= ||W||_2, standard deviations per pixel unit.
      risk: the probability m that must be exceeded.

    Returns:
      [...] float64, L2 distance in pixel units; 0 where p_lower <= risk (no claim is made), infinite where there is
      a claim and norm_bound is 0: nothing moves the draw.

    Raises:
      TypeError: risk is not a number.
      ValueError: p_lower outside [0, 1], or risk outside (0, 1).
    """
    budget, norm = np.broadcast_arrays(_budget(p_lower, risk), np.asarray(norm_bound, np.float64))
    moves = norm > 0.0
    reach = np.where(moves, budget / np.where(moves, norm, 1.0), np.inf)
    return np.where(budget > 0.0, reach, 0.0)


def camuto_margin(
    p_lower: Float[ndarray, "*batch"] | float, norms: JacobianNorms, *, risk: float = 0.5
) -> Float[ndarray, "*batch"]:
    """(min_i sigma_i) (Phi^-1(p) - Phi^-1(m)) / ||J||_F, the baseline.

    Camuto et al. 2021, Theorem 1 without its O(eps); their m = 0.5 makes Phi^-1(m) = 0, other risks
    are the generalisation named below their Definition 3.1. Never above `r_robustness_margin`.

    Args:
      p_lower: [...], P(A_r) at the unperturbed image, or a lower bound of it.
      norms: norms of the encoder's Jacobian, of the same leading shape.
      risk: the probability m that must be exceeded.

    Returns:
      [...] float64, L2 distance in pixel units; 0 where p_lower <= risk: no claim is made.

    Raises:
      TypeError: risk is not a number.
      ValueError: p_lower outside [0, 1], or risk outside (0, 1).
    """
    return margin(p_lower, _camuto_norm_bound(norms), risk=risk)


def r_robustness_margin(
    p_lower: Float[ndarray, "*batch"] | float, norms: JacobianNorms, *, risk: float = 0.5
) -> Float[ndarray, "*batch"]:
    """(Phi^-1(p) - Phi^-1(m)) / ||W||_2, W = S^{-1/2} J: the whitened spectral margin.

    Follows from the Neyman-Pearson bound above; it measures each latent coordinate in its own
    standard deviation where Theorem 1 of Camuto et al. 2021 takes the smallest for all, and the
    worst direction where the theorem adds all directions up. Exact for an affine mean, constant
    sigma and a decoder whose A_r is a half-space across the worst direction.

    Arguments, result and errors as for `camuto_margin`.
    """
    return margin(p_lower, _spectral_norm_bound(norms), risk=risk)


def _camuto_norm_bound(norms: JacobianNorms) -> Float[ndarray, "*batch"]:
    return norms.frobenius / norms.smallest_std


def _spectral_norm_bound(norms: JacobianNorms) -> Float[ndarray, "*batch"]:
    return norms.whitened_spectral


@dataclasses.dataclass(frozen=True)
class Method:
    """What bounds ||W||_2 in a margin, with the words that go with it in a certificate."""

    norm_bound: Callable[[JacobianNorms], Float[ndarray, "*batch"]]
    soundness: Soundness
    assumptions: tuple[str, ...]


_FIRST_ORDER_ASSUMPTIONS = (
    "The standard deviation of the encoder stays what it is at x (frozen sigma).",
    "The mean of the encoder moves as its linearisation at x: exact only where the mean is affine "
    "over the whole ball of perturbations.",
    "One latent layer: encode gives the only random variable that decode reads.",
    "encode and decode are deterministic, and the radius of the ball of reconstructions, "
    "the risk and the number of draws were fixed before the draws.",
)

METHODS = {
    "camuto": Method(_camuto_norm_bound, "first_order", _FIRST_ORDER_ASSUMPTIONS),
    "spectral": Method(_spectral_norm_bound, "first_order", _FIRST_ORDER_ASSUMPTIONS),
}


def _budget(p_lower: Float[ndarray, "*batch"] | float, risk: float) -> Float[ndarray, "*batch"]:
    """The shift, in standard deviations, that P(A_r) > risk survives; 0 where p_lower <= risk."""
    check_probability("risk", risk)
    probability = np.asarray(p_lower, np.float64)
    if not ((probability >= 0.0) & (probability <= 1.0)).all():
        raise ValueError(f"p_lower must hold probabilities in [0, 1], got {p_lower!r}")
    return np.maximum(ndtri(probability) - ndtri(risk), 0.0)
