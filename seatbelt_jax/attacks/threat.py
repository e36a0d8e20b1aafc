"""Threat models: which distortions are allowed, and what they cost the attacker."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal, get_args

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from seatbelt_jax import values
from seatbelt_jax.attacks.region import L2Ball, Region
from seatbelt_jax.norm import l2_norm
from seatbelt_jax.sections import check_choice

Norm = Literal["l2", "linf"]

# Norms are computed in float32: one on the surface of a ball may come out above its radius by so much, relatively.
_LENGTH_ROUNDING = 1e-5


def penalty_grid(number: int = 50) -> Float[np.ndarray, " penalty"]:
    """lambda = 2^-20 .. 2^20, geometric (Willetts et al. 2021, Sec. 5)."""
    if number < 1:
        raise ValueError(f"a sweep needs at least one penalty, got {number}")
    return np.geomspace(2.0**-20, 2.0**20, number)


@values.register("budgets")
@dataclasses.dataclass(frozen=True, eq=False)
class Penalty:
    """Any distortion, at a cost of lambda ||d||_2 (Willetts et al. 2021, Eq. 1, 2 and 10).

    Attributes:
      budgets: lambda, in the objective's unit per pixel unit (per its square if squared); all >= 0.
      squared: charge lambda ||d||_2^2, as the code of Tabacof et al. 2016 and Gondim-Ribeiro et al. 2018.
      pixel_limit: the most that one pixel may change, None for no limit; the code of Sootla 2018 has 0.1.

    Raises:
      ValueError: no penalties, negative or infinite ones, a limit that is not positive.
    """

    budgets: Float[np.ndarray, " budget"] = dataclasses.field(default_factory=penalty_grid)
    squared: bool = False
    pixel_limit: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "budgets", _budgets("penalties", self.budgets))
        if self.pixel_limit is not None and not 0.0 < self.pixel_limit < math.inf:
            raise ValueError(f"pixel_limit must be positive, or None for no limit; got {self.pixel_limit}")

    @property
    def name(self) -> str:
        return "squared_penalty" if self.squared else "penalty"

    def cost(self, distortion: Float[Array, "*image"], budget: Float[Array, ""]) -> Float[Array, ""]:
        """What the distortion adds to the attacker's objective."""
        return budget * (jnp.sum(jnp.square(distortion)) if self.squared else l2_norm(distortion))

    def region(self, source: Float[Array, "*image"], budget: Float[Array, ""], box: tuple[float, float]) -> Region:
        """Where the distorted image may be."""
        return box if self.pixel_limit is None else _around(source, self.pixel_limit, box)


@values.register("budgets")
@dataclasses.dataclass(frozen=True, eq=False)
class Ball:
    """Any distortion with ||d|| at most the radius, free of charge.

    Attributes:
      budgets: radii, in pixel units; all >= 0.
      norm: "l2", over the whole image, or "linf", the largest change of a pixel.

    Raises:
      ValueError: no radii, negative or infinite ones, an unknown norm.
    """

    budgets: Float[np.ndarray, " budget"]
    norm: Norm = "l2"

    def __post_init__(self) -> None:
        object.__setattr__(self, "budgets", _budgets("radii", self.budgets))
        check_choice("norm", self.norm, get_args(Norm))

    @property
    def name(self) -> str:
        return f"{self.norm}_ball"

    def cost(self, distortion: Float[Array, "*image"], budget: Float[Array, ""]) -> Float[Array, ""]:
        return jnp.zeros((), distortion.dtype)

    def region(self, source: Float[Array, "*image"], budget: Float[Array, ""], box: tuple[float, float]) -> Region:
        """The ball's part of the image box."""
        return L2Ball(source, budget, *box) if self.norm == "l2" else _around(source, budget, box)


Threat = Penalty | Ball


def cost(threat: str, norm: np.ndarray, budgets: np.ndarray) -> np.ndarray:
    """The cost of distortions of these L2 norms, computed on the host; 0 in balls.

    Raises:
      ValueError: for a name that is not a threat's.
    """
    check_choice("threat", threat, ("penalty", "squared_penalty", "l2_ball", "linf_ball"))
    if threat.endswith("ball"):
        return np.zeros(np.broadcast_shapes(norm.shape, budgets.shape))
    return budgets * norm ** (2 if threat == "squared_penalty" else 1)


def scores_of_all(
    threat: str,
    budgets: Float[np.ndarray, " budget"],
    distance: Float[np.ndarray, "pair budget"],
    norm: Float[np.ndarray, "pair budget"],
    largest: Float[np.ndarray, "pair budget"],
) -> Float[np.ndarray, "pair budget found"]:
    """Delta under each budget of the distortions that a pair's attacks have found under all budgets.

    A distortion found at lambda' has the score distance' + cost' at lambda. One found in another ball has a finite
    score only if it lies in this ball too. A score that is not finite counts as infinite.
    """
    here, distance, norm = budgets[:, None], distance[:, None, :], norm[:, None, :]
    scores = distance + cost(threat, norm, here)
    if threat.endswith("ball"):
        size = norm if threat == "l2_ball" else largest[:, None, :]
        scores = np.where(size <= here * (1.0 + _LENGTH_ROUNDING), scores, np.inf)
    return np.where(np.isfinite(scores), scores, np.inf)


def least_gain(
    share: float,
    delta: Float[np.ndarray, "pair budget"],
    at_source: Float[np.ndarray, " pair"],
    better: Float[np.ndarray, "pair budget"],
) -> Float[np.ndarray, "pair budget"]:
    """The least decrease of Delta that counts: a share of Delta, or of the gain over Delta at the source if less.

    An ELBO's 0 has no meaning, so there the second matters; near a divergence's 0 the first does. Any finite value
    improves a Delta that is not finite.
    """
    at_source = np.where(np.isfinite(at_source), at_source, np.inf)[:, None]
    with np.errstate(invalid="ignore"):
        way = np.maximum(at_source - better, 0.0)
        return np.where(np.isfinite(delta), share * np.minimum(np.abs(delta), way), 0.0)


def _around(source: Float[Array, "*image"], limit: Array | float, box: tuple[float, float]) -> tuple[Array, Array]:
    low, high = box
    return jnp.maximum(source - limit, low), jnp.minimum(source + limit, high)


def _budgets(what: str, values: Sequence[float] | np.ndarray) -> np.ndarray:
    try:
        # A copy that nobody can change afterwards.
        budgets = np.array(values, np.float64)
    except (TypeError, ValueError):
        budgets = np.empty(0)
    sound = budgets.ndim == 1 and budgets.size and np.all((budgets >= 0) & (budgets <= np.finfo(np.float32).max))
    if not sound:
        raise ValueError(f"{what} must be a list of finite numbers >= 0, got {values}")
    budgets.flags.writeable = False
    return budgets
