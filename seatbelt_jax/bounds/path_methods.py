"""The pathwise methods of `certify`: order statistics of how far each draw can be moved, for any depth.

The argument, and what an order statistic of the draws claims, is at the top of `pathwise`.
"""

import functools

import jax
import numpy as np
from jaxtyping import Array, Float

from seatbelt_jax.bounds.checks import Norm
from seatbelt_jax.bounds.claims import Claim, hits_and_bound
from seatbelt_jax.bounds.confidence import sufficient_hits
from seatbelt_jax.bounds.evidence import Evidence
from seatbelt_jax.bounds.layers import Layers
from seatbelt_jax.bounds.pathwise import pathwise_radii
from seatbelt_jax.bounds.question import Question


def pathwise(evidence: Evidence, question: Question) -> Claim:
    """The largest radius that enough draws are proven to survive."""
    hits, p_lower = hits_and_bound(evidence, question)
    rank = sufficient_hits(question.num_paths, question.alpha, question.risk)
    radius = np.array([draws.largest(question.radius, rank) for draws in evidence.paths])
    return Claim(radius, p_lower, hits, np.full(len(hits), np.nan))


def pathwise_first_order(evidence: Evidence, question: Question) -> Claim:
    """The radius that enough draws survive to first order."""
    hits, p_lower = hits_and_bound(evidence, question)
    rank = sufficient_hits(question.num_paths, question.alpha, question.risk)
    radii = [
        np.sort(_first_order_radii(evidence.layers, image, noise, question.radius, norm=question.norm))[-rank]
        for image, noise in zip(evidence.images, evidence.noise, strict=True)
    ]
    return Claim(np.asarray(radii, np.float64), p_lower, hits, np.full(len(hits), np.nan))


@functools.partial(jax.jit, static_argnames="norm")
def _first_order_radii(
    layers: Layers, image: Float[Array, "*image"], noise: Float[Array, "path total"], radius: float, *, norm: Norm
) -> Float[Array, "path"]:
    return pathwise_radii(layers, image, noise, radius=radius, norm=norm)
