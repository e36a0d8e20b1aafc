"""Upper bounds of margins of r-robustness, by attack.

R(x) = sup{R : for all ||d|| < R, P_{x+d}(A_r) > m}, with sigma as it is at x + d or frozen at x. So one d at which the
probability is at most m shows R <= ||d||. Attacks look for a short one with draws of their own; what they find is then
put to *fresh* draws, and stands where the upper confidence bound of the probability, at level alpha over the number of
d so tried, is below m. Whatever the attack did, the bound then fails with probability alpha at most; a weak attack
makes it loose, never wrong.
"""

from collections.abc import Sequence

import jax
import numpy as np
from jaxtyping import Array, Float
from numpy import ndarray

from seatbelt_jax.bounds.checks import (
    Decode,
    DecodePath,
    Encode,
    Level,
    Norm,
    check_counts,
    check_images,
    check_key,
    check_norm,
    check_probability,
    check_radius,
    warn_of_constant_means,
)
from seatbelt_jax.bounds.confidence import check_refutable, upper_confidence_bound
from seatbelt_jax.bounds.directions import lengths
from seatbelt_jax.bounds.draws import check_clean, checked_model
from seatbelt_jax.bounds.empirical_attack import CLEARANCES, Attack
from seatbelt_jax.bounds.streaming import default_decode_batch, map_images
from seatbelt_jax.results import EmpiricalMargin


