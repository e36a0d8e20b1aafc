"""Upper bounds of margins of r-robustness, by attack.

R(x) = sup{R : for all ||d|| < R, P_{x+d}(A_r) > m}, with sigma as it is at x + d or frozen at x. So one d at which the
probability is at most m shows R <= ||d||. Attacks look for a short one with draws of their own; what they find is then
put to *fresh* draws, and stands where the upper confidence bound of the probability, at level alpha over the number of
d so tried, is below m. Whatever the attack did, the bound then fails with probability alpha at most; a weak attack
makes it loose, never wrong.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from numpy import ndarray
from scipy import special

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
)
from seatbelt_jax.bounds.confidence import check_refutable, upper_confidence_bound
from seatbelt_jax.bounds.directions import (
    ASCENT_DRAWS,
    ascend,
    lengths,
    random_directions,
    steepest_directions,
    unit,
)
from seatbelt_jax.bounds.draws import Draw, check_clean, checked_model, count_hits
from seatbelt_jax.bounds.empirical_result import EmpiricalMargin
from seatbelt_jax.bounds.streaming import default_decode_batch, map_images

# By default norms rise evenly from the one that would suffice to first order to so many times it, or twice the one
# that does suffice along the steepest directions where that is more. It is looked for up to a unit in every pixel.
_DEFAULT_NORMS = 6
_MULTIPLE, _BEYOND = 64.0, 2.0
# What is called nothing when the clean probability hardly exceeds the risk: standard deviations.
_LEAST_BUDGET = 0.25
_STEEPEST = 3
_ROUNDS = 2
# Points of a ray in the search, from a quarter of the least norm to the largest, and again where the probability falls;
# and in the closer look at that.
_RAY_POINTS = 14
_CLOSE_POINTS = 7
# Directions looked at closely.
_FINALISTS = 2
# Norms put to fresh draws: the closer look's estimates fall below what would confirm by so many standard errors of the
# difference of two estimates. The first is confirmed about every other time, the last, a point of the closer look
# itself, nearly always, also where the probability falls in a step.
_CLEARANCES = (0.0, 1.0, 2.25, 4.0)
_CURVE_POINTS = 16
_CURVE_REACH = 1.5


class _Beam(NamedTuple):
    """Directions looked at, the best first after a round.

    Attributes:
      directions: [beam, *image], of length 1.
      shares: [beam, point], of the search's draws within the ball of reconstructions, along the ray.
      norms: [beam], at which it falls to the risk; infinite where it does not.
    """

    directions: Float[Array, "beam *image"]
    shares: Float[Array, "beam point"]
    norms: Float[Array, "beam"]


class _Found(NamedTuple):
    """What the device tells of one image: those tried on fresh draws and the curve, as images, with their hits."""

    clean: Draw
    centre_finite: Bool[Array, ""]
    tried: Float[Array, "try *image"]
    hits: Int[Array, "try"]
    curve: Float[Array, "k *image"]
    curve_hits: Int[Array, "k"]


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
    level = alpha / (1 + len(_CLEARANCES))
    check_refutable(num_samples, level, risk)
    check_key(key)
    array = check_images(images)
    box = _check_box(image_range, array)
    moving = checked_model(encode, levels, decode, array)
    given = None if norms is None else _check_norms(norms)
    num_norms = _DEFAULT_NORMS if given is None else len(given)

    # The most hits that confirm, and the shares of hits that the closer look heads for.
    confirming = np.flatnonzero(upper_confidence_bound(np.arange(num_samples + 1), num_samples, level) < risk)[-1]
    deviation = np.sqrt(2.0 * risk * (1.0 - risk) / num_samples)
    targets = np.maximum(confirming / num_samples - np.asarray(_CLEARANCES) * deviation, 0.0)
    # Between these shares in the search's draws, with some certainty, the closer look's targets lie.
    doubt = 3.0 * np.sqrt(risk * (1.0 - risk) / search_samples)
    bracket = (risk + doubt, max(targets[-1] - doubt, 0.25 * targets[-1]))

    def attack(x: Float[Array, "*image"], index: Int[Array, ""]) -> _Found:
        model = moving.frozen_at(x) if frozen_std else moving
        noise_key, start_key = jax.random.split(jax.random.fold_in(key, index))
        # What is confirmed has not seen the fresh draws, nor has anything that led to it.
        search, close, fresh = jnp.split(
            model.noise(noise_key, search_samples + 2 * num_samples), [search_samples, search_samples + num_samples]
        )
        clean = model.mean_path(x)
        centre = model.decode(clean.latents)

        def hits(image: Float[Array, "*image"], noise: Float[Array, "draw total"]) -> Int[Array, ""]:
            return count_hits(model, image, centre, noise, radius=radius, decode_batch=decode_batch)

        def along(direction: Float[Array, "*image"], length: Float[Array, ""]) -> Float[Array, "*image"]:
            return jnp.clip(x + length.astype(x.dtype) * direction, *box)

        p_clean = hits(x, close) / num_samples
        steepest, speed = steepest_directions(model, x, norm, _STEEPEST)

        def crossing(
            direction: Float[Array, "*image"], points: Float[Array, "k"], shares: Float[Array, "k"], target: Any
        ) -> tuple[Float[Array, ""], Float[Array, ""]]:
            """Where along a ray, and at what norm, a share is reached; infinite where it is not."""
            point = _crossing(points, shares, target)
            distance = _length(along(direction, jnp.nan_to_num(point, posinf=0.0)) - x, norm)
            return point, jnp.where(jnp.isfinite(point), distance, jnp.inf)

        def shares_along(direction: Float[Array, "*image"], points: Array, noise: Array) -> Float[Array, "k"]:
            at_once = max(1, min(decode_batch // len(noise), len(points)))
            counts = jax.lax.map(lambda length: hits(along(direction, length), noise), points, batch_size=at_once)
            return counts / len(noise)

        def default_norms() -> Float[Array, "norm"]:
            first = _first_order_norm(p_clean, speed, num_samples, risk, x, norm)
            farthest = jnp.maximum(_unit_everywhere(x, norm), first)
            ladder = jnp.geomspace(first, farthest, _RAY_POINTS)
            shares = jax.lax.map(lambda d: shares_along(d, ladder, search), jnp.concatenate([steepest, -steepest]))
            sufficient = jnp.where((shares <= risk).any(axis=0), ladder, farthest).min()
            return jnp.geomspace(first, jnp.maximum(_MULTIPLE * first, _BEYOND * sufficient), _DEFAULT_NORMS)

        balls = default_norms() if given is None else jnp.asarray(given, x.dtype)
        ray = jnp.concatenate([jnp.zeros(1, x.dtype), jnp.geomspace(balls.min() / 4.0, balls.max(), _RAY_POINTS)])

        def look(direction: Float[Array, "*image"]) -> _Beam:
            shares = jnp.concatenate([p_clean[None], shares_along(direction, ray[1:], search)])
            return _Beam(direction, shares, crossing(direction, ray, shares, risk)[1])

        # Directions: first from all norms, then from the norms found, where other ones may be better.
        beam = jax.lax.map(look, jnp.concatenate([steepest, -steepest]))
        others = random_directions(start_key, restarts, x, norm)
        openings = jnp.concatenate([steepest[:1], -steepest[:1], others])[:restarts]
        openings = jnp.where(speed > 0.0, openings, others)
        # Every start is taken by two lanes, one for each objective.
        lane, draws = jnp.arange(2 * num_norms * restarts) // 2, min(ASCENT_DRAWS, search_samples)

        def attack_round(beam: _Beam, number: Int[Array, ""]) -> tuple[_Beam, None]:
            incumbent = lane % len(beam.norms)
            starts = jnp.where(number == 0, openings[lane % restarts], beam.directions[incumbent])
            nearby = jnp.minimum(beam.norms[incumbent], ray[-1]).astype(x.dtype)
            limits = jnp.where(number == 0, balls[lane // restarts], nearby)
            ascended = ascend(
                model,
                x,
                centre,
                jax.lax.dynamic_slice_in_dim(search, number * draws, draws),
                jax.vmap(along)(starts, limits),
                limits,
                radius=radius,
                norm=norm,
                box=box,
                steps=steps,
                decode_batch=decode_batch,
            )
            found = jax.lax.map(look, jax.vmap(lambda y: unit(y - x, norm))(ascended))
            every = jax.tree.map(lambda old, new: jnp.concatenate([old, new]), beam, found)
            order = jnp.lexsort((every.shares.min(axis=1), every.norms))[: len(beam.norms)]
            return jax.tree.map(lambda a: a[order], every), None

        beam, _ = jax.lax.scan(attack_round, beam, jnp.arange(_ROUNDS))

        def look_closely(finalist: Int[Array, ""]) -> tuple[Float[Array, "try"], Float[Array, "try"]]:
            direction, shares, _ = jax.tree.map(lambda a: a[finalist], beam)
            closer = jnp.linspace(*_around(ray, shares, bracket), _RAY_POINTS)
            points = jnp.linspace(*_around(closer, shares_along(direction, closer, search), bracket), _CLOSE_POINTS)
            close_shares = shares_along(direction, points, close)
            # Between two points it may fall in a step: the last is where it was seen to have fallen.
            seen = jnp.where(close_shares <= targets[-1], 0.0, 1.0)
            wanted = [(close_shares, target) for target in targets[:-1]] + [(seen, 0.0)]
            found = [crossing(direction, points, *one) for one in wanted]
            return jnp.stack([point for point, _ in found]), jnp.stack([distance for _, distance in found])

        candidates, distances = jax.lax.map(look_closely, jnp.arange(_FINALISTS))
        best = jnp.lexsort((distances[:, 0], distances[:, 1]))[0]
        direction, tries = beam.directions[best], candidates[best]
        # d = 0 is one of those tried, and takes the place of any that is nowhere.
        tried = jnp.concatenate([x[None], jax.vmap(lambda t: along(direction, t))(jnp.nan_to_num(tries, posinf=0.0))])
        fresh_hits = jax.lax.map(lambda image: hits(image, fresh), tried)

        end = jnp.where(jnp.isfinite(tries[1]), _CURVE_REACH * tries[1], ray[-1])
        curve = jax.vmap(lambda t: along(direction, t))(jnp.linspace(0.0, end, _CURVE_POINTS))
        curve_hits = jax.lax.map(lambda image: hits(image, search), curve)
        return _Found(clean, jnp.isfinite(centre).all(), tried, fresh_hits, curve, curve_hits)

    batches = []
    for first, _, found in map_images(
        attack, array.__getitem__, len(array), batch_size=batch_size, progress=progress, description="empirical margin"
    ):
        check_clean(found.clean, found.centre_finite, first)
        batches.append(found._replace(clean=None))
    found = jax.tree.map(lambda *parts: np.concatenate(parts), *batches)

    distortions = found.tried.astype(np.float64) - array[:, None].astype(np.float64)
    distances = lengths(distortions, norm, array.ndim - 1)
    p_upper = upper_confidence_bound(found.hits, num_samples, level)
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
        num_tried=1 + len(_CLEARANCES),
        norm=norm,
        frozen_std=frozen_std,
        image_range=image_range,
    )


def _first_order_norm(
    p_clean: Float[Array, ""], speed: Float[Array, ""], num_samples: int, risk: float, x: Array, norm: Norm
) -> Float[Array, ""]:
    """The norm that takes the probability to the risk if the mean moves by `speed` standard deviations per unit."""
    probability = jnp.clip(p_clean, 0.5 / num_samples, 1.0 - 0.5 / num_samples)
    budget = jnp.maximum(jax.scipy.stats.norm.ppf(probability) - special.ndtri(risk), _LEAST_BUDGET)
    # Where the encoder does not move to first order, as much as there is to go.
    sufficient = budget / jnp.where(speed > 0.0, speed, 1.0)
    return jnp.where(speed > 0.0, sufficient, _unit_everywhere(x, norm)).astype(x.dtype)


def _unit_everywhere(x: Array, norm: Norm) -> float:
    return float(np.sqrt(x.size)) if norm == "l2" else 1.0


def _around(
    norms: Float[Array, "k"], shares: Float[Array, "k"], bracket: tuple[float, float]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """The points of a ray between which the probability comes down through the bracket; the last where it does not."""
    high, low = bracket
    begun, ended = shares <= high, shares <= low
    before = jnp.where(begun.any(), jnp.maximum(jnp.argmax(begun) - 1, 0), 0)
    return norms[before], norms[jnp.where(ended.any(), jnp.argmax(ended), len(norms) - 1)]


def _crossing(norms: Float[Array, "k"], shares: Float[Array, "k"], target: float | Array) -> Float[Array, ""]:
    """Where along a ray the probability first comes down to the target, between points as a straight line; or inf."""
    reached = shares <= target
    after = jnp.argmax(reached)
    before = jnp.maximum(after - 1, 0)
    drop = shares[before] - shares[after]
    part = jnp.where(drop > 0.0, (shares[before] - target) / jnp.where(drop > 0.0, drop, 1.0), 1.0)
    return jnp.where(reached.any(), norms[before] + part * (norms[after] - norms[before]), jnp.inf)


def _length(distortion: Float[Array, "*image"], norm: Norm) -> Float[Array, ""]:
    return jnp.linalg.norm(distortion.reshape(-1), ord=2 if norm == "l2" else jnp.inf)


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
