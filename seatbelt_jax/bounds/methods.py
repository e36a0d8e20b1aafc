"""The methods of `certify`: from the evidence of a batch of images to what is claimed of each.

Most margins are `margin.margin` of a lower confidence bound and of a bound on how fast a perturbation moves the
latents; those methods differ in the two, and so in what must be assumed. The pathwise ones are order statistics of how
far each draw can be moved (`pathwise`), and know any number of latent layers.
"""

import dataclasses

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from seatbelt_jax.bounds.ball import ConstantsIn, largest_ball
from seatbelt_jax.bounds.checks import is_refusal
from seatbelt_jax.bounds.claims import Claim, Method, Need, Taken, hits_and_bound
from seatbelt_jax.bounds.confidence import lower_confidence_bound
from seatbelt_jax.bounds.evidence import Evidence
from seatbelt_jax.bounds.hierarchy import hierarchical, hierarchical_sup
from seatbelt_jax.bounds.margin import (
    LipschitzConstants,
    camuto_margin,
    camuto_norm_bound,
    r_robustness_margin,
)
from seatbelt_jax.bounds.path_methods import pathwise, pathwise_first_order
from seatbelt_jax.bounds.question import Question
from seatbelt_jax.registry import Registry

# Shares of r among which "hybrid" chooses r' for an image, by pilot draws.
_INNER_SHARES = np.linspace(0.02, 1.0, 50)


def _camuto(evidence: Evidence, question: Question) -> Claim:
    hits, p_lower = hits_and_bound(evidence, question)
    radius = camuto_margin(p_lower, evidence.norms, risk=question.risk)
    return Claim(radius, p_lower, hits, camuto_norm_bound(evidence.norms))


def _spectral(evidence: Evidence, question: Question) -> Claim:
    hits, p_lower = hits_and_bound(evidence, question)
    radius = r_robustness_margin(p_lower, evidence.norms, risk=question.risk)
    return Claim(radius, p_lower, hits, evidence.norms.whitened_spectral)


def _antithetic(evidence: Evidence, question: Question) -> Claim:
    # Two bounds that must hold at once, so half of alpha for each.
    alpha = question.alpha / 2.0
    hits = evidence.hits(question.radius, question.num_samples)
    p_lower = lower_confidence_bound(hits, question.num_samples, alpha)
    pairs = lower_confidence_bound(
        evidence.pair_hits(question.radius, question.num_samples), question.num_samples, alpha
    )
    radius = r_robustness_margin(p_lower, evidence.norms, risk=question.risk, pair_p_lower=pairs)
    return Claim(radius, p_lower, hits, evidence.norms.whitened_spectral)


def _moving_std(evidence: Evidence, question: Question) -> Claim:
    hits, p_lower = hits_and_bound(evidence, question)
    radius = r_robustness_margin(p_lower, evidence.norms, risk=question.risk, frozen_std=False)
    return Claim(radius, p_lower, hits, evidence.norms.whitened_spectral)


def _linear_region(evidence: Evidence, question: Question) -> Claim:
    hits, p_lower = hits_and_bound(evidence, question)
    movement, radii, norm_bounds = evidence.of_encoder, [], []
    for image, std, p in zip(evidence.images, evidence.std, p_lower, strict=True):
        # In the region the Jacobians at the image are those everywhere, and mean and log sigma move by them exactly.
        constants = movement.at_centre(image, std)
        margin = float(r_robustness_margin(p, risk=question.risk, lipschitz=constants))
        radii.append(min(margin, movement.linear_region_radius(image, std)))
        norm_bounds.append(float(np.asarray(constants.whitened_mean)))
    return Claim(np.array(radii), p_lower, hits, np.array(norm_bounds))


def _lipschitz(evidence: Evidence, question: Question) -> Claim:
    hits, p_lower = hits_and_bound(evidence, question)
    balls = [
        _ball(question, p, constants_in)
        for p, constants_in in zip(p_lower, _constants(evidence, with_decoder=False), strict=True)
    ]
    radius, norm_bound = np.array(balls).T
    return Claim(radius, p_lower, hits, norm_bound)


