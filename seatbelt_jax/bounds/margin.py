"""Margins of r-robustness from a probability and from how far a perturbation moves the latents; one latent layer.

R(x) = sup{R : for all ||d|| < R, P(A_r) > m at x + d}, where A_r is the event that the decoded draw lies within r of
the reconstruction g(mu(x)) of the *unperturbed* image. All margins here are lower bounds of R(x), and of one form: with
shift(R) standard deviations bounding the movement of the mean under ||d|| <= R, and log_std_shift(R) that of log sigma,
the margin is the largest R at which `tradeoff.survives`. What is put for the two decides how far a margin is to be
trusted: the Jacobian at x gives margins of first order, Lipschitz constants over the ball sound ones.

They speak of one Gaussian layer. In a hierarchy the higher levels' means depend on the lower levels' samples, so a
margin from the bottom layer alone, or from Jacobians taken at the means, is no bound; see hierarchy.py.
"""

import dataclasses
import functools
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtri
from jaxtyping import Array, Float
from numpy import ndarray

from seatbelt_jax.bounds.checks import check_probability
from seatbelt_jax.bounds.precision import float64_formula, is_traced
from seatbelt_jax.bounds.tradeoff import HALVINGS, bernoulli_divergence, reserve
from seatbelt_jax.results import JacobianNorms