def empirical_margin(
    encode: Encode | None,
    decode: Decode | DecodePath,
    images: Float[Array | ndarray, "n *image"],
    *,
    radius: float,
    key: Array,
    levels: Sequence[Level] | None = None,
    norms: Sequence[float] | ndarray | None = None,
    norm: Norm = "l2",
    num_samples: int = 10_000,
    search_samples: int = 256,
    restarts: int = 3,
    steps: int = 100,
    alpha: float = 1e-3,
    risk: float = 0.5,
    frozen_std: bool = False,
    image_range: tuple[float, float] | None = None,
    batch_size: int = 16,
    decode_batch: int | None = None,
    progress: bool = False,
) -> EmpiricalMargin:
    """An upper bound of every image's margin of r-robustness, by attack.

    Directions come from the leading singular vectors of the whitened Jacobian, both signs, and from ascents of the
    damage (Camuto et al. 2021, Eq. 5, and a hinge of it; `soundness.ascend`) in balls of every norm, with restarts.
    Along each, the smallest norm is sought at which the estimated probability falls below the risk, with draws that
    all share; a second round of ascents starts from the best directions, in balls of these norms. The best ones are
    looked at more closely, twice, with num_samples draws in the end, and four norms along the very best, chosen so that
    ever more of them will be confirmed, are put to num_samples fresh draws, as is d = 0. Each has alpha / 5, so that
    all five hold at once with probability 1 - alpha.

    By default, draws at x + d have the sigma of x + d, as the model does. Camuto et al. 2021, Eq. 3, freeze sigma at x:
    their margin concerns another event wherever sigma moves, and `frozen_std` bounds it. The two margins are equal for
    an encoder of constant sigma; otherwise either may be the larger.

    Decodings for each image, besides the ascents: 20 * num_samples, and 14 * search_samples for each of their lanes
    (norms x restarts x 2 objectives x 2 rounds) and 14 more rays. The noise of 2 * num_samples draws is held at once.

    Args:
      encode: x -> DiagonalGaussian with mean and log_std [latent], for one example; None where levels are given.
      decode: z [latent] -> x, for one example; with levels the tuple of all latents -> x.
      images: [n, ...], floating point, in the model's pixel range.
      radius: r, the L2 radius of the ball of reconstructions, in pixel units.
      key: one typed key. The result depends on it and on the image's index, not on any batch size.
      levels: for a hierarchy, as for `hierarchical_margin` (without its features).
      norms: of the balls attacked, pixel units; nothing beyond the largest is looked at. By default six for each image,
        from the one that suffices to first order to 64 times it, or to twice the one at which the probability falls
        below the risk along one of the steepest directions, where that is more.
      norm: "l2", over the whole image, or "linf", the largest change of a pixel.
      num_samples: fresh draws for each distortion tried.
      search_samples: draws for each point of the search.
      restarts: ascents for each norm and objective, the first two from + and - the first singular vector, the others
        from random starts.
      steps: evaluations of the objective in an ascent.
      alpha: probability of a wrong upper bound, for each image.
      risk: m, the probability to fall below.
      frozen_std: draw at x + d with the sigma of x, given the latents below, instead of the sigma of x + d.
      image_range: that x + d has to keep to; None for any d.
      batch_size: images between two updates of the progress bar.
      decode_batch: draws decoded at once; by default 64 on a CPU, 2048 on an accelerator.
      progress: shows a progress bar when the output is a terminal.

    Raises:
      TypeError, ValueError: as for `certify`; norms not positive and finite; an unknown norm; an image outside of
        image_range; num_samples too small for alpha ever to confirm; encode and levels both given, or neither.
    """
    check_radius(radius)
    check_probability("alpha", alpha)
    check_probability("risk", risk)
    decode_batch = default_decode_batch() if decode_batch is None else decode_batch
    check_counts(
        num_samples=num_samples,
        search_samples=search_samples,
        restarts=restarts,
        steps=steps,
        batch_size=batch_size,
        decode_batch=decode_batch,
    )
    check_norm(norm)
    level = alpha / (1 + len(CLEARANCES))
    check_refutable(num_samples, level, risk)
    check_key(key)
    array = check_images(images)
    box = _check_box(image_range, array)
    model = checked_model(encode, levels, decode, array)
    given = None if norms is None else _check_norms(norms)

    # The most hits that confirm, and the shares of hits that the closer look heads for.
    confirming = np.flatnonzero(upper_confidence_bound(np.arange(num_samples + 1), num_samples, level) < risk)[-1]
    deviation = np.sqrt(2.0 * risk * (1.0 - risk) / num_samples)
    targets = np.maximum(confirming / num_samples - np.asarray(CLEARANCES) * deviation, 0.0)
    # Between these shares in the search's draws, with some certainty, the closer look's targets lie.
    doubt = 3.0 * np.sqrt(risk * (1.0 - risk) / search_samples)
    bracket = (risk + doubt, max(targets[-1] - doubt, 0.25 * targets[-1]))

    attack = Attack(
        model=model,
        key=key,
        norms=given,
        targets=tuple(targets),
        bracket=bracket,
        box=box,
        radius=radius,
        risk=risk,
        norm=norm,
        frozen_std=frozen_std,
        num_samples=num_samples,
        search_samples=search_samples,
        restarts=restarts,
        steps=steps,
        decode_batch=decode_batch,
    )
    batches, constant = [], list[int]()
    for first, _, found in map_images(
        attack, array.__getitem__, len(array), batch_size=batch_size, progress=progress, description="empirical margin"
    ):
        check_clean(found.clean, found.centre_finite, first)
        constant += [first + int(row) for row in np.flatnonzero(found.speed == 0.0)]
        batches.append(found._replace(clean=None))
    warn_of_constant_means("encode's mean" if levels is None else "the mean of every layer", constant, len(array), 2)
    found = jax.tree.map(lambda *parts: np.concatenate(parts), *batches)

    distortions = found.tried.astype(np.float64) - array[:, None].astype(np.float64)
    distances = lengths(distortions, norm, array.ndim - 1)
    p_upper = np.asarray(upper_confidence_bound(found.hits, num_samples, level))
    distances = np.where(p_upper < risk, distances, np.inf)
    # The first of equals is d = 0: what stands where nothing was confirmed.
    chosen = (np.arange(len(array)), np.argmin(distances, axis=1))
    curve = found.curve.astype(np.float64) - array[:, None].astype(np.float64)
    return EmpiricalMargin(
        upper=distances[chosen],
        distortion=distortions[chosen],
        p_upper=p_upper[chosen],
        p_clean=found.hits[:, 0] / num_samples,
        curve_norms=lengths(curve, norm, array.ndim - 1),
        curve_probability=found.curve_hits / search_samples,
        alpha=alpha,
        risk=risk,
        reconstruction_radius=float(radius),
        num_samples=num_samples,
        num_tried=1 + len(CLEARANCES),
        norm=norm,
        frozen_std=frozen_std,
        image_range=image_range,
    )


def _check_box(image_range: tuple[float, float] | None, images: Float[ndarray, "n *image"]) -> tuple[float, float]:
    """The range of pixels, infinite for None; raises unless it is one and holds the images."""
    if image_range is None:
        return -np.inf, np.inf
    low, high = image_range
    if not low < high:
        raise ValueError(f"image_range must be (low, high) with low < high, or None for any d, got {image_range}")
    if images.min() < low or images.max() > high:
        raise ValueError(
            f"the images reach from {images.min():g} to {images.max():g}, outside of image_range {image_range}; pass "
            "the range that the model's images have, or None for any d"
        )
    return float(low), float(high)


def _check_norms(norms: Sequence[float] | ndarray) -> Float[ndarray, "norm"]:
    array = np.asarray(norms, np.float64)
    if array.ndim != 1 or array.size == 0 or not (np.isfinite(array) & (array > 0.0)).all():
        raise ValueError(f"norms must be a list of positive, finite norms in pixel units, or None, got {norms}")
    return array