def _hybrid(evidence: Evidence, question: Question) -> Claim:
    constants = _constants(evidence, with_decoder=True)
    inner = np.array(
        [
            _choose_inner_radius(question, pilot, constants_in(0.0))
            for pilot, constants_in in zip(evidence.pilot_distances, constants, strict=True)
        ]
    )
    hits = evidence.hits(inner, question.num_samples)
    p_lower = lower_confidence_bound(hits, question.num_samples, question.alpha)
    balls = [
        _ball(question, p, constants_in, question.radius - r)
        for p, constants_in, r in zip(p_lower, constants, inner, strict=True)
    ]
    radius, norm_bound = np.array(balls).T
    return Claim(radius, p_lower, hits, norm_bound)


def _best_sound(evidence: Evidence, question: Question) -> Claim:
    """The larger of "pathwise" and "hybrid", each at half of alpha; where one cannot read the code, all is the other's.

    Whether it can depends on the code and the images, not on draws.
    """
    halved = dataclasses.replace(question, alpha=question.alpha / 2.0)
    if evidence.movement is None:
        return _over_samples(pathwise(evidence, question), evidence, question)
    try:
        other = _hybrid(evidence, halved)
    except ValueError as error:
        if not is_refusal(error):
            raise
        return _over_samples(pathwise(evidence, question), evidence, question)
    try:
        best = pathwise(evidence, halved)
    except ValueError as error:
        if not is_refusal(error):
            raise
        return _over_samples(_hybrid(evidence, question), evidence, question)
    larger = np.asarray(other.radius) > best.radius
    best = best._replace(
        radius=np.where(larger, other.radius, best.radius),
        norm_bound=np.where(larger, other.norm_bound, best.norm_bound),
    )
    return _over_samples(best, evidence, halved)


def _over_samples(claim: Claim, evidence: Evidence, question: Question) -> Claim:
    """With the hits of all draws, whichever method the radius is by."""
    hits, p_lower = hits_and_bound(evidence, question)
    return claim._replace(hits=hits, p_lower=p_lower)


def _constants(evidence: Evidence, *, with_decoder: bool) -> list[ConstantsIn]:
    """For each image, from the radius of a ball around it to constants that hold in the ball."""
    return [
        evidence.of_encoder.in_ball(image, std, with_decoder=with_decoder)
        for image, std in zip(evidence.images, evidence.std, strict=True)
    ]


def _ball(question: Question, p_lower: float, constants_in: ConstantsIn, slack: float = 0.0) -> tuple[float, float]:
    """The largest ball certified by its own constants, and the mean's constant; p_lower is for radius less slack."""
    if p_lower <= question.risk:
        return 0.0, np.inf

    def margin_with(constants: LipschitzConstants) -> float:
        return float(r_robustness_margin(p_lower, risk=question.risk, lipschitz=constants, slack=slack))

    # No constant that holds in a ball is below the one at its centre.
    return largest_ball(constants_in, margin_with, margin_with(constants_in(0.0)))


def _choose_inner_radius(question: Question, pilot: Float[ndarray, "pilot"], constants: LipschitzConstants) -> float:
    """The r' that promises the largest margin by the pilot draws, under the constants at the image."""
    radii = question.radius * _INNER_SHARES
    pilot_hits = np.count_nonzero(pilot <= radii[:, None], axis=1)
    promised_hits = pilot_hits * question.num_samples // (len(pilot) + 1)
    promised = lower_confidence_bound(promised_hits, question.num_samples, question.alpha)
    margins = r_robustness_margin(promised, risk=question.risk, lipschitz=constants, slack=question.radius - radii)
    # The largest of equals: without any promise, the event is left as likely as it can be.
    return float(radii[len(radii) - 1 - int(np.argmax(margins[::-1]))])


