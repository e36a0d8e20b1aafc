"""The methods of `certify`: from the evidence of a batch of images to what is claimed of each.

Every margin is `margin.margin` of a lower confidence bound and of a bound on how fast a perturbation moves the
latents; the methods differ in the two, and so in what must be assumed.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Float, Int
from numpy import ndarray

from seatbelt_jax.bounds.ball import ConstantsIn, MovementBounds, largest_ball
from seatbelt_jax.bounds.certificate import Soundness
from seatbelt_jax.bounds.checks import Norm
from seatbelt_jax.bounds.confidence import lower_confidence_bound
from seatbelt_jax.bounds.evidence import Evidence
from seatbelt_jax.bounds.margin import (
    LipschitzConstants,
    camuto_margin,
    camuto_norm_bound,
    r_robustness_margin,
)

# Shares of r among which "hybrid" chooses r' for an image, by pilot draws.
_INNER_SHARES = np.linspace(0.02, 1.0, 50)


@dataclasses.dataclass(frozen=True)
class Question:
    """What is to be certified: the arguments of `certify` that a claim depends on."""

    method: str
    radius: float
    num_samples: int
    alpha: float
    risk: float
    norm: Norm
    movement: MovementBounds

    @property
    def given(self) -> tuple[str, ...]:
        """The assumption that constants which were given bring with them, where the method uses them."""
        constants = self.movement.given
        if constants is None or self.method not in ("lipschitz", "hybrid"):
            return ()
        return (f"The Lipschitz constants that were given hold for every perturbation and latent: {constants}.",)

    def describe(self) -> str:
        """All of it in words, but for the model."""
        fields = [getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "movement"]
        return f"{fields} {self.movement.given}"


class Claim(NamedTuple):
    """What a method claims for each image of a batch. The fields are those of a `Certificate`."""

    radius: Float[Array | ndarray, "batch"]
    p_lower: Float[Array | ndarray, "batch"]
    hits: Int[ndarray, "batch"]
    norm_bound: Float[Array | ndarray, "batch"]


@dataclasses.dataclass(frozen=True)
class Method:
    """How a margin is claimed, with the words that go with it in a certificate.

    Attributes:
      claim: from the evidence of a batch.
      soundness, assumptions: as in a `Certificate`.
      mirrored: whether it needs the mirror images of the draws.
      pilot: whether it needs draws to choose by.
      norms: of perturbations, for which it has a bound.
    """

    claim: Callable[[Evidence, Question], Claim]
    soundness: Soundness
    assumptions: tuple[str, ...]
    mirrored: bool = False
    pilot: bool = False
    norms: tuple[Norm, ...] = ("l2", "linf")


def _camuto(evidence: Evidence, question: Question) -> Claim:
    hits, p_lower = _single(evidence, question)
    radius = camuto_margin(p_lower, evidence.norms, risk=question.risk)
    return Claim(radius, p_lower, hits, camuto_norm_bound(evidence.norms))


def _spectral(evidence: Evidence, question: Question) -> Claim:
    hits, p_lower = _single(evidence, question)
    radius = r_robustness_margin(p_lower, evidence.norms, risk=question.risk)
    return Claim(radius, p_lower, hits, evidence.norms.whitened_spectral)


def _antithetic(evidence: Evidence, question: Question) -> Claim:
    # Two bounds that must hold at once, so half of alpha for each.
    alpha = question.alpha / 2.0
    hits = evidence.hits(question.radius)
    p_lower = lower_confidence_bound(hits, question.num_samples, alpha)
    pairs = lower_confidence_bound(evidence.pair_hits(question.radius), question.num_samples, alpha)
    radius = r_robustness_margin(p_lower, evidence.norms, risk=question.risk, pair_p_lower=pairs)
    return Claim(radius, p_lower, hits, evidence.norms.whitened_spectral)


def _moving_std(evidence: Evidence, question: Question) -> Claim:
    hits, p_lower = _single(evidence, question)
    radius = r_robustness_margin(p_lower, evidence.norms, risk=question.risk, frozen_std=False)
    return Claim(radius, p_lower, hits, evidence.norms.whitened_spectral)


def _linear_region(evidence: Evidence, question: Question) -> Claim:
    hits, p_lower = _single(evidence, question)
    movement, radii, norm_bounds = question.movement, [], []
    for image, std, p in zip(evidence.images, evidence.std, p_lower, strict=True):
        # In the region the Jacobians at the image are those everywhere, and mean and log sigma move by them exactly.
        constants = movement.at_centre(image, std)
        margin = float(r_robustness_margin(p, risk=question.risk, lipschitz=constants))
        radii.append(min(margin, movement.linear_region_radius(image, std)))
        norm_bounds.append(float(np.asarray(constants.whitened_mean)))
    return Claim(np.array(radii), p_lower, hits, np.array(norm_bounds))


def _lipschitz(evidence: Evidence, question: Question) -> Claim:
    hits, p_lower = _single(evidence, question)
    balls = [
        _ball(question, p, constants_in)
        for p, constants_in in zip(p_lower, _constants(evidence, question, with_decoder=False), strict=True)
    ]
    radius, norm_bound = np.array(balls).T
    return Claim(radius, p_lower, hits, norm_bound)


def _hybrid(evidence: Evidence, question: Question) -> Claim:
    constants = _constants(evidence, question, with_decoder=True)
    inner = np.array(
        [
            _choose_inner_radius(question, pilot, constants_in(0.0))
            for pilot, constants_in in zip(evidence.pilot_distances, constants, strict=True)
        ]
    )
    hits = evidence.hits(inner)
    p_lower = lower_confidence_bound(hits, question.num_samples, question.alpha)
    balls = [
        _ball(question, p, constants_in, question.radius - r)
        for p, constants_in, r in zip(p_lower, constants, inner, strict=True)
    ]
    radius, norm_bound = np.array(balls).T
    return Claim(radius, p_lower, hits, norm_bound)


def _single(evidence: Evidence, question: Question) -> tuple[Int[ndarray, "batch"], Float[Array | ndarray, "batch"]]:
    hits = evidence.hits(question.radius)
    return hits, lower_confidence_bound(hits, question.num_samples, question.alpha)


def _constants(evidence: Evidence, question: Question, *, with_decoder: bool) -> list[ConstantsIn]:
    """For each image, from the radius of a ball around it to constants that hold in the ball."""
    return [
        question.movement.in_ball(image, std, with_decoder=with_decoder)
        for image, std in zip(evidence.images, evidence.std, strict=True)
    ]


def _ball(question: Question, p_lower: float, constants_in: ConstantsIn, slack: float = 0.0) -> tuple[float, float]:
    """The largest ball that its own constants certify, and the mean's; p_lower is that of the radius less the slack."""
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

METHODS = {
    "camuto": Method(_camuto, "first_order", (_SAME_SIGMA, _LINEAR_MEAN, _ONE_LAYER, _FIXED), norms=("l2",)),
    "spectral": Method(_spectral, "first_order", (_SAME_SIGMA, _LINEAR_MEAN, _ONE_LAYER, _FIXED)),
    "antithetic": Method(_antithetic, "first_order", (_SAME_SIGMA, _LINEAR_MEAN, _ONE_LAYER, _FIXED), mirrored=True),
    "moving_std": Method(_moving_std, "first_order", (_MOVING_SIGMA, _LINEAR_MEAN, _ONE_LAYER, _FIXED)),
    "linear_region": Method(_linear_region, "locally_exact", (_ARITHMETIC, _ONE_LAYER, _FIXED)),
    "lipschitz": Method(_lipschitz, "sound", (_ARITHMETIC, _ONE_LAYER, _FIXED)),
    "hybrid": Method(_hybrid, "sound", (_ARITHMETIC, _DECODE_ARITHMETIC, _ONE_LAYER, _FIXED), pilot=True),
}
