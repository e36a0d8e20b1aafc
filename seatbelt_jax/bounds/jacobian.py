"""Exact norms of an encoder's Jacobian, plain and whitened, for one example.

J = d mean(x) / d x is [latent, pixels]; W = S^{-1/2} J, S = diag(std(x)^2), measures the movement
of the mean in units of the encoder's own noise. Norms divide in a certificate, so an underestimate
is unsound: they come from the exact Gram matrix J J^T and a bound of its largest eigenvalue from above
(eigenvalue.py). Power and Lanczos iterations approach the spectral norm from below and have no place here.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr
from jaxtyping import Array, Float
from numpy import ndarray

from seatbelt_jax.arithmetic import common_type
from seatbelt_jax.bounds.checks import (
    Norm,
    check_counts,
    check_images,
    check_jacobians,
    check_norm,
    check_posteriors,
    check_traced_image,
    warn_of_constant_means,
)
from seatbelt_jax.bounds.double import compiled_in_float64, in_float64
from seatbelt_jax.bounds.eigenvalue import largest_eigenvalue
from seatbelt_jax.bounds.functions import Encode, check_deterministic, check_encode
from seatbelt_jax.bounds.operator_norm import operator_norm
from seatbelt_jax.bounds.precision import evaluate, float64_formula, is_traced
from seatbelt_jax.norm import safe_sqrt
from seatbelt_jax.results import JacobianNorms

# Added to the eigenvalues, relative: more than the float64 rounding of a Jacobian of layers that cancel all but 1e-9
# of each other, so that a reported norm (half as much larger) is never below the true one.
_EIGENVALUE_INFLATION = 1e-5


class ScaledRows(NamedTuple):
    """J = diag(scale) rows: rows are scaled to at most 1, so that squares of very small or very large derivatives
    neither vanish nor overflow.

    Attributes:
      rows: [..., latent, pixels].
      scale: [..., latent], positive.
    """

    rows: Float[Array | ndarray, "*batch latent pixels"]
    scale: Float[Array | ndarray, "*batch latent"]

    def gram(self) -> "RowScaledGram":
        """J J^T, all that norms from L2 need."""
        return RowScaledGram(self.rows @ self.rows.T, self.scale)


class RowScaledGram(NamedTuple):
    """J J^T = diag(scale) gram diag(scale).

    Attributes:
      gram: [..., latent, latent].
      scale: [..., latent], positive.
    """

    gram: Float[Array | ndarray, "*batch latent latent"]
    scale: Float[Array | ndarray, "*batch latent"]


_ROUNDING = JacobianNorms("up", "up", "up", "up", "up", "down")  # type: ignore[arg-type]

# For mean and log_std, in this order. Gram matrices are as small as the latent, and enough for norms from L2.
EncoderJacobians = tuple[ScaledRows, ScaledRows] | tuple[RowScaledGram, RowScaledGram]


def jacobian_norms(
    encode: Encode, x: Float[Array, "*image"], *, chunk_size: int = 16, norm: Norm = "l2"
) -> JacobianNorms:
    """Exact spectral and Frobenius norms of J and of W at one image, and the norm of log sigma's Jacobian.

    The Jacobians of the code are computed in float64, whatever float types it names, and eigenvalues are raised by
    1e-5 of themselves against rounding. So every norm is at least that of the code in real arithmetic and, for L2,
    within 1e-5 of it, relative, unless layers cancel more than all but 1e-9 of each other.

    The function can be jitted, vmapped over images, and differentiated, once, in the image and in whatever encode
    closes over. In a trace too it computes in float64; norms are then rounded up, and the smallest sigma down, to the
    common type of what is traced, and numbers that are not finite or not positive are given as they are.

    Args:
      encode: x -> DiagonalGaussian with mean and log_std [latent], for one example.
      x: one image, any shape.
      chunk_size: rows (or columns, where the image is smaller than the latent) of the Jacobian
        propagated at once; bounds the memory, not the result.
      norm: of the perturbations that the operator norms measure: "l2" or "linf".

    Returns:
      JacobianNorms of scalars. Outside of a trace a warning says so where the mean does not depend on the image.

    Raises:
      TypeError, ValueError: encode does not return one layer's DiagonalGaussian of vectors in
        float32 or float64; x, the mean, sigma or J is not finite; sigma is zero; an unknown norm; norm "linf" in a
        trace, where the search for its bound cannot be compiled.
    """
    check_counts(chunk_size=chunk_size)
    check_norm(norm)
    image = check_traced_image(x) if is_traced(x) else check_images(np.asarray(x)[None])[0]
    shape = jax.ShapeDtypeStruct(image.shape, image.dtype)
    check_encode(encode, shape)
    check_deterministic(encode=(encode, shape))
    with jax.default_matmul_precision("highest"):
        posterior = jax.jit(encode)(image)
    if is_traced(image, posterior):
        if norm == "linf":
            raise ValueError(
                "norms from L-infinity come from a search that cannot be traced: call jacobian_norms(norm='linf') "
                "outside of jax.jit, jax.vmap and jax.grad, or use norm='l2'"
            )
        return _traced_norms(encode, image, posterior.std, chunk_size)
    jacobians = jacobians_in_float64(encode, image, chunk_size, norm)(image)
    std = np.asarray(posterior.std)
    check_posteriors(np.asarray(posterior.mean)[None], std[None], first=0)
    for part, name in zip(jacobians, ("mean", "log_std"), strict=True):
        check_jacobians(np.asarray(part[0])[None], first=0, source=f"encode's {name}")
    norms = norms_from_jacobians(jacobians, std)
    warn_of_constant_means("encode's mean", [0] if norms.frobenius == 0.0 else [], 1)
    return norms


def _traced_norms(
    encode: Encode, x: Float[Array, "*image"], std: Float[Array, "latent"], chunk_size: int
) -> JacobianNorms:
    closed, shape = jax.make_jaxpr(lambda image: _jacobians(encode, image, chunk_size, "l2"), return_shape=True)(x)
    structure = jax.tree.structure(shape)

    def norms(sigma: Float[Array, "latent"], image: Float[Array, "*image"], *constants: Array) -> JacobianNorms:
        program = in_float64(ClosedJaxpr(closed.jaxpr, constants), half=True)
        return norms_from_jacobians(jax.tree.unflatten(structure, program(image)), sigma)

    with jax.default_matmul_precision("highest"):
        return evaluate(norms, _ROUNDING, common_type(std), std, x, *map(jnp.asarray, closed.consts))


def jacobians_in_float64(
    encode: Encode, x: Float[Array | ndarray, "*image"] | jax.ShapeDtypeStruct, chunk_size: int, norm: Norm = "l2"
) -> Callable[[Float[Array | ndarray, "*image"]], EncoderJacobians]:
    """From an image like x to the Jacobians of mean and log_std there; compiled once.

    They are those of the code in real arithmetic, computed in float64: a product of float32 layers that cancels would
    otherwise have a smaller norm than the layers' product. Derivatives are those that the code declares.
    """
    example = jax.ShapeDtypeStruct(x.shape, x.dtype)
    return compiled_in_float64(lambda image: _jacobians(encode, image, chunk_size, norm), example)


def _jacobians(encode: Encode, x: Float[Array, "*image"], chunk_size: int, norm: Norm) -> EncoderJacobians:
    """The Jacobians of mean and log_std at x, as a pure function that jits and vmaps.

    A Jacobian is taken by reverse mode, `chunk_size` rows at a time, or by forward mode,
    `chunk_size` columns at a time, where the image has fewer pixels than there are rows.
    """

    def mean_and_log_std(image: Float[Array, "*image"]) -> Float[Array, "twice_latent"]:
        posterior = encode(image)
        return jnp.concatenate([posterior.mean, posterior.log_std])

    with jax.default_matmul_precision("highest"):
        both, scale = jacobian_rows(mean_and_log_std, x, chunk_size)
        size = len(both) // 2
        of_mean, of_log_std = ScaledRows(both[:size], scale[:size]), ScaledRows(both[size:], scale[size:])
        if norm == "linf":
            return of_mean, of_log_std
        return of_mean.gram(), of_log_std.gram()


def jacobian_rows(
    mean_of: Callable[[Float[Array, "*image"]], Float[Array, "latent"]], x: Float[Array, "*image"], chunk_size: int
) -> tuple[Float[Array, "latent pixels"], Float[Array, "latent"]]:
    """The Jacobian of mean_of at x as rows of largest entry 1 and their scale, J = diag(scale) rows.

    By reverse mode, `chunk_size` rows at a time, or by forward mode where the image has fewer pixels than there are
    rows. A row of zeros has scale 1.
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
    # Not differentiated: rows times scale is the Jacobian, whatever the scale.
    scale = jax.lax.stop_gradient(jnp.max(jnp.abs(rows), axis=1))
    scale = jnp.where(scale > 0.0, scale, 1.0)
    return rows / scale[:, None], scale


