"""The margin of r-robustness of a hierarchy of latent layers, z^i drawn given the layers below it and x.

What is claimed. Write z = (z^1, .., z^L) for a path, z^i ~ N(mu_i(z^{<i}, x), S_i(z^{<i}, x)) with S_i diagonal. To
first order in d, with sigma frozen, the encoder at x + d draws z^i ~ N(mu_i(z^{<i}, x) + J_i(z^{<i}) d,
S_i(z^{<i}, x)), where J_i(z^{<i}) = d mu_i(z^{<i}, x) / dx with z^{<i} held fixed. Call P and P_d the laws of the path
at x and x + d, W_i = S_i^{-1/2} J_i, W(z) the rows of W_1, .., W_L(z^{<L}) stacked, and let E be the paths with
||W(z)||_2 <= kappa. Then for every event A and every d

    P_d(A) >= Phi(Phi^-1(P(A and E)) - kappa ||d||_2).

Proof.
1. One budget for all paths. Consider any process that draws z^i ~ N(mu_i + S_i^{1/2} b_i, S_i), b_i a function of
   z^{<i}, with sum_i ||b_i||^2 <= s^2 on every path, and call its law Q. Append a last coordinate that no event reads:
   N(0, 1) under P, N(b, 1) under Q with b = (s^2 - sum_i ||b_i||^2)^{1/2}. Now the squared shifts add up to s^2 on
   every path, so log dQ/dP = M - s^2 / 2, M = sum_i b_i . eta_i, eta_i the standardised draws. Given z^{<i} the
   i-th summand is N(0, ||b_i||^2) under P; so E_P exp(t M - t^2 s^2 / 2) = 1 for all t, one conditional
   expectation after the other, hence M ~ N(0, s^2) under P although the b_i are random. Likewise M ~ N(s^2, s^2)
   under Q. By Neyman and Pearson the event of P-probability p that is least likely under Q is {M <= s Phi^-1(p)}:
   Q(B) >= Phi(Phi^-1(P(B)) - s) for every B. (Dong, Roth and Su 2019, "Gaussian differential privacy", Sec. 3,
   compose Gaussian trade-offs whose shifts are bounded beforehand, one by one; with the appended coordinate a bound
   of their sum is enough.)
2. Stopping. P_d has b_i = a_i = W_i(z^{<i}) d, whose squares need not be bounded. Let Q shift by b_i = a_i as long as
   ||a_1||^2 + .. + ||a_i||^2 <= kappa^2 ||d||^2, and by 0 from the first level on where that fails. The decision
   at level i needs z^{<i} alone, which is what makes Q a process of the kind of step 1, with s = kappa ||d||.
3. On E nothing stops. E is a statement about W(z), known once z^{<L} is; it implies the condition at every level and
   for every d at once, since ||a_1||^2 + .. + ||a_i||^2 <= ||W(z) d||^2 <= kappa^2 ||d||^2 (fewer rows, smaller
   norm). So on paths in E the conditional densities of P_d and Q agree factor by factor: P_d(A and E) = Q(A and E).
4. P_d(A) >= P_d(A and E) = Q(A and E) >= Phi(Phi^-1(P(A and E)) - kappa ||d||). It exceeds the risk m while
   ||d|| < (Phi^-1(P(A and E)) - Phi^-1(m)) / kappa, and P(A and E) is a probability at the *unperturbed* image.

In step 3 any event does that is known along the path and on which sum_i ||W_i(z^{<i})||_2^2 <= kappa^2, since
||a_i|| <= ||W_i(z^{<i})||_2 ||d||: that each level keeps below a bound kappa_i of its own, kappa^2 = sum_i kappa_i^2
(mode "sup"). Where the kappa_i bound the levels at all latents, the event is certain and P(A) alone counts: the
adaptive composition of Gaussian trade-offs as Dong, Roth and Su state it. The norm of the stacked levels is never above
the root of the sum of squares, so mode "path" loses less. For perturbations in L-infinity the norms are taken in
coordinates whose unit ball contains the box ||d||_inf <= 1.

E must stay inside the event. Certifying P(A) with a norm that holds on most paths, one Jacobian averaged over paths
(||E W(z)|| <= E ||W(z)||: opposite signs cancel) or the Jacobians at the mean path only (mu_2 may be flat there and
steep elsewhere) each certifies a shift that the actual paths exceed. kappa may be any number fixed before the draws
that estimate P(A and E); chosen from the same draws it would pick the luckiest of many estimates.
"""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from jaxtyping import Array, Bool, Float
from numpy import ndarray

