"""A search without gradients: an attack that does worse than it has missed something."""

import functools
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float

from seatbelt_jax.attacks.objective import Objective
from seatbelt_jax.attacks.region import project
from seatbelt_jax.attacks.threat import Ball, Threat, cost
from seatbelt_jax.norm import l2_norm

_BLENDS = 16
_NOISES = 48


def random_search(
    objective: Objective,
    threat: Threat,
    sources: Float[np.ndarray, "pair height width channels"],
    targets: Float[np.ndarray, "pair height width channels"],
    goals: Any,
    box: tuple[float, float],
    *,
    seed: int,
) -> tuple[Float[np.ndarray, "pair budget height width channels"], Float[np.ndarray, "pair budget"]]:
    """The best of 64 images, and its objective: blends of source and target, and the source with noise of every size.

    Each is projected onto the threat's region. Blends need no knowledge of the model. Without a target there is
    only noise.
    """
    low, high = box
    # The first blend is the source itself: an attack may find less than doing nothing.
    shares = np.linspace(0.0, 1.0, _BLENDS, dtype=np.float32)
    scales = (high - low) * np.geomspace(1e-3, 1.0, _NOISES, dtype=np.float32)
    # Penalties share their region; every ball is another.
    radii = threat.budgets if isinstance(threat, Ball) else threat.budgets[:1]

    grid = (len(sources), threat.budgets.size)
    found, least = np.empty((*grid, *sources.shape[1:]), np.float32), np.empty(grid)
    for pair, (source, target) in enumerate(zip(sources, targets, strict=True)):
        noise = np.random.default_rng([seed, pair]).standard_normal((_NOISES, *source.shape), np.float32)
        blends = source + _expand(shares) * (target - source)
        images = np.concatenate([blends, source + _expand(scales) * noise])
        goal = jax.tree.map(lambda leaf: leaf[pair], goals)  # noqa: B023
        seen = [_look(objective, threat, images, source, goal, np.float32(radius), box) for radius in radii]
        # [budget, image], or one row for all penalties
        inside, distance, norm = (np.asarray(part) for part in zip(*seen, strict=True))
        scores = distance + cost(threat.name, norm.astype(np.float64), threat.budgets[:, None])
        scores = np.where(np.isnan(scores), np.inf, scores)
        best = np.argmin(scores, axis=1)
        rows = np.arange(grid[1])
        found[pair] = inside[rows if len(inside) > 1 else np.zeros_like(rows), best]
        least[pair] = scores[rows, best]
    return found, least


@functools.partial(jax.jit, static_argnums=6)
def _look(
    objective: Objective,
    threat: Threat,
    images: Array,
    source: Array,
    goal: Any,
    radius: Array,
    box: tuple[float, float],
) -> tuple[Array, Array, Array]:
    """Every image within the threat's region, its distance, and ||d||."""

    def one(image: Array) -> tuple[Array, Array, Array]:
        inside = project(threat.region(source, radius, box), project(box, image))
        return inside, objective.distance(inside, goal), l2_norm(inside - source)

    return jax.vmap(one)(images)


def _expand(values: Float[np.ndarray, " image"]) -> Float[np.ndarray, "image 1 1 1"]:
    return values[:, None, None, None]