def norms_from_jacobians(jacobians: EncoderJacobians, std: Float[Array | ndarray, "*batch latent"]) -> JacobianNorms:
    """Norms from the Jacobians of mean and log_std and from sigma."""
    of_mean, of_log_std = jacobians
    one = np.ones(std.shape, std.dtype)
    spectral, frobenius = whitened_norms(of_mean, one)
    whitened_spectral, whitened_frobenius = whitened_norms(of_mean, std)
    log_std_spectral, _ = whitened_norms(of_log_std, one)
    return JacobianNorms(spectral, frobenius, whitened_spectral, whitened_frobenius, log_std_spectral, _smallest(std))


@float64_formula(rounding="down", signature="(n)->()")
def _smallest(std: Float[Array, "latent"]) -> Float[Array, ""]:
    return jnp.min(std)


def whitened_norms(
    jacobian: ScaledRows | RowScaledGram, std: Float[Array | ndarray, "*batch latent"]
) -> tuple[Float[Array | ndarray, "*batch"], Float[Array | ndarray, "*batch"]]:
    """Operator and Frobenius norm of W = diag(1 / std) J, computed in float64, never below the true ones.

    From L2 where the Gram matrix is given, from L-infinity, on the host alone, where the rows are.
    """
    return (
        _norms_from_l2(*jacobian, std)
        if isinstance(jacobian, RowScaledGram)
        else _norms_from_linf(jacobian, np.asarray(std))
    )


