"""Upper bounds of margins of r-robustness, by attack.

R(x) = sup{R : for all ||d|| < R, P_{x+d}(A_r) > m}, with sigma as it is at x + d or frozen at x. So one d at which the
probability is at most m shows R <= ||d||. Attacks look for a short one with draws of their own; what they find is then
put to *fresh* draws, and stands where the upper confidence bound of the probability, at level alpha over the number of
d so tried, is below m. Whatever the attack did, the bound then fails with probability alpha at most; a weak attack
makes it loose, never wrong.
"""

from collections.abc import Sequence
from typing import Unpack

import jax
import numpy as np
from jaxtyping import Array, Float
from numpy import ndarray

from seatbelt_jax.bounds.checks import Norm, check_images, check_radius, warn_of_constant_means
from seatbelt_jax.bounds.confidence import check_refutable, upper_confidence_bound
from seatbelt_jax.bounds.directions import lengths
from seatbelt_jax.bounds.empirical_attack import CLEARANCES, Attack, Found, level_of
from seatbelt_jax.bounds.functions import Decode, DecodePath, Encode, Features, Level
from seatbelt_jax.bounds.model import Model, given
from seatbelt_jax.bounds.question import Question
from seatbelt_jax.bounds.search import Search
from seatbelt_jax.bounds.settings import Draws, chosen, records
from seatbelt_jax.bounds.streaming import Source, map_images
from seatbelt_jax.bounds.work import Work
from seatbelt_jax.results import EmpiricalMargin


class Settings(Draws, total=False):
    """What is asked, and how short distortions are sought; see `Question`, `Work` and `Search`."""

    norm: Norm
    norms: Sequence[float] | ndarray | None
    search_samples: int
    restarts: int
    steps: int
    frozen_std: bool
    image_range: tuple[float, float] | None


def empirical_margin(
    encode: Encode | Model | None,
    decode: Decode | DecodePath | None,
    images: Float[Array | ndarray, "n *image"],
    *,
    radius: float,
    key: Array,
    levels: Sequence[Level] | None = None,
    features: Features | None = None,
    **settings: Unpack[Settings],
) -> EmpiricalMargin:
    """An upper bound of every image's margin of r-robustness, by attack.

    Directions come from the leading singular vectors of the whitened Jacobian, both signs, and from ascents of the
    damage (Camuto et al. 2021, Eq. 5, and a hinge of it; `directions.Ascent`) in balls of every norm, with restarts.
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
      encode: x -> DiagonalGaussian with mean and log_std [latent], for one example; None where levels are given. Or a
        `Model`, with decode None.
      decode: z [latent] -> x, for one example; with levels the tuple of all latents -> x.
      images: [n, ...], floating point, in the model's pixel range.
      radius: r, the L2 radius of the ball of reconstructions, in pixel units.
      key: one typed key. The result depends on it and on the image's index, not on any batch size.
      levels, features: for a hierarchy, as for `hierarchical_margin`.
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
    question, work = records(settings, Settings, key=key, radius=radius)
    search = Search(**chosen(settings, Search))
    check_refutable(question.num_samples, level_of(question), question.risk)
    return _margin(given(encode, decode, levels, features), check_images(images), question, search, work)


def _margin(
    model: Model, images: Float[ndarray, "n *image"], question: Question, search: Search, work: Work
) -> EmpiricalMargin:
    low, high = search.box
    if images.min() < low or images.max() > high:
        raise ValueError(
            f"the images reach from {images.min():g} to {images.max():g}, outside of image_range "
            f"{search.image_range}; pass the range that the model's images have, or None for any d"
        )
    layers, _ = model.checked(images)
    attack = Attack(layers, question, search, work.decode_batch)
    batches, constant = [], list[int]()
    for first, _, found in map_images(attack, Source.of(images), work, "empirical margin"):
        layers.check_clean(found.clean, found.centre_finite, first)
        constant += [first + int(row) for row in np.flatnonzero(found.speed == 0.0)]
        batches.append(found._replace(clean=None))
    warn_of_constant_means(layers.means, constant, len(images))
    return _shortest(jax.tree.map(lambda *parts: np.concatenate(parts), *batches), images, question, search)


def _shortest(found: Found, images: Float[ndarray, "n *image"], question: Question, search: Search) -> EmpiricalMargin:
    """The shortest of the distortions that fresh draws confirm, for each image."""
    norm, axes, clean = question.norm, images.ndim - 1, images[:, None].astype(np.float64)
    distortions = np.asarray(found.tried, np.float64) - clean
    p_upper = np.asarray(upper_confidence_bound(np.asarray(found.hits), question.num_samples, level_of(question)))
    distances = np.where(p_upper < question.risk, lengths(distortions, norm, axes), np.inf)
    # The first of equals is d = 0: what stands where nothing was confirmed.
    chosen = (np.arange(len(images)), np.argmin(distances, axis=1))
    return EmpiricalMargin(
        upper=distances[chosen],
        distortion=distortions[chosen],
        p_upper=p_upper[chosen],
        p_clean=np.asarray(found.hits[:, 0]) / question.num_samples,
        curve_norms=lengths(np.asarray(found.curve, np.float64) - clean, norm, axes),
        curve_probability=np.asarray(found.curve_hits) / search.search_samples,
        alpha=question.alpha,
        risk=question.risk,
        reconstruction_radius=float(question.radius),
        num_samples=question.num_samples,
        num_tried=1 + len(CLEARANCES),
        norm=norm,
        frozen_std=search.frozen_std,
        image_range=search.image_range,
    )
