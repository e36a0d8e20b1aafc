"""Upper bounds of a matrix's operator norm into L2, on the host in float64; never from below."""

import contextlib
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.sparse.linalg import ArpackError, eigsh

from seatbelt_jax.bounds.checks import Norm

# Added to every norm, relative: more than the float32 rounding of the matrices that reach this file.
INFLATION = 1e-5
# The longest side of a Gram matrix whose eigenvalues are taken: 2048 cost about two seconds of one core.
LARGEST_GRAM = 2048
# The weights' fixed-point steps cost one eigendecomposition each.
_WEIGHT_STEPS = 24
_WEIGHT_STEPS_OF_LARGE = 4
_LARGE = 256
_SHARE_STEPS = 4
# Weights are divided by, so none may vanish.
_SMALLEST_WEIGHT = 1e-12


def operator_norm(matrix: Float[ndarray, "rows columns"], norm: Norm = "l2") -> float:
    """An upper bound of sup ||M d||_2 over ||d||_norm <= 1.

    For "l2" the largest singular value, from the exact Gram matrix of the shorter side, raised by 1e-5 of itself;
    where that side is longer than 2048, the smaller of ||M||_F and sqrt(||M||_1 ||M||_inf). For "linf", where the
    exact value is NP-hard, the least of three bounds: the sum of the columns' norms, the L2 norm of the rows' L1
    norms, and ||M diag(w)^{-1/2}||_2 with the weights of `linf_weights`; raised by 1e-5.

    Raises:
      ValueError: for a norm other than "l2" and "linf".
    """
    return _unit_ball(matrix, norm)[0]


def combined_norm(matrices: Sequence[Float[ndarray, "rows columns"]], norm: Norm = "l2") -> float:
    """An upper bound of sup ||M_1 d + M_2 e_2 + .. + M_k e_k||_2 over ||d||_norm <= 1 and all ||e_i||_2 <= 1.

    At most the sum of the operator norms, and less where these are not attained in the same direction: by the
    Cauchy-Schwarz inequality, for any positive u of sum 1, its square is at most the largest eigenvalue of
    sum_i M_i M_i^T / u_i. The first u is proportional to the norms, which gives no more than their sum; where there
    are few rows, fixed-point steps towards a better one follow.

    Raises:
      ValueError: for a norm other than "l2" and "linf".
    """
    balls = [_unit_ball(matrix, norm if index == 0 else "l2") for index, matrix in enumerate(matrices)]
    balls = [(bound, matrix) for bound, matrix in balls if bound > 0.0]
    least = math.fsum(bound for bound, _ in balls)
    if len(balls) < 2 or not math.isfinite(least) or len(balls[0][1]) > LARGEST_GRAM:
        return least
    grams = np.stack([(matrix / least) @ (matrix / least).T for _, matrix in balls])
    shares = _normalised(np.array([bound for bound, _ in balls]))
    if grams.shape[-1] > _LARGE:
        return least * min(1.0, _root(_largest_eigenvalue(np.tensordot(1.0 / shares, grams, 1))))
    factor = 1.0
    for step in range(_SHARE_STEPS):
        values, vectors = np.linalg.eigh(np.tensordot(1.0 / shares, grams, 1))
        factor = min(factor, _root(values[-1]))
        top = (np.maximum(values, 0.0) / values[-1]) ** (4.0 + 4.0 * step)
        moved = np.einsum("gij,ik,jk,k->g", grams, vectors, vectors, top / top.sum())
        shares = _normalised(np.sqrt(shares * np.sqrt(np.maximum(moved, 0.0))))
    return least * factor


def linf_weights(matrix: Float[ndarray, "rows columns"]) -> Float[ndarray, "columns"]:
    """Positive weights w of sum 1 that make ||M diag(w)^{-1/2}||_2 small.

    For any such w, ||d||_inf <= t implies ||diag(w)^{1/2} d||_2 <= t, hence ||M d||_2 <= t ||M diag(w)^{-1/2}||_2.
    The best w solves the dual of the semidefinite relaxation of max ||M s||_2 over signs s. There, the squared top
    right singular vectors of M diag(w)^{-1/2}, averaged over the top eigenspace, equal w: from the columns' norms,
    a few damped fixed-point steps towards that; the best w met is returned. Any w is valid.
    """
    matrix = np.asarray(matrix, np.float64)
    norms = np.linalg.norm(matrix, axis=0)
    if not norms.any() or min(matrix.shape) > LARGEST_GRAM:
        return _normalised(norms + (not norms.any()))
    matrix = matrix / norms.max()
    steps = _WEIGHT_STEPS if min(matrix.shape) <= _LARGE else _WEIGHT_STEPS_OF_LARGE
    weights = best = _normalised(norms)
    least = math.inf
    for step in range(steps):
        squared, vectors = _squared_singular(matrix / np.sqrt(weights))
        if squared.max() < least:
            least, best = squared.max(), weights
        # The average over the top eigenspace sharpens as the weights settle.
        share = (squared / squared.max()) ** (4.0 + 4.0 * step)
        weights = _normalised(np.sqrt(weights * (vectors @ (share / share.sum()))))
    return best


