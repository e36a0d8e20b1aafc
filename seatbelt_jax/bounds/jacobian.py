"""Exact norms of an encoder's Jacobian, plain and whitened, for one example.

J = d mean(x) / d x is [latent, pixels]; W = S^{-1/2} J, S = diag(std(x)^2), measures the movement
of the mean in units of the encoder's own noise. Norms divide in a certificate, so an underestimate
is unsound: they come from all eigenvalues of the exact Gram matrix J J^T. Power and Lanczos
iterations approach the spectral norm from below and have no place here.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy import ndarray

from seatbelt_jax.bounds.checks import (
    Encode,
    check_counts,
    check_encode,
    check_images,
    check_jacobians,
    check_posteriors,
)
from seatbelt_jax.gaussian import DiagonalGaussian

# Added to the eigenvalues, relative: more than the float32 rounding of the Jacobian and of its Gram
# matrix, so that a reported norm (half as much larger) is never below the true one.
_EIGENVALUE_INFLATION = 1e-5


@dataclasses.dataclass(frozen=True, eq=False)
class JacobianNorms:
    """Norms of an encoder's Jacobian at one or several images, host float64.

    Attributes:
      spectral: [...], ||J||_2, the largest singular value; latent units per pixel unit.
      frobenius: [...], ||J||_F, the root of the summed squares; latent units per pixel unit.
      whitened_spectral: [...], ||W||_2; standard deviations per pixel unit.
      whitened_frobenius: [...], ||W||_F; standard deviations per pixel unit.
      smallest_std: [...], min_i sigma_i(x); latent units.
    """

    spectral: Float[ndarray, "*batch"]
    frobenius: Float[ndarray, "*batch"]
    whitened_spectral: Float[ndarray, "*batch"]
    whitened_frobenius: Float[ndarray, "*batch"]
    smallest_std: Float[ndarray, "*batch"]


class RowScaledGram(NamedTuple):
    """J J^T = diag(scale) gram diag(scale): rows are scaled to at most 1, so that float32 squares
    of very small or very large derivatives neither vanish nor overflow.

    Attributes:
      gram: [..., latent, latent].
      scale: [..., latent], positive.
    """

    gram: Float[Array | ndarray, "*batch latent latent"]
    scale: Float[Array | ndarray, "*batch latent"]


def jacobian_norms(encode: Encode, x: Float[Array, "*image"], *, chunk_size: int = 16) -> JacobianNorms:
    """Exact spectral and Frobenius norms of J and of W at one image.

    Eigenvalues are found in float64 and raised by 1e-5 of themselves against float32 rounding, so
    every norm is at least the true one and within 1e-5 of it, relative.

    Args:
      encode: x -> DiagonalGaussian with mean and log_std [latent], for one example.
      x: one image, any shape.
      chunk_size: rows (or columns, where the image is smaller than the latent) of the Jacobian
        propagated at once; bounds the memory, not the result.

    Returns:
      JacobianNorms of scalars.

    Raises:
      TypeError, ValueError: encode does not return one layer's DiagonalGaussian of vectors in
        float32 or float64; x, the mean, sigma or J is not finite; sigma is zero.
    """
    check_counts(chunk_size=chunk_size)
    image = check_images(np.asarray(x)[None])[0]
    check_encode(encode, jax.ShapeDtypeStruct(image.shape, image.dtype))
    posterior, gram = jax.jit(lambda x: posterior_and_gram(encode, x, chunk_size))(image)
    mean, std = np.asarray(posterior.mean), np.asarray(posterior.std)
    check_posteriors(mean[None], std[None], first=0)
    check_jacobians(np.asarray(gram.gram)[None], first=0)
    return norms_from_gram(gram, std)


def posterior_and_gram(
    encode: Encode, x: Float[Array, "*image"], chunk_size: int
) -> tuple[DiagonalGaussian, RowScaledGram]:
    """The posterior at x and the Gram matrix of J, as a pure function that jits and vmaps.

    The Jacobian is taken by reverse mode, `chunk_size` rows at a time, or by forward mode,
    `chunk_size` columns at a time, where the image has fewer pixels than the latent has
    coordinates.
    """
    with jax.default_matmul_precision("highest"):
        unit, scale = jacobian_rows(lambda image: encode(image).mean, x, chunk_size)
        return encode(x), RowScaledGram(unit @ unit.T, scale)


def jacobian_rows(
    mean_of: Callable[[Float[Array, "*image"]], Float[Array, "latent"]], x: Float[Array, "*image"], chunk_size: int
) -> tuple[Float[Array, "latent pixels"], Float[Array, "latent"]]:
    """The Jacobian of mean_of at x as rows of largest entry 1 and their scale, J = diag(scale) rows.

    The mode and the chunks are those of `posterior_and_gram`. A row of zeros has scale 1.
    """
    pixels = x.reshape(-1)

    def of_flat(flat: Float[Array, "pixels"]) -> Float[Array, "latent"]:
        return mean_of(flat.reshape(x.shape))

    mean = jax.eval_shape(of_flat, pixels)
    if pixels.size < mean.size:
        _, push = jax.linearize(of_flat, pixels)
        rows = _map_basis(push, pixels.size, pixels.dtype, chunk_size).T
    else:
        _, pull = jax.vjp(of_flat, pixels)
        rows = _map_basis(lambda e: pull(e)[0], mean.size, mean.dtype, chunk_size)
    scale = jnp.max(jnp.abs(rows), axis=1)
    scale = jnp.where(scale > 0.0, scale, 1.0)
    return rows / scale[:, None], scale


def norms_from_gram(gram: RowScaledGram, std: Float[Array | ndarray, "*batch latent"]) -> JacobianNorms:
    """Norms from the Gram matrix of J and from sigma, on the host in float64.

    The whitened Gram matrix is W W^T = S^{-1/2} (J J^T) S^{-1/2}. Scaling rows and columns keeps
    each entry's relative error, so one matrix is all that the device has to accumulate.
    """
    spectral, frobenius = whitened_norms(gram, np.ones_like(std))
    whitened_spectral, whitened_frobenius = whitened_norms(gram, std)
    smallest_std = np.asarray(std, np.float64).min(axis=-1)
    return JacobianNorms(spectral, frobenius, whitened_spectral, whitened_frobenius, smallest_std)


def whitened_norms(
    gram: RowScaledGram, std: Float[Array | ndarray, "*batch latent"]
) -> tuple[Float[ndarray, "*batch"], Float[ndarray, "*batch"]]:
    """Spectral and Frobenius norm of W = diag(1 / std) J, on the host in float64, never below the true ones."""
    unit, scale, sigma = (np.asarray(a, np.float64) for a in (gram.gram, gram.scale, std))
    # The common factor is taken out so that squares neither overflow nor underflow.
    relative = scale / sigma
    largest = relative.max(axis=-1)
    relative = relative / largest[..., None]
    whitened = unit * relative[..., :, None] * relative[..., None, :]
    # eigvalsh reads one triangle; XLA does not promise a symmetric product, so both are averaged.
    eigenvalue = np.linalg.eigvalsh(0.5 * (whitened + np.swapaxes(whitened, -1, -2)))[..., -1]
    trace = np.trace(whitened, axis1=-2, axis2=-1)
    inflation = 1.0 + _EIGENVALUE_INFLATION
    return largest * np.sqrt(inflation * np.maximum(eigenvalue, 0.0)), largest * np.sqrt(inflation * trace)


def _map_basis(
    linear: Callable[[Array], Array], size: int, dtype: jnp.dtype, chunk_size: int
) -> Float[Array, "size output"]:
    """The images of the unit vectors under a linear map, `chunk_size` of them at a time."""
    return jax.lax.map(linear, jnp.eye(size, dtype=dtype), batch_size=min(chunk_size, size))