Values = Float[Array | ndarray, "*batch"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class LipschitzConstants:
    """Bounds of how far the encoder and the decoder move, each a number or [...] of one for each image.

    They must hold over the whole ball of perturbations, and over all latents for the decoder; where they do, and not
    only at the image, the margin they give is sound.

    Attributes:
      whitened_mean: L_w, ||(mu(x + d) - mu(x)) / sigma(x)||_2 <= L_w ||d||; standard deviations per pixel unit.
      log_std: L_u, ||log sigma(x + d) - log sigma(x)||_2 <= L_u ||d||; 0 only for a sigma that is constant.
      mean: L_e, ||mu(x + d) - mu(x)||_2 <= L_e ||d||; latent units per pixel unit.
      decoder: a, ||g(z') - g(z)||_2 <= a ||z' - z||_2; pixel units per latent unit.
    """

    whitened_mean: Values | float
    log_std: Values | float
    mean: Values | float | None = None
    decoder: Values | float | None = None

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            # A pytree of these may hold what is no number: tracers, and JAX's own placeholders.
            known = isinstance(value, int | float | Array | np.ndarray | np.generic) and not is_traced(value)
            if known and not (np.asarray(value, np.float64) >= 0.0).all():
                raise ValueError(f"the Lipschitz constant {field.name} must be zero or positive, got {value}")
        if (self.mean is None) != (self.decoder is None):
            raise ValueError("give the Lipschitz constants of mean and decoder both, or neither")


def margin(
    p_lower: Values | float,
    norm_bound: Values | float,
    *,
    risk: Values | float = 0.5,
    log_std_bound: Values | float = 0.0,
    pair_p_lower: Values | float | None = None,
    absorbed: Values | float = 0.0,
) -> Values:
    """The largest R at which P(A_r) > risk survives a shift by norm_bound * R standard deviations.

    (Phi^-1(p) - Phi^-1(m)) / norm_bound where log sigma stays and no pairs were drawn, else by bisection, from below.
    It can be jitted, vmapped and differentiated, once, in every argument; the derivative of what was found by bisection
    is that of the implicit function. It is 0 where the margin is 0 or infinite.

    Args:
      p_lower: [...], the probability of the event at the unperturbed image, or a lower bound of it.
      norm_bound: [...], bounds the movement of the mean, standard deviations per pixel unit.
      risk: [...], the probability m that must be exceeded.
      log_std_bound: [...], bounds the movement of log sigma in L2, per pixel unit.
      pair_p_lower: [...], the probability that a draw and its mirror image in the mean both lie in the event, or a
        lower bound of it.
      absorbed: [...], the length of a perturbation that the event is large enough to take in; only the rest moves
        the mean.

    Returns:
      [...] distance in pixel units; 0 where p_lower <= risk (no claim is made), infinite where there is a claim and
      nothing moves. NumPy float64; in a trace the common type of the traced arguments, rounded down. A traced
      probability outside [0, 1] gives 0 or NaN: it cannot be refused.

    Raises:
      TypeError: risk is not a number.
      ValueError: p_lower or pair_p_lower outside [0, 1], or risk outside (0, 1), where their values are known.
    """
    if not is_traced(risk):
        check_probability("risk", cast(float, risk))
    for name, value in (("p_lower", p_lower), ("pair_p_lower", pair_p_lower)):
        if value is not None and not is_traced(value):
            known = np.asarray(value, np.float64)
            if not ((known >= 0.0) & (known <= 1.0)).all():
                raise ValueError(f"{name} must hold probabilities in [0, 1], got {value!r}")
    given = (p_lower, risk, norm_bound, log_std_bound, absorbed, pair_p_lower)
    # Known beforehand to be still, sigma leaves a closed form.
    still = not is_traced(log_std_bound) and not np.any(log_std_bound)
    return _margin(*given, closed_form=still and pair_p_lower is None)


@float64_formula(rounding="down", static=("closed_form",))
def _margin(
    p: Values,
    risk: Values,
    norm: Values,
    rescaling: Values,
    free: Values,
    pair_p: Values | None = None,
    *,
    closed_form: bool,
) -> Values:
    pairs = () if pair_p is None else (pair_p,)
    return _largest_radius(closed_form, p, risk, norm, rescaling, free, *pairs)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _largest_radius(closed_form: bool, *given: Values) -> Values:
    """The largest R at which `reserve` is positive; what is given is p, risk, norm, rescaling, free, and pair_p."""
    p, risk, norm, rescaling, free, *pairs = given
    claim = p > risk
    if closed_form:
        return jnp.where(claim, free + _reach(ndtri(p) - ndtri(risk), norm), 0.0)
    # Beyond these no bound holds: a slab's half-width, and U^2 <= f(U) < kl(m, p) or kl(p, m).
    widest = functools.reduce(jnp.maximum, [ndtri(0.5 * (1.0 + pair)) for pair in pairs], ndtri(p)) - ndtri(risk)
    divergence = jnp.maximum(bernoulli_divergence(risk, p), bernoulli_divergence(p, risk))
    bracket = jnp.minimum(free + _reach(widest, norm), _reach(jnp.sqrt(jnp.maximum(divergence, 0.0)), rescaling))
    bracket = jnp.where(claim, bracket, 0.0)

    def halved(_: int, ends: tuple[Values, Values]) -> tuple[Values, Values]:
        low, high = ends
        middle = 0.5 * (low + high)
        held = _reserve_at(middle, *given) > 0.0
        return jnp.where(held, middle, low), jnp.where(held, high, middle)

    ends = jnp.zeros_like(bracket), jnp.where(jnp.isfinite(bracket), bracket, 0.0)
    low, _ = jax.lax.fori_loop(0, HALVINGS, halved, ends)
    return jnp.where(jnp.isfinite(bracket), low, jnp.inf)


@_largest_radius.defjvp
def _largest_radius_jvp(closed_form: bool, given: tuple, tangents: tuple) -> tuple[Values, Values]:
    """By the implicit function theorem, at the radius where `reserve` is 0."""
    radius = _largest_radius(closed_form, *given)
    by_radius, *by_given = jax.grad(_reserve_at, range(1 + len(given)))(radius, *given)
    known = (radius > 0.0) & jnp.isfinite(radius) & (by_radius < 0.0)
    slopes = [jnp.where(known, -by_one / jnp.where(known, by_radius, -1.0), 0.0) for by_one in by_given]
    return radius, sum(slope * tangent for slope, tangent in zip(slopes, tangents, strict=True))


def _reserve_at(radius: Values, *given: Values) -> Values:
    p, risk, norm, rescaling, free, *pairs = given
    shift = norm * jnp.maximum(radius - free, 0.0)
    return reserve(p, shift, rescaling * radius, risk=risk, pair_p=pairs[0] if pairs else None)


def camuto_margin(p_lower: Values | float, norms: JacobianNorms, *, risk: Values | float = 0.5) -> Values:
    """(min_i sigma_i) (Phi^-1(p) - Phi^-1(m)) / ||J||_F, the baseline, for L2 balls.

    Camuto et al. 2021, Theorem 1 without its O(eps); their m = 0.5 makes Phi^-1(m) = 0, other risks
    are the generalisation named below their Definition 3.1. Never above `r_robustness_margin`.

    Args:
      p_lower: [...], P(A_r) at the unperturbed image, or a lower bound of it.
      norms: norms of the encoder's Jacobian, of the same leading shape.
      risk: [...], the probability m that must be exceeded.

    Returns:
      [...], L2 distance in pixel units; 0 where p_lower <= risk: no claim is made. Type, derivatives and errors are
      those of `margin.margin`.
    """
    return margin(p_lower, camuto_norm_bound(norms), risk=risk)


def camuto_norm_bound(norms: JacobianNorms) -> Values:
    """||J||_F / min_i sigma_i, which bounds ||W||_2 from above; standard deviations per pixel unit."""
    return _ratio(norms.frobenius, norms.smallest_std)


@float64_formula(rounding="up")
def _ratio(numerator: Values, denominator: Values) -> Values:
    return numerator / denominator


def r_robustness_margin(
    p_lower: Values | float,
    norms: JacobianNorms | None = None,
    *,
    risk: Values | float = 0.5,
    pair_p_lower: Values | float | None = None,
    frozen_std: bool = True,
    lipschitz: LipschitzConstants | None = None,
    slack: Values | float = 0.0,
) -> Values:
    """(Phi^-1(p) - Phi^-1(m)) / ||W||, W = S^{-1/2} J: the whitened margin, and what makes it wider or sounder.

    By default of first order, with sigma frozen at the image. It measures each latent coordinate in its own standard
    deviation where Theorem 1 of Camuto et al. 2021 takes the smallest for all, and the worst direction where the
    theorem adds all directions up. Exact for an affine mean, constant sigma and a decoder whose A_r is a half-space
    across the worst direction.

    Args:
      p_lower: [...], P(A_r) at the unperturbed image, or a lower bound of it; of A_{r - slack} where there is slack.
      norms: norms of the encoder's Jacobian, of the same leading shape; may be None where `lipschitz` is given.
      risk: [...], the probability m that must be exceeded.
      pair_p_lower: [...], the probability that a draw and its mirror image in the mean both lie in A_r, or a lower
        bound: the larger of two margins counts. Both bounds must hold at once: alpha / 2 for each.
      frozen_std: False lets sigma move with the image, to first order, by the norm of the Jacobian of log sigma.
      lipschitz: constants that hold over the ball, in the place of the Jacobian at the image: the margin is then
        sound, and sigma moves by the constant of log_std.
      slack: [...], r - r', with p_lower the probability of the smaller ball A_{r'}: a Lipschitz decoder keeps its
        draws within r while the mean moves by less than slack / decoder. For r' fixed before the draws.

    Returns:
      [...], distance in pixel units, in the norm of `norms`; 0 where p_lower <= risk: no claim is made. Type and
      derivatives are those of `margin.margin`.

    Raises:
      TypeError: neither norms nor lipschitz; risk is not a number.
      ValueError: p_lower outside [0, 1], risk outside (0, 1), or slack without the constants of mean and decoder.
    """
    if not is_traced(slack) and (np.asarray(slack) < 0.0).any():
        raise ValueError(f"slack must be zero or positive, in pixel units, got {slack}")
    if lipschitz is not None:
        moved: tuple[Values | float, Values | float] = (lipschitz.whitened_mean, lipschitz.log_std)
    elif norms is not None:
        moved = (norms.whitened_spectral, 0.0 if frozen_std else norms.log_std_spectral)
    else:
        raise TypeError("give norms (see jacobian_norms), or lipschitz constants")
    absorbed: Values | float = 0.0
    if is_traced(slack) or np.any(slack):
        if lipschitz is None or lipschitz.mean is None or lipschitz.decoder is None:
            raise ValueError("slack is of use with the Lipschitz constants of mean and decoder; give both")
        absorbed = _absorbed(slack, lipschitz.mean, lipschitz.decoder)
    return margin(p_lower, moved[0], risk=risk, log_std_bound=moved[1], pair_p_lower=pair_p_lower, absorbed=absorbed)


@float64_formula(rounding="down")
def _absorbed(slack: Values, mean: Values, decoder: Values) -> Values:
    return _reach(slack, mean * decoder)


def _reach(budget: Values, rate: Values) -> Values:
    """budget / rate, infinite where nothing moves."""
    moves = rate > 0.0
    return jnp.where(moves, budget / jnp.where(moves, rate, 1.0), jnp.inf)
