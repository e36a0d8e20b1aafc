"""Certified margins of r-robustness for VAEs.

The room takes plain functions of one example, `encode(x) -> DiagonalGaussian` and `decode(z) -> x`,
so it works on any JAX model:

    from seatbelt_jax import bounds
    certificate = bounds.certify(encode, decode, images, radius=4.0, key=jax.random.key(0))

or, for a hierarchy of latent layers, one function per layer, `levels[i](x, latents below)`, and a
decoder of all latents:

    certificate = bounds.certify(
        None, decode, images, levels=levels, radius=4.0, key=key, method="pathwise"
    )

A `Model` takes the place of encode: `Model.of_vae(vae)` is a VAE of this library. `certificates` answers several
`Question`s about a model from the same draws.

How far a margin is to be trusted stands in `Certificate.soundness`: "first_order" margins linearise the encoder at the
image, "locally_exact" ones end where it ceases to be affine, and "sound" ones bound it over the whole ball.
"""

from seatbelt_jax.bounds.batches import certificates
from seatbelt_jax.bounds.certify import certify, certify_dataset, hierarchical_margin, margin_curve
from seatbelt_jax.bounds.claims import Claim, Method
from seatbelt_jax.bounds.confidence import lower_confidence_bound, upper_confidence_bound
from seatbelt_jax.bounds.dual import CertifiedReconstructionRadius, certified_reconstruction_radius
from seatbelt_jax.bounds.empirical import empirical_margin
from seatbelt_jax.bounds.jacobian import jacobian_norms
from seatbelt_jax.bounds.linear_region import linear_region_radius
from seatbelt_jax.bounds.lipschitz import LipschitzBound, local_lipschitz
from seatbelt_jax.bounds.margin import LipschitzConstants, camuto_margin, r_robustness_margin
from seatbelt_jax.bounds.methods import METHODS
from seatbelt_jax.bounds.model import Model
from seatbelt_jax.bounds.pathwise import pathwise_margin
from seatbelt_jax.bounds.question import Question
from seatbelt_jax.bounds.reconstruction import minimal_robust_radius
from seatbelt_jax.bounds.soundness import SoundnessReport, check_soundness
from seatbelt_jax.bounds.soundness_attacks import soundness_attacks
from seatbelt_jax.bounds.tradeoff import gdp_compose
from seatbelt_jax.bounds.work import Work
from seatbelt_jax.results import Certificate, EmpiricalMargin, JacobianNorms, MinimalRobustRadius

__all__ = [
    "METHODS",
    "Certificate",
    "CertifiedReconstructionRadius",
    "Claim",
    "EmpiricalMargin",
    "JacobianNorms",
    "LipschitzBound",
    "LipschitzConstants",
    "Method",
    "MinimalRobustRadius",
    "Model",
    "Question",
    "SoundnessReport",
    "Work",
    "camuto_margin",
    "certificates",
    "certified_reconstruction_radius",
    "certify",
    "certify_dataset",
    "check_soundness",
    "empirical_margin",
    "gdp_compose",
    "hierarchical_margin",
    "jacobian_norms",
    "linear_region_radius",
    "local_lipschitz",
    "lower_confidence_bound",
    "margin_curve",
    "minimal_robust_radius",
    "pathwise_margin",
    "r_robustness_margin",
    "soundness_attacks",
    "upper_confidence_bound",
]
