"""Certified margins of r-robustness for VAEs.

The room takes plain functions of one example, `encode(x) -> DiagonalGaussian` and `decode(z) -> x`,
so it works on any JAX model:

    from seatbelt_jax import bounds
    certificate = bounds.certify(encode, decode, images, radius=4.0, key=jax.random.key(0))

or, for a hierarchy of latent layers, one function per layer, `levels[i](x, latents below)`, and a
decoder of all latents:

    certificate = bounds.hierarchical_margin(levels, decode, images, radius=4.0, key=key)

Margins here are first order (`Certificate.soundness`): exact for an affine mean, else as good as
the mean's linearisation over the ball.
"""

from seatbelt_jax.bounds.certificate import Certificate
from seatbelt_jax.bounds.certify import certify
from seatbelt_jax.bounds.confidence import lower_confidence_bound, upper_confidence_bound
from seatbelt_jax.bounds.hierarchy import hierarchical_margin
from seatbelt_jax.bounds.jacobian import JacobianNorms, jacobian_norms
from seatbelt_jax.bounds.margin import camuto_margin, r_robustness_margin
from seatbelt_jax.bounds.reconstruction import MinimalRobustRadius, minimal_robust_radius

__all__ = [
    "Certificate",
    "JacobianNorms",
    "MinimalRobustRadius",
    "camuto_margin",
    "certify",
    "hierarchical_margin",
    "jacobian_norms",
    "lower_confidence_bound",
    "minimal_robust_radius",
    "r_robustness_margin",
    "upper_confidence_bound",
]
