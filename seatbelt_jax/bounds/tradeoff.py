"""What probability of an event survives when its Gaussian moves; computed in float64, also in a trace.

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

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtr, ndtri
from jaxtyping import Array, Bool, Float
from numpy import ndarray

from seatbelt_jax.bounds.checks import check_probability
from seatbelt_jax.bounds.precision import float64_formula, is_traced
from seatbelt_jax.norm import l2_norm

Values = Float[Array | ndarray, "*batch"]
# Halvings of a bracket: as close as float64 goes.
HALVINGS = 100


def gdp_compose(shifts: Float[Array | ndarray, "*batch level"], axis: int = -1) -> Values:
    """The one shift that is as easy to see as several, one after the other: the root of the sum of squares.

    Gaussian mechanisms, each of which may depend on the outcomes before it, compose to one whose shift is this (Dong,
    Roth and Su 2019, "Gaussian differential privacy", Corollary 2).

    Args:
      shifts: bounds of the levels' shifts, in standard deviations; not negative.
      axis: over which to compose.

    Returns:
      NumPy float64; in a trace, where shifts are not checked, their type, rounded up.

    Raises:
      ValueError: a shift that is negative or not a number.
    """
    if not is_traced(shifts) and not (np.asarray(shifts) >= 0.0).all():
        raise ValueError(f"shifts must be zero or positive, in standard deviations, got {np.min(shifts)}")
    last = jnp.moveaxis(shifts, axis, -1) if is_traced(shifts) else np.moveaxis(np.asarray(shifts), axis, -1)
    return _root_of_squares(last)


@float64_formula(rounding="up", signature="(n)->()")
def _root_of_squares(values: Float[Array, "level"]) -> Float[Array, ""]:
    return l2_norm(values)


@float64_formula(rounding="down")
def shifted(p: Values, shift: Values) -> Values:
    """The least Q(A), P(A) = p, for a mean that moves by `shift` standard deviations."""
    return ndtr(ndtri(p) - shift)


@float64_formula(rounding="down")
def shifted_symmetric(p: Values, shift: Values) -> Values:
    """The least Q(A), where p is the probability of a draw and its mirror image both in A."""
    half_width = ndtri(0.5 * (1.0 + p))
    return ndtr(half_width - shift) - ndtr(-half_width - shift)


@float64_formula(rounding="up")
def rescaling_divergence(log_std_shift: Values) -> Values:
    """f(U) = (e^{2U} - 1 - 2U) / 2, in nats: bounds the divergence of Gaussians whose log sigma differ by U in L2."""
    twice = 2.0 * log_std_shift
    value = 0.5 * (jnp.expm1(twice) - twice)
    # The difference of an infinite e^{2U} and an infinite 2U.
    return jnp.where(jnp.isnan(value), jnp.inf, value)


@float64_formula(rounding="nearest")
def bernoulli_divergence(p: Values, q: Values) -> Values:
    """kl(p, q) of coins with these probabilities of heads, in nats.

    kl = p h((q - p) / p) + (1 - p) h((p - q) / (1 - p)), h(x) = x - log(1 + x): the terms of first order, which would
    leave nothing of a small divergence, cancel beforehand.
    """
    return _scaled_excess(p, q - p) + _scaled_excess(1.0 - p, p - q)


def _scaled_excess(scale: Values, change: Values) -> Values:
    """scale h(change / scale), h(x) = x - log(1 + x); change where scale is 0."""
    ratio = change / jnp.where(scale > 0.0, scale, 1.0)
    # h(x) = x^2 / 2 - x^3 / 3 + .., to float64's precision.
    series = jnp.square(ratio) * jnp.polyval(jnp.array([(-1.0) ** n / n for n in range(14, 1, -1)]), ratio)
    excess = jnp.where(jnp.abs(ratio) < 0.05, series, ratio - jnp.log1p(ratio))
    return jnp.where(scale > 0.0, scale * excess, change)


@float64_formula(rounding="nearest")
def reserve(
    p: Values, shift: Values, log_std_shift: Values | float = 0.0, *, risk: Values, pair_p: Values | None = None
) -> Values:
    """A number that is positive just where Q(A) > risk is certain, and falls as the latents move further.

    Args:
      p: [...], P(A) or a lower bound of it.
      shift: [...], bounds the movement of the mean, in standard deviations at the image.
      log_std_shift: [...], U, bounds the movement of log sigma in L2.
      risk: m, in (0, 1).
      pair_p: [...], the probability of a draw and its mirror image both in A, or a lower bound of it.

    Returns:
      [...]: what is left of a probability where nothing is rescaled, else of a divergence in nats.
    """
    moved = shifted(p, shift)
    if pair_p is not None:
        moved = jnp.maximum(moved, shifted_symmetric(pair_p, shift))
    divergence = rescaling_divergence(log_std_shift)
    distance = jnp.where(moved > risk, 1.0, -1.0) * bernoulli_divergence(moved, risk)
    # Near the risk the coins' divergence is lost in rounding, which matters where nothing is rescaled.
    one_after_the_other = jnp.where(divergence == 0.0, moved - risk, distance - divergence)
    together = jnp.where(p > risk, bernoulli_divergence(risk, p) - jnp.square(shift) / 2.0 - divergence, -jnp.inf)
    ways = [jnp.where(jnp.isnan(way), -jnp.inf, way) for way in (one_after_the_other, together)]
    return jnp.maximum(*ways)


def survives(
    p: Values | float,
    shift: Values | float,
    log_std_shift: Values | float = 0.0,
    *,
    risk: Values | float,
    pair_p: Values | float | None = None,
) -> Bool[Array | ndarray, "*batch"]:
    """Whether Q(A) > risk is certain; the arguments are those of `reserve`."""
    return reserve(p, shift, log_std_shift, risk=risk, pair_p=pair_p) > 0.0


def required_probability(shift: Values | float, log_std_shift: Values | float, *, risk: float) -> Values:
    """The least P(A) of which Q(A) > risk is certain, from above: `survives` holds for every larger one; at most 1."""
    check_probability("risk", risk)
    return _required_probability(shift, log_std_shift, risk)


@float64_formula(rounding="up")
def _required_probability(shift: Values, log_std_shift: Values, risk: Values) -> Values:
    def halved(_: int, bracket: tuple[Values, Values]) -> tuple[Values, Values]:
        low, high = bracket
        middle = 0.5 * (low + high)
        enough = survives(middle, shift, log_std_shift, risk=risk)
        return jnp.where(enough, low, middle), jnp.where(enough, middle, high)

    return jax.lax.fori_loop(0, HALVINGS, halved, (jnp.full_like(shift, risk), jnp.ones_like(shift)))[1]
