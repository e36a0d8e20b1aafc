"""One attack as a problem for a solver: what is distorted, where it shall go, and what it may cost."""

import dataclasses
from typing import Any, NamedTuple

import jax
from jax.tree_util import Partial
from jaxtyping import Array, Float

from seatbelt_jax.attacks.objective import Objective
from seatbelt_jax.attacks.region import Region
from seatbelt_jax.attacks.threat import Threat


class Problem(NamedTuple):
    """What one attack is about.

    Attributes:
      source: the image that is distorted.
      goal: what the objective has prepared for the pair.
      budget: lambda, or the radius of a ball.
    """

    source: Float[Array, "height width channels"]
    goal: Any
    budget: Float[Array, ""]


@jax.jit
def distance(objective: Objective, image: Array, goal: Any) -> Float[Array, ""]:
    """The attacker's distance of one image to its goal; traced once for all programs that hold it."""
    return objective.distance(image, goal)


def delta(objective: Objective, threat: Threat) -> Partial:
    """Delta = distance + cost as a function of the image and its `Problem` (Willetts et al. 2021, Eq. 10)."""
    return Partial(_delta, objective, threat)


def region(threat: Threat, box: tuple[float, float]) -> Partial:
    """Where the image may be, as a function of its `Problem`; box is the range of pixels."""
    return Partial(_Region(box), threat)


def _delta(objective: Objective, threat: Threat, image: Array, problem: Problem) -> Float[Array, ""]:
    cost = threat.cost(image - problem.source, problem.budget)
    return distance(objective, image, problem.goal) + cost


@dataclasses.dataclass(frozen=True)
class _Region:
    box: tuple[float, float]

    def __call__(self, threat: Threat, problem: Problem) -> Region:
        return threat.region(problem.source, problem.budget, self.box)
