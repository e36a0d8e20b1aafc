"""The distortion-distortion curve of Gondim-Ribeiro et al. (2018) and the area under it."""

import numpy as np
from jaxtyping import Float

from seatbelt_jax.attacks import AttackResult
from seatbelt_jax.attacks.measure import l2_norms


def distortion_curve(result: AttackResult) -> list[Float[np.ndarray, "point 2"]]:
    """For each pair, how far from the target the reconstruction stays (y) as the input is distorted more (x).

    x = ||d|| / ||x - x^t||; y = (||recon(x*) - x^t|| - ||recon(x^t) - x^t||) / (||recon(x) - x^t|| - ||recon(x^t) -
    x^t||), so that 1 is no attack and 0 the reconstruction of the target itself; both without unit. Attacks with
    0 <= x <= 1 and finite y are kept, in the order of x (where x is the same, of falling y), and two points close the
    curve: (the largest x, the least y) and (1, the least y).

    The curve begins at its smallest x: a sweep should hold one budget at which no distortion is worth its price.

    Returns:
      One array of points (x, y) per pair; without points where the measure is undefined: the attack has no targets,
      source and target are one image, recon(x) is no farther from the target than recon(x^t), or no attack is kept.
    """
    if not result.targeted:
        return [np.empty((0, 2)) for _ in result.sources]
    apart = l2_norms(result.sources - result.targets)
    room = np.asarray(result.source_error - result.target_error, np.float64)
    return [
        _close(
            result.distortion_norm[pair] / apart[pair],
            (result.adversarial_error[pair] - result.target_error[pair]) / room[pair],
        )
        if apart[pair] > 0.0 and room[pair] > 0.0
        else np.empty((0, 2))
        for pair in range(len(apart))
    ]


def auddc(result: AttackResult) -> Float[np.ndarray, " pair"]:
    """The area under each pair's `distortion_curve`, by trapezoids: the smaller, the easier the model was to fool.

    NaN where the curve is undefined.
    """
    curves = distortion_curve(result)
    return np.array([np.trapezoid(curve[:, 1], curve[:, 0]) if len(curve) else np.nan for curve in curves])


def _close(x: Float[np.ndarray, " budget"], y: Float[np.ndarray, " budget"]) -> Float[np.ndarray, "point 2"]:
    kept = (x >= 0.0) & (x <= 1.0) & np.isfinite(y)
    if not kept.any():
        return np.empty((0, 2))
    x, y = x[kept], y[kept]
    order = np.lexsort((-y, x))
    closing = [[x.max(), y.min()], [1.0, y.min()]]
    return np.concatenate([np.stack([x[order], y[order]], axis=-1), closing])
