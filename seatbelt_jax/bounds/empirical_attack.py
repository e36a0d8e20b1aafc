"""The attack behind an empirical margin, on one image: short distortions at which many draws leave the ball."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from scipy import special

from seatbelt_jax.arithmetic import common_type
from seatbelt_jax.bounds.checks import Norm
from seatbelt_jax.bounds.confidence import upper_confidence_bound
from seatbelt_jax.bounds.directions import ASCENT_DRAWS, Ascent, random_directions, steepest_directions, unit
from seatbelt_jax.bounds.layers import Draw, Layers
from seatbelt_jax.bounds.question import Question
from seatbelt_jax.bounds.rays import Noise, Rays, around
from seatbelt_jax.bounds.search import Search

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
CLEARANCES = (0.0, 1.0, 2.25, 4.0)
_CURVE_POINTS = 16
_CURVE_REACH = 1.5


def level_of(question: Question) -> float:
    """The share of alpha of each distortion that is put to fresh draws: those found, and d = 0."""
    return question.alpha / (1 + len(CLEARANCES))


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


class Found(NamedTuple):
    """What the search found for one image.

    Attributes:
      clean: the mean path.
      centre_finite: whether its reconstruction is finite.
      speed: standard deviations that the latents move per unit of the norm, to first order.
      tried, hits: images put to fresh draws, and how many of these stay in the ball.
      curve, curve_hits: the same along the best direction, with the draws of the search.
    """

    clean: Draw
    centre_finite: Bool[Array, ""]
    speed: Float[Array, ""]
    tried: Float[Array, "try *image"]
    hits: Int[Array, "try"]
    curve: Float[Array, "k *image"]
    curve_hits: Int[Array, "k"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Attack:
    """From an image and its index in the data set to what is found: a pytree."""

    layers: Layers
    question: Question
    search: Search
    decode_batch: int = dataclasses.field(metadata={"static": True})

    def __call__(self, x: Float[Array, "*image"], index: Int[Array, ""]) -> Found:
        question, search = self.question, self.search
        layers = self.layers.frozen_at(x) if search.frozen_std else self.layers
        noise_key, start_key = jax.random.split(jax.random.fold_in(question.key, index))
        # What is confirmed has not seen the fresh draws, nor has anything that led to it.
        ends = search.search_samples + question.num_samples * np.arange(3)
        noise = Noise(*jnp.split(layers.noise(noise_key, int(ends[2])), ends[:2]))
        clean = layers.mean_path(x)
        centre = layers.decode(clean.latents)
        # The search goes on in the type that the model answers in.
        x = x.astype(common_type(x, clean, centre))
        rays = Rays(layers, x, centre, noise, question.radius, question.norm, search.box, self.decode_batch)

        p_clean = rays.hits(x, noise.close) / question.num_samples
        steepest, speed = steepest_directions(layers, x, question.norm, _STEEPEST)
        both = jnp.concatenate([steepest, -steepest])
        if search.norms is None:
            balls = self._default_norms(rays, both, _first_order_norm(p_clean, speed, question, x))
        else:
            balls = jnp.asarray(search.norms, x.dtype)
        ray = jnp.concatenate([jnp.zeros(1, x.dtype), jnp.geomspace(balls.min() / 4.0, balls.max(), _RAY_POINTS)])

        def look(direction: Float[Array, "*image"]) -> _Beam:
            shares = jnp.concatenate([p_clean[None], rays.shares(direction, ray[1:], noise.search)])
            return _Beam(direction, shares, rays.crossing(direction, ray, shares, question.risk)[1])

        others = random_directions(start_key, search.restarts, x, question.norm)
        openings = jnp.concatenate([steepest[:1], -steepest[:1], others])[: search.restarts]
        openings = jnp.where(speed > 0.0, openings, others)
        beam = self._ascended(rays, jax.lax.map(look, both), look, openings, balls)
        direction, tries = self._looked_at_closely(rays, beam, ray)

        # d = 0 is one of those tried, and takes the place of any that is nowhere.
        points = jnp.nan_to_num(tries, posinf=0.0)
        tried = jnp.concatenate([x[None], jax.vmap(lambda t: rays.along(direction, t))(points)])
        fresh_hits = jax.lax.map(lambda image: rays.hits(image, noise.fresh), tried)
        end = jnp.where(jnp.isfinite(tries[1]), _CURVE_REACH * tries[1], ray[-1])
        curve = jax.vmap(lambda t: rays.along(direction, t))(jnp.linspace(0.0, end, _CURVE_POINTS))
        curve_hits = jax.lax.map(lambda image: rays.hits(image, noise.search), curve)
        return Found(clean, jnp.isfinite(centre).all(), speed, tried, fresh_hits, curve, curve_hits)

    def _default_norms(
        self, rays: Rays, directions: Float[Array, "direction *image"], first: Float[Array, ""]
    ) -> Float[Array, "norm"]:
        """Norms of balls, from the one that suffices to first order to beyond one that suffices along a direction."""
        farthest = jnp.maximum(_unit_everywhere(rays.x, rays.norm), first)
        ladder = jnp.geomspace(first, farthest, _RAY_POINTS)
        shares = jax.lax.map(lambda d: rays.shares(d, ladder, rays.noise.search), directions)
        sufficient = jnp.where((shares <= self.question.risk).any(axis=0), ladder, farthest).min()
        return jnp.geomspace(first, jnp.maximum(_MULTIPLE * first, _BEYOND * sufficient), _DEFAULT_NORMS)

    def _ascended(
        self,
        rays: Rays,
        beam: _Beam,
        look: Callable[[Float[Array, "*image"]], _Beam],
        openings: Float[Array, "restart *image"],
        balls: Float[Array, "norm"],
    ) -> _Beam:
        """The best directions after ascents: first from all norms, then from the norms found.

        Args:
          beam: the directions to begin with.
          look: from a direction to the shares along it.
          openings: directions in which the first ascents start.
          balls: their norms.
        """
        search, x = self.search, rays.x
        ascent = Ascent(rays.radius, rays.norm, rays.box, search.steps, rays.decode_batch)
        # Every start is taken by two lanes, one for each objective.
        lane = jnp.arange(2 * len(balls) * search.restarts) // 2
        draws = min(ASCENT_DRAWS, search.search_samples)

        def attack_round(beam: _Beam, number: Int[Array, ""]) -> tuple[_Beam, None]:
            incumbent = lane % len(beam.norms)
            starts = jnp.where(number == 0, openings[lane % search.restarts], beam.directions[incumbent])
            nearby = jnp.minimum(beam.norms[incumbent], balls.max()).astype(x.dtype)
            limits = jnp.where(number == 0, balls[lane // search.restarts], nearby)
            noise = jax.lax.dynamic_slice_in_dim(rays.noise.search, number * draws, draws)
            ascended = ascent.run(rays.layers, x, rays.centre, noise, jax.vmap(rays.along)(starts, limits), limits)
            found = jax.lax.map(look, jax.vmap(lambda y: unit(y - x, rays.norm))(ascended))
            every = jax.tree.map(lambda old, new: jnp.concatenate([old, new]), beam, found)
            order = jnp.lexsort((every.shares.min(axis=1), every.norms))[: len(beam.norms)]
            return jax.tree.map(lambda a: a[order], every), None

        return jax.lax.scan(attack_round, beam, jnp.arange(_ROUNDS))[0]

    def _looked_at_closely(
        self, rays: Rays, beam: _Beam, ray: Float[Array, "point"]
    ) -> tuple[Float[Array, "*image"], Float[Array, "try"]]:
        """The direction of the shortest distortion by more draws, and points along it to be put to fresh ones."""
        targets, bracket = _aims(self.question, self.search)

        def closely(finalist: Int[Array, ""]) -> tuple[Float[Array, "try"], Float[Array, "try"]]:
            direction, shares, _ = jax.tree.map(lambda a: a[finalist], beam)
            closer = jnp.linspace(*around(ray, shares, bracket), _RAY_POINTS)
            of_closer = rays.shares(direction, closer, rays.noise.search)
            points = jnp.linspace(*around(closer, of_closer, bracket), _CLOSE_POINTS)
            close_shares = rays.shares(direction, points, rays.noise.close)
            # Between two points it may fall in a step: the last is where it was seen to have fallen.
            seen = jnp.where(close_shares <= targets[-1], 0.0, 1.0)
            wanted = [(close_shares, target) for target in targets[:-1]] + [(seen, 0.0)]
            found = [rays.crossing(direction, points, *one) for one in wanted]
            return jnp.stack([point for point, _ in found]), jnp.stack([distance for _, distance in found])

        candidates, distances = jax.lax.map(closely, jnp.arange(_FINALISTS))
        best = jnp.lexsort((distances[:, 0], distances[:, 1]))[0]
        return beam.directions[best], candidates[best]


def _aims(question: Question, search: Search) -> tuple[tuple[float, ...], tuple[float, float]]:
    """Shares of hits that the closer look heads for, falling, and a bracket of them in the search's draws."""
    risk, samples = question.risk, question.num_samples
    # The most hits that confirm.
    upper = upper_confidence_bound(np.arange(samples + 1), samples, level_of(question))
    confirming = np.flatnonzero(upper < risk)[-1]
    deviation = np.sqrt(2.0 * risk * (1.0 - risk) / samples)
    targets = np.maximum(confirming / samples - np.asarray(CLEARANCES) * deviation, 0.0)
    # Between these shares in the search's draws, with some certainty, the targets lie.
    doubt = 3.0 * np.sqrt(risk * (1.0 - risk) / search.search_samples)
    return tuple(targets.tolist()), (risk + doubt, max(targets[-1] - doubt, 0.25 * targets[-1]))


def _first_order_norm(
    p_clean: Float[Array, ""], speed: Float[Array, ""], question: Question, x: Array
) -> Float[Array, ""]:
    """The norm that takes the probability to the risk if the mean moves by `speed` standard deviations per unit."""
    least = 0.5 / question.num_samples
    probability = jnp.clip(p_clean, least, 1.0 - least)
    budget = jnp.maximum(jax.scipy.stats.norm.ppf(probability) - special.ndtri(question.risk), _LEAST_BUDGET)
    # Where the encoder does not move to first order, as much as there is to go.
    sufficient = budget / jnp.where(speed > 0.0, speed, 1.0)
    return jnp.where(speed > 0.0, sufficient, _unit_everywhere(x, question.norm)).astype(x.dtype)


def _unit_everywhere(x: Array, norm: Norm) -> float:
    return float(np.sqrt(x.size)) if norm == "l2" else 1.0