_SAME_SIGMA = "The standard deviation of the encoder stays what it is at x (frozen sigma)."
_MOVING_SIGMA = "The logarithm of sigma moves as its linearisation at x: exact only where it is affine over the ball."
_LINEAR_MEAN = (
    "The mean of the encoder moves as its linearisation at x: exact only where the mean is affine "
    "over the whole ball of perturbations."
)
_ONE_LAYER = "One latent layer: encode gives the only random variable that decode reads."
_FIXED = (
    "encode and decode are deterministic, and the radius of the ball of reconstructions, "
    "the risk and the number of draws were fixed before the draws."
)
_ARITHMETIC = "encode is what its code says in real arithmetic: its own rounding is no part of the bounds."
_DECODE_ARITHMETIC = (
    "decode is what its code says in real arithmetic: the bound of its slope leaves out its own rounding, which can "
    "move a reconstruction by a little more."
)

_DETERMINISTIC = (
    "levels, or encode, and decode are deterministic and decode reads no random variable but theirs; the radius of the "
    "ball of reconstructions, the risk and the number of draws were fixed before the draws."
)
_MOVES_LINEARLY = (
    "The reconstruction moves, with the noise of each draw held fixed, as its linearisation at x: exact only where it "
    "is affine in x over the whole ball of perturbations."
)

_ALONG_PATHS = (
    "The standard deviation of every layer, a function of the layers below it, stays that function at x (frozen "
    "sigma).",
    "The mean of every layer moves, along each path of the layers below it, as its linearisation at x: exact only "
    "where it is affine in x over the whole ball of perturbations.",
    "decode reads no other random variable than the layers that levels gives.",
    "levels and decode are deterministic, and the radius of the ball of reconstructions, the risk and the number of "
    "draws were fixed before the draws; kappa was chosen by pilot draws of their own.",
)
_GIVEN: Taken = ("lipschitz", "The Lipschitz constants that were given hold for every perturbation and latent")
_GIVEN_NORMS: Taken = ("level_norms", "The norms of the levels that were given bound them at all latents")

# What a method needs of the draws.
_PATHS: frozenset[Need] = frozenset({"paths"})
_MIRRORED: frozenset[Need] = frozenset({"samples", "mirrored"})
_PILOT: frozenset[Need] = frozenset({"samples", "pilot"})

METHODS: Registry[Method] = Registry(
    "a method of certify",
    {
        "camuto": Method(_camuto, "first_order", (_SAME_SIGMA, _LINEAR_MEAN, _ONE_LAYER, _FIXED), norms=("l2",)),
        "spectral": Method(_spectral, "first_order", (_SAME_SIGMA, _LINEAR_MEAN, _ONE_LAYER, _FIXED)),
        "antithetic": Method(_antithetic, "first_order", (_SAME_SIGMA, _LINEAR_MEAN, _ONE_LAYER, _FIXED), _MIRRORED),
        "moving_std": Method(_moving_std, "first_order", (_MOVING_SIGMA, _LINEAR_MEAN, _ONE_LAYER, _FIXED)),
        "linear_region": Method(_linear_region, "locally_exact", (_ARITHMETIC, _ONE_LAYER, _FIXED)),
        "lipschitz": Method(_lipschitz, "sound", (_ARITHMETIC, _ONE_LAYER, _FIXED), takes=_GIVEN),
        "hybrid": Method(_hybrid, "sound", (_ARITHMETIC, _DECODE_ARITHMETIC, _ONE_LAYER, _FIXED), _PILOT, takes=_GIVEN),
        "pathwise": Method(pathwise, "sound", (_DETERMINISTIC,), _PATHS, "any"),
        "pathwise_first_order": Method(
            pathwise_first_order, "first_order", (_MOVES_LINEARLY, _DETERMINISTIC), _PATHS, "any"
        ),
        "best_sound": Method(
            _best_sound,
            "sound",
            (_ARITHMETIC, _DECODE_ARITHMETIC, _DETERMINISTIC),
            _PILOT | _PATHS,
            "any",
            takes=_GIVEN,
        ),
        "hierarchical": Method(hierarchical, "first_order", _ALONG_PATHS, _PILOT, "levels"),
        "hierarchical_sup": Method(hierarchical_sup, "first_order", _ALONG_PATHS, _PILOT, "levels", takes=_GIVEN_NORMS),
    },
)