from seatbelt_jax.bounds import functions
from seatbelt_jax.bounds.checks import (
    DecodePath,
    Features,
    Level,
    Norm,
    check_counts,
    check_hierarchy,
    check_images,
    check_key,
    check_norm,
    check_radius,
    warn_of_constant_means,
)
from seatbelt_jax.bounds.confidence import check_sufficient_samples, lower_confidence_bound
from seatbelt_jax.bounds.margin import margin
from seatbelt_jax.bounds.path_draws import default_draw_batch, path_draws
from seatbelt_jax.bounds.streaming import progress_bar
from seatbelt_jax.bounds.tradeoff import gdp_compose
from seatbelt_jax.results import Certificate
from seatbelt_jax.sections import check_choice

# Norms that agree exactly but for rounding must not fall on both sides of kappa.
_NORM_ROUNDING = 2e-6

Mode = Literal["path", "sup"]

_GIVEN_NORMS = "The norms of the levels that were given bound them at all latents."
_ASSUMPTIONS = (
    "The standard deviation of every layer, a function of the layers below it, stays that function at x (frozen "
    "sigma).",
    "The mean of every layer moves, along each path of the layers below it, as its linearisation at x: exact only "
    "where it is affine in x over the whole ball of perturbations.",
    "decode reads no other random variable than the layers that levels gives.",
    "levels and decode are deterministic, and the radius of the ball of reconstructions, the risk and the number of "
    "draws were fixed before the draws; kappa was chosen by pilot draws of their own.",
)


def hierarchical_margin(
    levels: Sequence[Level],
    decode: DecodePath,
    images: Float[Array | ndarray, "n *image"],
    *,
    radius: float,
    key: Array,
    features: Features | None = None,
    mode: Mode = "path",
    level_norms: Sequence[float] | None = None,
    norm: Norm = "l2",
    num_samples: int = 10_000,
    num_pilot_samples: int = 1_000,
    alpha: float = 1e-3,
    risk: float = 0.5,
    draw_batch: int | None = None,
    chunk_size: int = 16,
    progress: bool = False,
) -> Certificate:
    """Certifies the margin of r-robustness of every image under a model with one or more latent layers.

    The event is that ||decode(z) - c||_2 <= radius, c decoded from the mean path of the unperturbed image (z^i the
    mean of layer i given those means below), *and* that the whitened Jacobians of all layers, taken at the draw,
    stack to a spectral norm of at most kappa. With q the one-sided Clopper-Pearson bound of its probability,

        margin = (Phi^-1(q) - Phi^-1(risk)) / kappa.

    kappa is chosen, for each image, among the norms of `num_pilot_samples` separate draws: the one that promises
    the largest margin. The proof, and why neither averaged Jacobians nor those of the mean path would do, is at the
    top of this file. First order: the means are linearised in the perturbation, at each path. For one layer this is
    `certify`'s "spectral" margin, on the same draws. It is for comparing models, at the price of a Jacobian a draw; a
    margin to rely on is `certify(None, decode, images, levels=levels, method="pathwise")`, sound and for any depth.

    Each draw costs one backward pass for every latent coordinate above layer 1 (layer 1's Jacobian is the same for
    all draws). Those passes run for `draw_batch` draws and `chunk_size` coordinates at once, which bounds the
    memory, not the result. Where all levels read the image through the same features, pass these: the passes then
    end at the features, whose own Jacobian is found once for an image, and the result is the same.

    Args:
      levels: one function per layer, layer 1 (nearest the data) first: (x, below) -> DiagonalGaussian with mean
        and log_std [latent], for one example; below is the tuple of the latents of the layers before it.
      decode: the tuple of all latents -> x, the mean image, for one example.
      images: [n, ...], floating point, in the model's pixel range.
      radius: r, the L2 radius of the ball of reconstructions, in pixel units.
      key: one typed key. The draws depend on it, on the image's index and on the draw's index alone.
      features: x -> [feature], for one example; levels then take its value in the place of x.
      mode: "path", the norm of the levels' Jacobians stacked, draw by draw; or "sup", a bound for each level, composed.
      level_norms: for "sup", bounds of ||W_i||_2 that hold for all latents below, for every perturbation in question:
        standard deviations per pixel unit, one for each layer. Without them each level's largest norm among the pilot
        draws, which the event then includes.
      norm: of perturbations: "l2" or "linf".
      num_samples: draws for each image.
      num_pilot_samples: further draws for each image, to choose kappa by.
      alpha: probability of a failed bound, for each image.
      risk: m, the probability that the event must exceed.
      draw_batch: draws processed at once; by default 64 on a CPU, 256 on an accelerator.
      chunk_size: rows of each layer's Jacobian propagated at once.
      progress: shows a progress bar when the output is a terminal.

    Returns:
      A Certificate of method "hierarchical", or "hierarchical_sup", norm_bound holding kappa. It abstains where no
      pilot draw has a finite norm.

    Raises:
      TypeError, ValueError: as for `certify`, levels in the place of encode; what must be finite must be so along
        the mean path. A draw with a mean, sigma, Jacobian or reconstruction that is not finite is a miss.
    """
    check_radius(radius)
    draw_batch = default_draw_batch() if draw_batch is None else draw_batch
    check_counts(
        num_samples=num_samples, num_pilot_samples=num_pilot_samples, draw_batch=draw_batch, chunk_size=chunk_size
    )
    check_sufficient_samples(num_samples, alpha, risk)
    check_choice("mode", mode, get_args(Mode))
    check_norm(norm)
    check_key(key)
    array = check_images(images)
    latent_sizes, _ = check_hierarchy(levels, decode, array, features)
    given = _check_level_norms(level_norms, mode, len(latent_sizes))
    ends = np.cumsum(latent_sizes)
    by_level = [slice(int(end - size), int(end)) for end, size in zip(ends, latent_sizes, strict=True)]

    rows: list[tuple[Float[ndarray, ""], np.signedinteger]] = []
    constant: list[int] = []
    with progress_bar(len(array), progress, "hierarchical margin") as bar:
        draws = path_draws(
            *functions.hierarchy(levels, decode, features, array),
            array,
            key,
            num_draws=num_samples + num_pilot_samples,
            parts=by_level if mode == "sup" else [slice(0, int(ends[-1]))],
            norm=norm,
            draw_batch=draw_batch,
            chunk_size=chunk_size,
        )
        for norms, distances in draws:
            if not norms.any():
                constant.append(len(rows))
            near = distances <= radius
            pilot = slice(num_samples, None)
            if given is not None:
                kappas, within = given, np.isfinite(norms).all(axis=1)
            else:
                kappas = (
                    _largest(norms[pilot])
                    if mode == "sup"
                    else np.array([_choose_kappa(norms[pilot, 0], near[pilot], num_samples, alpha, risk)])
                )
                within = (norms <= kappas).all(axis=1)
            rows.append((np.asarray(gdp_compose(kappas)), np.count_nonzero((near & within)[:num_samples])))
            bar.update(1)

    warn_of_constant_means("the mean of every layer", constant, len(array), stacklevel=2)
    norm_bound, hits = (np.array(column) for column in zip(*rows, strict=True))
    p_lower = np.asarray(lower_confidence_bound(hits, num_samples, alpha))
    radii = np.asarray(margin(p_lower, norm_bound, risk=risk))
    return Certificate(
        radius=radii,
        p_lower=p_lower,
        hits=hits,
        abstained=~(radii > 0.0),
        norm_bound=norm_bound,
        norms=None,
        method="hierarchical" if mode == "path" else "hierarchical_sup",
        soundness="first_order",
        assumptions=_ASSUMPTIONS if given is None else (*_ASSUMPTIONS, _GIVEN_NORMS),
        alpha=alpha,
        risk=risk,
        reconstruction_radius=float(radius),
        num_samples=num_samples,
        norm=norm,
    )


