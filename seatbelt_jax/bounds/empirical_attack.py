"""The attack behind an empirical margin, on one image: short distortions at which many draws leave the ball."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from numpy import ndarray
from scipy import special

from seatbelt_jax.arithmetic import common_type
from seatbelt_jax.bounds.checks import Norm
from seatbelt_jax.bounds.directions import ASCENT_DRAWS, ascend, random_directions, steepest_directions, unit
from seatbelt_jax.bounds.draws import Draw, Model, count_hits

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
    """From an image and its index in the data set to what is found: a pytree of the model, the key and the norms.

    Attributes:
      model: what is attacked.
      norms: of the balls attacked; None for those that suit the image.
      targets: shares of hits that the closer look heads for, falling.
      bracket: shares in the search's draws between which the targets lie.
      box: range of the pixels; may be infinite.
      The others are the arguments of `empirical_margin`.
    """

    model: Model
    key: Array
    norms: Float[Array | ndarray, "norm"] | None
    targets: tuple[float, ...] = dataclasses.field(metadata={"static": True})
    bracket: tuple[float, float] = dataclasses.field(metadata={"static": True})
    box: tuple[float, float] = dataclasses.field(metadata={"static": True})
    radius: float = dataclasses.field(metadata={"static": True})
    risk: float = dataclasses.field(metadata={"static": True})
    norm: Norm = dataclasses.field(metadata={"static": True})
    frozen_std: bool = dataclasses.field(metadata={"static": True})
    num_samples: int = dataclasses.field(metadata={"static": True})
    search_samples: int = dataclasses.field(metadata={"static": True})
    restarts: int = dataclasses.field(metadata={"static": True})
    steps: int = dataclasses.field(metadata={"static": True})
    decode_batch: int = dataclasses.field(metadata={"static": True})

    def __call__(self, x: Float[Array, "*image"], index: Int[Array, ""]) -> Found:
        model = self.model.frozen_at(x) if self.frozen_std else self.model
        noise_key, start_key = jax.random.split(jax.random.fold_in(self.key, index))
        # What is confirmed has not seen the fresh draws, nor has anything that led to it.
        search, close, fresh = jnp.split(
            model.noise(noise_key, self.search_samples + 2 * self.num_samples),
            [self.search_samples, self.search_samples + self.num_samples],
        )
        clean = model.mean_path(x)
        centre = model.decode(clean.latents)
        # The search goes on in the type that the model answers in.
        x = x.astype(common_type(x, clean, centre))

        def hits(image: Float[Array, "*image"], noise: Float[Array, "draw total"]) -> Int[Array, ""]:
            return count_hits(model, image, centre, noise, radius=self.radius, decode_batch=self.decode_batch)

        def along(direction: Float[Array, "*image"], length: Float[Array, ""]) -> Float[Array, "*image"]:
            return jnp.clip(x + length.astype(x.dtype) * direction, *self.box)

        p_clean = hits(x, close) / self.num_samples
        steepest, speed = steepest_directions(model, x, self.norm, _STEEPEST)

        def crossing(
            direction: Float[Array, "*image"], points: Float[Array, "k"], shares: Float[Array, "k"], target: Any
        ) -> tuple[Float[Array, ""], Float[Array, ""]]:
            """Where along a ray, and at what norm, a share is reached; infinite where it is not."""
            point = _crossing(points, shares, target)
            distance = _length(along(direction, jnp.nan_to_num(point, posinf=0.0)) - x, self.norm)
            return point, jnp.where(jnp.isfinite(point), distance, jnp.inf)

        def shares_along(direction: Float[Array, "*image"], points: Array, noise: Array) -> Float[Array, "k"]:
            at_once = max(1, min(self.decode_batch // len(noise), len(points)))
            counts = jax.lax.map(lambda length: hits(along(direction, length), noise), points, batch_size=at_once)
            return counts / len(noise)

        def default_norms() -> Float[Array, "norm"]:
            first = _first_order_norm(p_clean, speed, self.num_samples, self.risk, x, self.norm)
            farthest = jnp.maximum(_unit_everywhere(x, self.norm), first)
            ladder = jnp.geomspace(first, farthest, _RAY_POINTS)
            shares = jax.lax.map(lambda d: shares_along(d, ladder, search), jnp.concatenate([steepest, -steepest]))
            sufficient = jnp.where((shares <= self.risk).any(axis=0), ladder, farthest).min()
            return jnp.geomspace(first, jnp.maximum(_MULTIPLE * first, _BEYOND * sufficient), _DEFAULT_NORMS)

        balls = default_norms() if self.norms is None else jnp.asarray(self.norms, x.dtype)
        ray = jnp.concatenate([jnp.zeros(1, x.dtype), jnp.geomspace(balls.min() / 4.0, balls.max(), _RAY_POINTS)])

        def look(direction: Float[Array, "*image"]) -> _Beam:
            shares = jnp.concatenate([p_clean[None], shares_along(direction, ray[1:], search)])
            return _Beam(direction, shares, crossing(direction, ray, shares, self.risk)[1])

        # Directions: first from all norms, then from the norms found, where other ones may be better.
        beam = jax.lax.map(look, jnp.concatenate([steepest, -steepest]))
        others = random_directions(start_key, self.restarts, x, self.norm)
        openings = jnp.concatenate([steepest[:1], -steepest[:1], others])[: self.restarts]
        openings = jnp.where(speed > 0.0, openings, others)
        # Every start is taken by two lanes, one for each objective.
        lane, draws = jnp.arange(2 * len(balls) * self.restarts) // 2, min(ASCENT_DRAWS, self.search_samples)

        def attack_round(beam: _Beam, number: Int[Array, ""]) -> tuple[_Beam, None]:
            incumbent = lane % len(beam.norms)
            starts = jnp.where(number == 0, openings[lane % self.restarts], beam.directions[incumbent])
            nearby = jnp.minimum(beam.norms[incumbent], ray[-1]).astype(x.dtype)
            limits = jnp.where(number == 0, balls[lane // self.restarts], nearby)
            ascended = ascend(
                model,
                x,
                centre,
                jax.lax.dynamic_slice_in_dim(search, number * draws, draws),
                jax.vmap(along)(starts, limits),
                limits,
                radius=self.radius,
                norm=self.norm,
                box=self.box,
                steps=self.steps,
                decode_batch=self.decode_batch,
            )
            found = jax.lax.map(look, jax.vmap(lambda y: unit(y - x, self.norm))(ascended))
            every = jax.tree.map(lambda old, new: jnp.concatenate([old, new]), beam, found)
            order = jnp.lexsort((every.shares.min(axis=1), every.norms))[: len(beam.norms)]
            return jax.tree.map(lambda a: a[order], every), None

        beam, _ = jax.lax.scan(attack_round, beam, jnp.arange(_ROUNDS))

        def look_closely(finalist: Int[Array, ""]) -> tuple[Float[Array, "try"], Float[Array, "try"]]:
            direction, shares, _ = jax.tree.map(lambda a: a[finalist], beam)
            closer = jnp.linspace(*_around(ray, shares, self.bracket), _RAY_POINTS)
            points = jnp.linspace(
                *_around(closer, shares_along(direction, closer, search), self.bracket), _CLOSE_POINTS
            )
            close_shares = shares_along(direction, points, close)
            # Between two points it may fall in a step: the last is where it was seen to have fallen.
            seen = jnp.where(close_shares <= self.targets[-1], 0.0, 1.0)
            wanted = [(close_shares, target) for target in self.targets[:-1]] + [(seen, 0.0)]
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
        return Found(clean, jnp.isfinite(centre).all(), speed, tried, fresh_hits, curve, curve_hits)


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