def _unit_ball(matrix: Float[ndarray, "rows columns"], norm: Norm) -> tuple[float, Float[ndarray, "rows columns"]]:
    """The operator norm's bound, and a matrix that takes the unit ball of L2 to no less than M takes the ball to."""
    matrix = np.asarray(matrix, np.float64)
    if norm not in ("l2", "linf"):
        raise ValueError(f"norm must be 'l2' or 'linf', got {norm!r}")
    if not np.isfinite(matrix).all():
        return math.inf, matrix
    if norm == "l2":
        return _spectral(matrix) * (1.0 + INFLATION), matrix
    bound = min(np.linalg.norm(matrix, axis=0).sum(), np.linalg.norm(np.abs(matrix).sum(axis=1)))
    if bound == 0.0:
        return 0.0, matrix
    rescaled = matrix / np.sqrt(linf_weights(matrix))
    if min(matrix.shape) <= LARGEST_GRAM:
        bound = min(bound, _spectral(rescaled))
    return float(bound) * (1.0 + INFLATION), rescaled


def _normalised(weights: Float[ndarray, "n"]) -> Float[ndarray, "n"]:
    weights = np.maximum(weights / weights.sum(), _SMALLEST_WEIGHT)
    return weights / weights.sum()


def _squared_singular(
    matrix: Float[ndarray, "rows columns"],
) -> tuple[Float[ndarray, "k"], Float[ndarray, "columns k"]]:
    """The squares of the non-zero singular values and of the entries of their right singular vectors."""
    if matrix.shape[1] < matrix.shape[0]:
        values, vectors = np.linalg.eigh(matrix.T @ matrix)
        return np.maximum(values, 0.0), np.square(vectors)
    values, left = np.linalg.eigh(matrix @ matrix.T)
    kept = values > 1e-9 * values[-1]
    return values[kept], np.square(matrix.T @ left[:, kept]) / values[kept]


def _root(eigenvalue: float) -> float:
    return math.sqrt(max(eigenvalue, 0.0)) * (1.0 + INFLATION)


def _spectral(matrix: Float[ndarray, "rows columns"]) -> float:
    # The common factor is taken out so that squares neither overflow nor underflow.
    scale = np.abs(matrix).max(initial=0.0)
    if scale == 0.0:
        return 0.0
    matrix = matrix / scale
    if min(matrix.shape) > LARGEST_GRAM:
        magnitudes = np.abs(matrix)
        schur = np.sqrt(magnitudes.sum(axis=0).max() * magnitudes.sum(axis=1).max())
        return float(scale * min(schur, np.linalg.norm(matrix)))
    gram = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    return float(scale * np.sqrt(max(_largest_eigenvalue(gram), 0.0)))


def _largest_eigenvalue(gram: Float[ndarray, "n n"]) -> float:
    """The largest eigenvalue of a positive semidefinite matrix, at most 1e-6 of itself too large.

    For a large matrix, Lanczos iterations give it from below and prove nothing; the Cholesky factor of t I - gram, for
    t slightly above their result, exists only if no eigenvalue exceeds t, at a tenth of the cost of finding them all.
    """
    size = len(gram)
    if size > _LARGE:
        start = np.random.default_rng(0).normal(size=size)
        with contextlib.suppress(ArpackError, np.linalg.LinAlgError):
            from_below = eigsh(gram, k=1, v0=start, tol=1e-9, return_eigenvectors=False)[0]
            bound = from_below * (1.0 + 1e-6)
            np.linalg.cholesky(bound * np.eye(size) - gram)
            return bound
    return np.linalg.eigvalsh(gram)[-1]