@float64_formula(rounding="up", signature="(n,n),(n),(n)->(),()")
def _norms_from_l2(
    gram: Float[Array, "latent latent"], scale: Float[Array, "latent"], std: Float[Array, "latent"]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """From W W^T = S^{-1/2} (J J^T) S^{-1/2}; scaling rows and columns keeps each entry's relative error."""
    relative = scale / std
    # The common factor is taken out so that squares neither overflow nor underflow.
    largest = jax.lax.stop_gradient(jnp.max(relative))
    relative = relative / largest
    whitened = gram * relative[:, None] * relative
    # XLA does not promise a symmetric product.
    whitened = 0.5 * (whitened + whitened.T)
    squares = largest_eigenvalue(whitened), jnp.trace(whitened)
    operator, frobenius = (largest * safe_sqrt((1.0 + _EIGENVALUE_INFLATION) * square) for square in squares)
    return operator, frobenius


def _norms_from_linf(
    jacobian: ScaledRows, std: Float[ndarray, "*batch latent"]
) -> tuple[Float[ndarray, "*batch"], Float[ndarray, "*batch"]]:
    rows, scale, sigma = (np.asarray(a, np.float64) for a in (*jacobian, std))
    relative = scale / sigma
    largest = relative.max(axis=-1)
    whitened = rows * (relative / largest[..., None])[..., None]
    flat = whitened.reshape(-1, *whitened.shape[-2:])
    operator = np.array([operator_norm(one, "linf") for one in flat]).reshape(largest.shape)
    frobenius = np.sqrt((1.0 + _EIGENVALUE_INFLATION) * np.sum(np.square(whitened), axis=(-2, -1)))
    return largest * operator, largest * frobenius


def _map_basis(
    linear: Callable[[Array], Array], size: int, dtype: jnp.dtype, chunk_size: int
) -> Float[Array, "size output"]:
    """The images of the unit vectors under a linear map, `chunk_size` of them at a time."""
    return jax.lax.map(linear, jnp.eye(size, dtype=dtype), batch_size=min(chunk_size, size))
