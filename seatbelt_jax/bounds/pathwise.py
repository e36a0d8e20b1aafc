"""The first-order pathwise margin: how far each draw can be moved, by the Jacobian of its reconstruction.

Write a draw as a function of its noise e, z^1 = mu_1(x) + sigma_1(x) e_1, z^2 = mu_2(z^1, x) + sigma_2(z^1, x) e_2 and
so on, and h_e(x) = decode(z^1, .., z^L), which is deterministic. With R_e = sup{R : ||h_e(x + d) - c||_2 <= r for all
||d|| <= R} and c the reconstruction of the mean path, a perturbation d leaves P(A_r) >= P(R_e >= ||d||), for all d at
once. So of N draws the k-th largest R_e is a margin with confidence 1 - alpha, where k is the least number of hits
whose Clopper-Pearson bound exceeds the risk. Sigma moves along with the image.

To first order R_e = (r - ||h_e(x) - c||) / ||J_{h_e}(x)||. That is no bound of R_e: attacks have been found below it.
It is the margin to train with, smooth in the model's parameters and cheap; `certify` with method "pathwise" bounds R_e
soundly.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy import ndarray

from seatbelt_jax.bounds.checks import (
    Norm,
    check_counts,
    check_norm,
    check_probability,
    check_radius,
    check_traced_image,
)
from seatbelt_jax.bounds.confidence import check_sufficient_samples, lower_confidence_bound
from seatbelt_jax.bounds.eigenvalue import largest_product_eigenvalue
from seatbelt_jax.bounds.functions import Decode, DecodePath, Encode, Level
from seatbelt_jax.bounds.jacobian import jacobian_rows
from seatbelt_jax.bounds.layers import Layers
from seatbelt_jax.bounds.model import Model, given
from seatbelt_jax.bounds.precision import float64_formula, is_traced
from seatbelt_jax.norm import l2_norm, safe_sqrt

# Added to squared norms, relative: more than the float32 rounding of Jacobians whose layers do not cancel.
_INFLATION = 1e-5
# Share of the pixels' weight in a box of perturbations that is spread evenly, so that no weight is 0.
_EVEN_SHARE = 1e-6

Number = Float[Array, ""]


def pathwise_margin(
    encode: Encode | Model | None,
    decode: Decode | DecodePath | None,
    x: Float[Array | ndarray, "*image"],
    noise: Float[Array | ndarray, "draw total"],
    *,
    radius: Float[Array, ""] | float,
    levels: Sequence[Level] | None = None,
    norm: Norm = "l2",
    risk: Float[Array, ""] | float = 0.5,
    alpha: float = 1e-3,
    draw_batch: int = 16,
) -> Float[Array, ""]:
    """The k-th largest first-order radius of an image's draws; for any number of latent layers.

    First order: see the top of this file. It can be jitted, vmapped over images, radius and risk, and differentiated,
    once, in the image, the radius and whatever encode, levels and decode close over; in reverse mode and in forward
    mode. Jacobians are computed in the arithmetic of the model, their norms from there on in float64, raised by 5e-6.

    Args:
      encode: x -> DiagonalGaussian with mean and log_std [latent], for one example; None where levels are given. Or a
        `Model`, with decode None.
      decode: z [latent] -> x, the mean image, for one example; with levels the tuple of all latents -> x.
      x: one image.
      noise: standard-normal draws for all layers, as jax.random.normal(key, (64, total)) gives them; total is the sum
        of the layers' latent sizes, layer 1 first.
      radius: r, the L2 radius of the ball of reconstructions, in pixel units.
      levels: for a hierarchy, as for `hierarchical_margin` (without its features).
      norm: of perturbations: "l2", or "linf", where ||J|| is bounded from above by weights of the pixels.
      risk: m, the probability that A_r must exceed.
      alpha: probability that the draws promise too much.
      draw_batch: draws whose Jacobians are held at once; bounds the memory, not the result.

    Returns:
      Distance in pixel units; 0 where too few draws lie within the radius, infinite where none can be moved.

    Raises:
      TypeError, ValueError: encode and levels both given, or neither; encode or levels that do not return the
        DiagonalGaussian of a layer, noise that does not fit them, or a traced alpha; where their values are known, a
        radius that is not positive, risk or alpha outside (0, 1), or too few draws for alpha and risk.
    """
    image = check_traced_image(jnp.asarray(x))
    layers = given(encode, decode, levels).layers(jax.ShapeDtypeStruct(image.shape, image.dtype))
    total = sum(layers.sizes)
    if noise.ndim != 2 or noise.shape[1] != total or not len(noise):
        raise ValueError(f"noise must be [draw, {total}], one row of the latents' size a draw, got {noise.shape}")
    check_counts(draw_batch=draw_batch)
    check_norm(norm)
    if is_traced(alpha):
        raise TypeError("alpha must be a number that is known when pathwise_margin is traced")
    check_probability("alpha", alpha)
    if not is_traced(radius):
        check_radius(float(radius))
    if not is_traced(risk):
        check_sufficient_samples(len(noise), alpha, float(risk))
    radii = pathwise_radii(layers, image, jnp.asarray(noise), radius=radius, norm=norm, draw_batch=draw_batch)
    # Hits that are too few for a claim: the k-th largest follows the first of them.
    promised = lower_confidence_bound(np.arange(len(noise) + 1), len(noise), alpha)
    too_few = jnp.sum(_at_most(promised, risk)).astype(jnp.int32)
    largest_first = jnp.sort(radii)[::-1]
    return jnp.where(too_few <= len(noise), largest_first[jnp.minimum(too_few, len(noise)) - 1], 0.0)


def pathwise_radii(
    layers: Layers,
    x: Float[Array, "*image"],
    noise: Float[Array, "draw total"],
    *,
    radius: Float[Array, ""] | float,
    norm: Norm = "l2",
    draw_batch: int = 16,
) -> Float[Array, "draw"]:
    """The first-order radius of each draw; arguments as for `pathwise_margin`, which checks them."""
    with jax.default_matmul_precision("highest"):
        centre = layers.decode(layers.mean_path(x).latents)
        splits = [sum(layers.sizes[: i + 1]) for i in range(len(layers.sizes) - 1)]

        def of_draw(eta: Float[Array, "total"]) -> Number:
            def latents(image: Float[Array, "*image"]) -> Float[Array, "total"]:
                return jnp.concatenate(layers.path(image, eta.astype(image.dtype)).latents)

            def decode(z: Float[Array, "total"]) -> Float[Array, "*image"]:
                return layers.decode(tuple(jnp.split(z, splits)))

            z = latents(x)
            rows, scale = jacobian_rows(latents, x, z.size)
            pixels = jax.jacfwd(lambda value: decode(value).reshape(-1))(z)
            distance = l2_norm((decode(z) - centre).reshape(-1))
            return _radius(radius, distance, pixels, rows, scale, norm=norm)

        return jax.lax.map(of_draw, noise, batch_size=min(draw_batch, len(noise)))


@float64_formula(rounding="down", signature="(),(),(p,n),(n,q),(n)->()", static=("norm",))
def _radius(
    radius: Number,
    distance: Number,
    decoder: Float[Array, "pixels latent"],
    rows: Float[Array, "latent pixels"],
    scale: Float[Array, "latent"],
    *,
    norm: Norm,
) -> Number:
    """(r - ||h_e(x) - c||) / ||J_g J_z||, J_g the decoder's Jacobian and J_z = diag(scale) rows the encoder's."""
    scaled = decoder * scale
    unit = jax.lax.stop_gradient(jnp.max(jnp.abs(scaled)))
    unit = jnp.where(unit > 0.0, unit, 1.0)
    scaled = scaled / unit
    gram = scaled.T @ scaled
    if norm == "linf":
        # ||d||_inf <= 1 implies ||diag(w)^{1/2} d||_2 <= 1 for any weights of sum 1: here the columns' norms.
        columns = safe_sqrt(jnp.maximum(jnp.sum(rows * (gram @ rows), axis=0), 0.0))
        even = _EVEN_SHARE * jnp.mean(columns)
        weights = columns + jnp.where(even > 0.0, even, 1.0)
        rows = rows / jnp.sqrt(weights / jnp.sum(weights))
    squared = largest_product_eigenvalue(gram, rows @ rows.T)
    slope = unit * safe_sqrt((1.0 + _INFLATION) * squared)
    left = radius - distance
    return jnp.where(left > 0.0, jnp.where(slope > 0.0, left / jnp.where(slope > 0.0, slope, 1.0), jnp.inf), 0.0)


@float64_formula(rounding="nearest")
def _at_most(bound: Number, risk: Number) -> Number:
    return jnp.where(bound <= risk, 1.0, 0.0)