def _check_level_norms(level_norms: Sequence[float] | None, mode: Mode, layers: int) -> Float[ndarray, "level"] | None:
    if level_norms is None:
        return None
    if mode != "sup":
        raise ValueError(f"level_norms are for mode='sup', not {mode!r}")
    try:
        norms = np.asarray(level_norms, np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(f"level_norms must be numbers, one for each layer; got {level_norms!r}") from error
    if norms.shape != (layers,) or not (norms >= 0.0).all():
        raise ValueError(f"level_norms must be {layers} numbers, one for each layer, none negative; got {level_norms}")
    return norms


def _largest(norms: Float[ndarray, "pilot level"]) -> Float[ndarray, "level"]:
    """The largest finite norm of each level, 0 without one: nothing is then within it."""
    return np.max(np.where(np.isfinite(norms), norms, 0.0), axis=0) * (1.0 + _NORM_ROUNDING)


def _choose_kappa(
    norms: Float[ndarray, "pilot"], near: Bool[ndarray, "pilot"], num_samples: int, alpha: float, risk: float
) -> float:
    """The pilot norm that promises the largest margin from num_samples draws; 0, for nothing, without a finite one.

    If k of M pilot draws are in the event, the promised probability is k / (M + 1): the next draw lies above their
    largest norm with probability 1 / (M + 1).
    """
    order = np.argsort(norms)
    candidates = norms[order][np.isfinite(norms[order])] * (1.0 + _NORM_ROUNDING)
    if candidates.size == 0:
        return 0.0
    within = np.searchsorted(norms[order], candidates, side="right")
    pilot_hits = np.cumsum(near[order])[within - 1]
    promised_hits = pilot_hits * num_samples // (len(norms) + 1)
    promise = margin(lower_confidence_bound(promised_hits, num_samples, alpha), candidates, risk=risk)
    # The largest of equals: without any promise, the event is left as likely as it can be.
    return float(candidates[::-1][np.argmax(promise[::-1])])
