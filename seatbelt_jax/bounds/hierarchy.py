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

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from seatbelt_jax.bounds.claims import Claim
from seatbelt_jax.bounds.confidence import lower_confidence_bound
from seatbelt_jax.bounds.evidence import Evidence
from seatbelt_jax.bounds.margin import margin
from seatbelt_jax.bounds.question import Question
from seatbelt_jax.bounds.tradeoff import gdp_compose

# Norms that agree exactly but for rounding must not fall on both sides of kappa.
_NORM_ROUNDING = 2e-6

# From norms of pilot draws, and whether these lie near the centre, to a bound for each part of the latents.
_Choose = Callable[[Float[ndarray, "pilot part"], Bool[ndarray, "pilot"]], Float[ndarray, "part"]]


def hierarchical(evidence: Evidence, question: Question) -> Claim:
    """The norm of the levels' Jacobians stacked, draw by draw; kappa promises the largest margin (mode "path")."""

    def choose(norms: Float[ndarray, "pilot part"], near: Bool[ndarray, "pilot"]) -> Float[ndarray, "part"]:
        return np.array([_choose_kappa(norms[:, 0], near, question)])

    return _claim(evidence, question, [slice(0, sum(evidence.layers.sizes))], choose)


def hierarchical_sup(evidence: Evidence, question: Question) -> Claim:
    """A bound for each level, the largest norm of pilot draws or a given one, composed (mode "sup").

    Raises:
      ValueError: level_norms that are not one for each layer.
    """
    sizes, given = evidence.layers.sizes, question.level_norms
    if given is not None and (len(given) != len(sizes) or not all(norm >= 0.0 for norm in given)):
        raise ValueError(
            f"level_norms must be {len(sizes)} numbers, one for each layer, none negative; got {list(given)}"
        )
    ends = np.cumsum(sizes)
    parts = [slice(int(end - size), int(end)) for end, size in zip(ends, sizes, strict=True)]
    return _claim(evidence, question, parts, lambda norms, near: _largest(norms), given)


def _claim(
    evidence: Evidence,
    question: Question,
    parts: Sequence[slice],
    choose: _Choose,
    given: Sequence[float] | None = None,
) -> Claim:
    kappas_of, hits = [], []
    # Pilot draws follow all others.
    drawn, pilot = evidence.distances.shape[1], evidence.pilot_distances.shape[1]
    for row, image in enumerate(evidence.images):
        norms = evidence.along_paths(image, evidence.first + row, drawn + pilot, parts)
        near = evidence.distances[row, : question.num_samples, 0] <= question.radius
        if given is None:
            kappas = choose(norms[drawn:], evidence.pilot_distances[row] <= question.radius)
            within = (norms[: question.num_samples] <= kappas).all(axis=1)
        else:
            kappas, within = np.asarray(given), np.isfinite(norms[: question.num_samples]).all(axis=1)
        kappas_of.append(kappas)
        hits.append(np.count_nonzero(near & within))
    p_lower = np.asarray(lower_confidence_bound(np.array(hits), question.num_samples, question.alpha))
    norm_bound = np.asarray(gdp_compose(np.array(kappas_of)))
    return Claim(margin(p_lower, norm_bound, risk=question.risk), p_lower, np.array(hits), norm_bound)


def _largest(norms: Float[ndarray, "pilot level"]) -> Float[ndarray, "level"]:
    """The largest finite norm of each level, 0 without one: nothing is then within it."""
    return np.max(np.where(np.isfinite(norms), norms, 0.0), axis=0) * (1.0 + _NORM_ROUNDING)


def _choose_kappa(norms: Float[ndarray, "pilot"], near: Bool[ndarray, "pilot"], question: Question) -> float:
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
    promised_hits = pilot_hits * question.num_samples // (len(norms) + 1)
    promised = lower_confidence_bound(promised_hits, question.num_samples, question.alpha)
    promise = margin(promised, candidates, risk=question.risk)
    # The largest of equals: without any promise, the event is left as likely as it can be.
    return float(candidates[::-1][np.argmax(promise[::-1])])
