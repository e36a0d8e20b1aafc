"""The first-order pathwise margin: how far each draw can be moved, by the Jacobian of its reconstruction.

Write a draw as a function of its noise e, z = mu(x) + sigma(x) e, and h_e(x) = decode(z), which is deterministic. With
R_e = sup{R : ||h_e(x + d) - c||_2 <= r for all ||d||_2 <= R} and c = decode(mu(x)), a perturbation d leaves
P(A_r) >= P(R_e >= ||d||), for all d at once. So of N draws the k-th largest R_e is a margin with confidence 1 - alpha,
where k is the least number of hits whose Clopper-Pearson bound exceeds the risk. Sigma moves along with the image.

To first order R_e = (r - ||h_e(x) - c||) / ||J_{h_e}(x)||_2. That is no bound of R_e: attacks have been found below it.
It is the margin to train with, smooth in the model's parameters and cheap; a certificate comes from `certify`.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy import ndarray

from seatbelt_jax.bounds.checks import (
    Decode,
    Encode,
    check_counts,
    check_encode,
    check_probability,
    check_radius,
    check_traced_image,
)
from seatbelt_jax.bounds.confidence import check_sufficient_samples, lower_confidence_bound
from seatbelt_jax.bounds.eigenvalue import largest_product_eigenvalue
from seatbelt_jax.bounds.jacobian import jacobian_rows
from seatbelt_jax.bounds.precision import float64_formula, is_traced
from seatbelt_jax.gaussian import sample
from seatbelt_jax.norm import l2_norm, safe_sqrt

# Added to squared norms, relative: more than the float32 rounding of Jacobians whose layers do not cancel.
_INFLATION = 1e-5

Number = Float[Array, ""]


def pathwise_margin(
    encode: Encode,
    decode: Decode,
    x: Float[Array | ndarray, "*image"],
    noise: Float[Array | ndarray, "draw latent"],
    *,
    radius: Float[Array, ""] | float,
    risk: Float[Array, ""] | float = 0.5,
    alpha: float = 1e-3,
    draw_batch: int = 16,
) -> Float[Array, ""]:
    """The k-th largest first-order radius of an image's draws, in L2; for one latent layer.

    First order: see the top of this file. It can be jitted, vmapped over images, radius and risk, and differentiated,
    once, in the image, the radius and whatever encode and decode close over; in reverse mode and in forward mode.
    Jacobians are computed in the arithmetic of the model, their norms from there on in float64, raised by 5e-6.

    Args:
      encode: x -> DiagonalGaussian with mean and log_std [latent], for one example.
      decode: z [latent] -> x, the mean image, for one example.
      x: one image.
      noise: standard-normal draws, as jax.random.normal(key, (64, latent)) gives them.
      radius: r, the L2 radius of the ball of reconstructions, in pixel units.
      risk: m, the probability that A_r must exceed.
      alpha: probability that the draws promise too much.
      draw_batch: draws whose Jacobians are held at once; bounds the memory, not the result.

    Returns:
      Distance in pixel units; 0 where too few draws lie within the radius, infinite where none can be moved.

    Raises:
      TypeError, ValueError: encode does not return one layer's DiagonalGaussian, noise does not fit it, or alpha is
        traced; where their values are known, a radius that is not positive, risk or alpha outside (0, 1), or too few
        draws for alpha and risk.
    """
    image = check_traced_image(jnp.asarray(x))
    latent = check_encode(encode, jax.ShapeDtypeStruct(image.shape, image.dtype)).mean.size
    if noise.ndim != 2 or noise.shape[1] != latent or not len(noise):
        raise ValueError(f"noise must be [draw, {latent}], one row of the latent's size a draw, got {noise.shape}")
    check_counts(draw_batch=draw_batch)
    if is_traced(alpha):
        raise TypeError("alpha must be a number that is known when pathwise_margin is traced")
    check_probability("alpha", alpha)
    if not is_traced(radius):
        check_radius(float(radius))
    if not is_traced(risk):
        check_sufficient_samples(len(noise), alpha, float(risk))
    radii = pathwise_radii(encode, decode, image, jnp.asarray(noise), radius=radius, draw_batch=draw_batch)
    # Hits that are too few for a claim: the k-th largest follows the first of them.
    promised = lower_confidence_bound(np.arange(len(noise) + 1), len(noise), alpha)
    too_few = jnp.sum(_at_most(promised, risk)).astype(jnp.int32)
    largest_first = jnp.sort(radii)[::-1]
    return jnp.where(too_few <= len(noise), largest_first[jnp.minimum(too_few, len(noise)) - 1], 0.0)


def pathwise_radii(
    encode: Encode,
    decode: Decode,
    x: Float[Array, "*image"],
    noise: Float[Array, "draw latent"],
    *,
    radius: Float[Array, ""] | float,
    draw_batch: int = 16,
) -> Float[Array, "draw"]:
    """The first-order radius of each draw; arguments as for `pathwise_margin`, which checks them."""
    with jax.default_matmul_precision("highest"):
        centre = decode(encode(x).mean)

        def of_draw(eta: Float[Array, "latent"]) -> Number:
            def latents(image: Float[Array, "*image"]) -> Float[Array, "latent"]:
                return sample(encode(image), eta.astype(image.dtype))

            z = latents(x)
            rows, scale = jacobian_rows(latents, x, z.size)
            pixels = jax.jacfwd(lambda value: decode(value).reshape(-1))(z)
            return _radius(radius, l2_norm((decode(z) - centre).reshape(-1)), pixels, rows, scale)

        return jax.lax.map(of_draw, noise, batch_size=min(draw_batch, len(noise)))


@float64_formula(rounding="down", signature="(),(),(p,n),(n,q),(n)->()")
def _radius(
    radius: Number,
    distance: Number,
    decoder: Float[Array, "pixels latent"],
    rows: Float[Array, "latent pixels"],
    scale: Float[Array, "latent"],
) -> Number:
    """(r - ||h_e(x) - c||) / ||J_g J_z||, J_g the decoder's Jacobian and J_z = diag(scale) rows the encoder's."""
    scaled = decoder * scale
    unit = jax.lax.stop_gradient(jnp.max(jnp.abs(scaled)))
    unit = jnp.where(unit > 0.0, unit, 1.0)
    scaled = scaled / unit
    squared = largest_product_eigenvalue(scaled.T @ scaled, rows @ rows.T)
    norm = unit * safe_sqrt((1.0 + _INFLATION) * squared)
    left = radius - distance
    return jnp.where(left > 0.0, jnp.where(norm > 0.0, left / jnp.where(norm > 0.0, norm, 1.0), jnp.inf), 0.0)


@float64_formula(rounding="nearest")
def _at_most(bound: Number, risk: Number) -> Number:
    return jnp.where(bound <= risk, 1.0, 0.0)
