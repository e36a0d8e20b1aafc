"""The certificate seen from the other side: the ball of reconstructions that holds at a given perturbation."""

import dataclasses
from collections.abc import Sequence
from typing import Literal, Unpack, get_args

import numpy as np
from jaxtyping import Array, Float
from numpy import ndarray

from seatbelt_jax.bounds.checks import Norm, check_images, check_perturbation
from seatbelt_jax.bounds.confidence import quantile_ranks
from seatbelt_jax.bounds.evidence import Evidence, Needed, gather
from seatbelt_jax.bounds.functions import Decode, DecodePath, Encode, Features, Level
from seatbelt_jax.bounds.methods import METHODS
from seatbelt_jax.bounds.model import Model, given
from seatbelt_jax.bounds.question import Question
from seatbelt_jax.bounds.settings import Settings, records
from seatbelt_jax.bounds.streaming import Source
from seatbelt_jax.bounds.tradeoff import required_probability
from seatbelt_jax.bounds.work import Work
from seatbelt_jax.results import Soundness
from seatbelt_jax.sections import check_choice

# Methods whose evidence is the probability of one ball: their bound is turned round. Or draws, each bounded alone.
DualMethod = Literal["spectral", "moving_std", "lipschitz", "pathwise"]


@dataclasses.dataclass(frozen=True, eq=False)
class CertifiedReconstructionRadius:
    """How far reconstructions can move under perturbations of a given size, for n images.

    For each image on its own, with probability at least `confidence` over the draws and under `assumptions`: every
    perturbation d with ||d|| < eps leaves P(||g(z) - c||_2 <= radius) > risk, c the reconstruction of the
    unperturbed x.

    Attributes:
      radius: [n], L2 in pixel units, an order statistic of the draws; infinite where there is no claim: too few draws
        for a perturbation of this size.
      required: [n], the probability that the unperturbed image must give the ball for the claim to follow; for
        "pathwise", whose bounds hold at the perturbed image, the risk.
      eps: size of the perturbations, in pixel units.
      norm: of the perturbations, "l2" or "linf".
      method, soundness, assumptions, risk, num_samples: as in a `Certificate`.
      alpha: probability, for each image, that the claim fails.
    """

    radius: Float[ndarray, "n"]
    required: Float[ndarray, "n"]
    eps: float
    norm: Norm
    method: str
    soundness: Soundness
    assumptions: tuple[str, ...]
    risk: float
    alpha: float
    num_samples: int

    @property
    def confidence(self) -> float:
        """1 - alpha, for each image on its own."""
        return 1.0 - self.alpha


def certified_reconstruction_radius(
    encode: Encode | Model | None,
    decode: Decode | DecodePath | None,
    images: Float[Array | ndarray, "n *image"],
    *,
    eps: float,
    key: Array,
    method: DualMethod = "spectral",
    levels: Sequence[Level] | None = None,
    features: Features | None = None,
    **settings: Unpack[Settings],
) -> CertifiedReconstructionRadius:
    """The radius r within which each reconstruction stays, more likely than `risk`, under any perturbation below eps.

    The dual of `certify`: where a margin turns a probability into a perturbation, here the perturbation says which
    probability p* the unperturbed image must give (`tradeoff.required_probability`), and r is an upper confidence
    bound of the p*-quantile of ||Delta(x)||_2: an order statistic of the draws, valid for any distribution. Its choice
    needs no draws of its own. By "pathwise" it is an order statistic of bounds of how far each draw is moved.

    Args:
      eps: size of the perturbations, in pixel units; positive.
      method: "spectral", "moving_std", "lipschitz" or, also for hierarchies, "pathwise"; see `certify`.
      The other arguments and the errors are those of `certify`.
    """
    check_choice("method", method, get_args(DualMethod))
    check_perturbation(eps)
    question, work = records(settings, Settings, key=key, method=method)
    return _radii(given(encode, decode, levels, features), check_images(images), float(eps), question, work)


def _radii(
    model: Model, images: Float[ndarray, "n *image"], eps: float, question: Question, work: Work
) -> CertifiedReconstructionRadius:
    layers, _ = model.checked(images)
    method = METHODS[question.method]
    if layers.encode is None and method.models == "one":
        raise ValueError(f"method {question.method!r} is for one latent layer, given as encode; use method='pathwise'")
    num_draws = question.num_paths if "paths" in method.needs else question.num_samples
    needed = Needed(num_draws, paths=num_draws if "paths" in method.needs else 0)
    radii, levels_of = [], []
    for evidence in gather(layers, Source.of(images), question, needed, work):
        distances, required = evidence.distances[..., 0], np.full(len(evidence.images), question.risk)
        if needed.paths:
            distances = np.stack([draws.deviations_at(eps) for draws in evidence.paths])
        else:
            shift, log_std_shift = _shifts(evidence, question.method, eps)
            required = np.asarray(required_probability(shift, log_std_shift, risk=question.risk))
        for of_image, level in zip(np.sort(distances, axis=1), required, strict=True):
            # No order statistic is above a quantile of level 1.
            rank = quantile_ranks(num_draws, level, question.alpha)[1] if level < 1.0 else num_draws + 1
            radii.append(of_image[rank - 1] if rank <= num_draws else np.inf)
        levels_of.append(required)
    return CertifiedReconstructionRadius(
        radius=np.array(radii),
        required=np.concatenate(levels_of),
        eps=eps,
        norm=question.norm,
        method=question.method,
        soundness=method.soundness,
        assumptions=method.assumed(question),
        risk=question.risk,
        alpha=question.alpha,
        num_samples=num_draws,
    )


def _shifts(evidence: Evidence, method: str, eps: float) -> tuple[Float[ndarray, "batch"], Float[ndarray, "batch"]]:
    """How far mean, in standard deviations, and log sigma can move under perturbations of size eps."""
    if method == "lipschitz":
        constants = [
            evidence.of_encoder.in_ball(image, std, with_decoder=False)(eps)
            for image, std in zip(evidence.images, evidence.std, strict=True)
        ]
        return (
            eps * np.array([float(np.asarray(c.whitened_mean)) for c in constants]),
            eps * np.array([float(np.asarray(c.log_std)) for c in constants]),
        )
    moving = evidence.norms.log_std_spectral if method == "moving_std" else 0.0
    return eps * np.asarray(evidence.norms.whitened_spectral), np.broadcast_to(eps * moving, len(evidence.images))
