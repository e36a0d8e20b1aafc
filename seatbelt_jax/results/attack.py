"""The result of a sweep of attacks: arrays over [pair, budget], with the status of every attack."""

import dataclasses
import enum
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Bool, Float, Int

from seatbelt_jax.results.record import Record


class Status(enum.IntEnum):
    """How a search stands. Everything but RUNNING is final."""

    RUNNING = 0
    CONVERGED = 1  # the projected gradient's largest entry is at most tol
    STALLED = 2  # the decrease that the next step promises is below the objective's rounding: an end
    LINE_SEARCH_FAILED = 3  # no decrease along the projected gradient from the start, though one was due
    MAX_ITERATIONS = 4
    MAX_EVALUATIONS = 5
    NON_FINITE = 6  # the objective or its gradient is not finite, at the start or, by Adam, later
    STOPPED_EARLY = 7  # the last decrease was at most ftol, or the next one was due and did not come


@dataclasses.dataclass(frozen=True, eq=False)
class AttackResult(Record):
    """Attacks on pairs of images under a grid of budgets.

    Distances between images are L2 over the whole image in pixel units; log densities in nats. Codes z*, z and z^t
    follow the mean path of the adversarial input x* = x + d, of the source x and of the target x^t. An untargeted
    attack uses its source as target.

    Attributes:
      name: the name of the attacker's objective.
      unit: the unit of the objective and the distance.
      targeted: whether the attacker has a target.
      threat: "penalty", "squared_penalty", "l2_ball" or "linf_ball".
      budgets: lambda, per pixel unit or its square, or the radii of balls.
      sources, targets: x and x^t.
      source_reconstructions, target_reconstructions: recon(x) and recon(x^t).
      adversarial, adversarial_reconstructions: x* and recon(x*).
      objective: Delta = distance + cost.
      objective_at_source: Delta at d = 0, what no attack should exceed.
      distance: what the attacker minimises, without the cost.
      cost: lambda ||d|| or lambda ||d||^2; 0 in balls.
      distortion_norm: ||d||.
      distortion_max: the largest change of a pixel.
      negative_log_likelihood: -log p(x^t|z*).
      clean_negative_log_likelihood: -log p(x^t|z^t), what no attack on this model needs to beat.
      source_log_likelihood: log p(x|z*).
      clean_source_log_likelihood: log p(x|z).
      adversarial_error: ||recon(x*) - x^t||.
      source_error: ||recon(x) - x^t||.
      target_error: ||recon(x^t) - x^t||.
      distance_to_target: ||x* - x^t||.
      distance_left: ||recon(x*) - recon(x^t)||.
      distance_at_start: ||recon(x) - recon(x^t)||.
      status: a `Status` per lane, of the search that improved it last or confirmed that it cannot be improved.
      iterations, evaluations: counts per lane, summed over all its starts.
      start_objectives: the objective that each start led to; infinite where a start was not made.
      exchanged: whether the lane's best start was an image found by the pair's attack under another budget, or by
        the random search.
      gradient_norm: the norm of the distance's gradient at the first start, without the part that would leave the box.
        The first start is x, unless it has noise.
      repeated_objective: a second evaluation at x*, compiled anew.
      random_search_objective: the least objective that a search without gradients found.
      source_index, target_index, source_label, target_label: the images' numbers in that part, and their labels.
    """

    called: ClassVar[str] = "a sweep of attacks"

    name: str
    unit: str
    targeted: bool
    threat: str
    budgets: Float[np.ndarray, " budget"]
    sources: Float[np.ndarray, "pair height width channels"]
    targets: Float[np.ndarray, "pair height width channels"]
    source_reconstructions: Float[np.ndarray, "pair height width channels"]
    target_reconstructions: Float[np.ndarray, "pair height width channels"]
    adversarial: Float[np.ndarray, "pair budget height width channels"]
    adversarial_reconstructions: Float[np.ndarray, "pair budget height width channels"]
    objective: Float[np.ndarray, "pair budget"]
    objective_at_source: Float[np.ndarray, " pair"]
    distance: Float[np.ndarray, "pair budget"]
    cost: Float[np.ndarray, "pair budget"]
    distortion_norm: Float[np.ndarray, "pair budget"]
    distortion_max: Float[np.ndarray, "pair budget"]
    negative_log_likelihood: Float[np.ndarray, "pair budget"]
    clean_negative_log_likelihood: Float[np.ndarray, " pair"]
    source_log_likelihood: Float[np.ndarray, "pair budget"]
    clean_source_log_likelihood: Float[np.ndarray, " pair"]
    adversarial_error: Float[np.ndarray, "pair budget"]
    source_error: Float[np.ndarray, " pair"]
    target_error: Float[np.ndarray, " pair"]
    distance_to_target: Float[np.ndarray, "pair budget"]
    distance_left: Float[np.ndarray, "pair budget"]
    distance_at_start: Float[np.ndarray, " pair"]
    status: Int[np.ndarray, "pair budget"]
    iterations: Int[np.ndarray, "pair budget"]
    evaluations: Int[np.ndarray, "pair budget"]
    start_objectives: Float[np.ndarray, "pair budget start"]
    exchanged: Bool[np.ndarray, "pair budget"]
    gradient_norm: Float[np.ndarray, " pair"]
    repeated_objective: Float[np.ndarray, "pair budget"]
    random_search_objective: Float[np.ndarray, "pair budget"]
    source_index: Int[np.ndarray, " pair"] | None = None
    target_index: Int[np.ndarray, " pair"] | None = None
    source_label: Int[np.ndarray, " pair"] | None = None
    target_label: Int[np.ndarray, " pair"] | None = None

    @property
    def excess_negative_log_likelihood(self) -> Float[np.ndarray, "pair budget"]:
        """-log p(x^t|z*) + log p(x^t|z^t): how much worse the attacked code explains the target, in nats."""
        return self.negative_log_likelihood - self.clean_negative_log_likelihood[:, None]

    @property
    def is_ball(self) -> bool:
        """Whether budgets are radii of balls, not weights of penalties."""
        return self.threat.endswith("ball")

    @property
    def endings(self) -> dict[str, int]:
        """How many attacks ended how."""
        statuses, counts = np.unique(self.status, return_counts=True)
        return {
            Status(status).name.lower(): int(count)
            for status, count in zip(statuses.tolist(), counts.tolist(), strict=True)
        }

    def rows(self) -> list[dict[str, Any]]:
        """One row per attack, for a tidy CSV, units in the names."""
        unit = self.unit.replace(" ", "_")
        kind = "radius" if self.is_ball else "penalty"
        known = ("source_index", "target_index", "source_label", "target_label")
        images = {name: column for name in known if (column := getattr(self, name)) is not None}
        lanes = {
            f"objective_{unit}": self.objective,
            f"distance_{unit}": self.distance,
            f"cost_{unit}": self.cost,
            "distortion_l2": self.distortion_norm,
            "distortion_max": self.distortion_max,
            "target_nll_nats": self.negative_log_likelihood,
            "source_log_likelihood_nats": self.source_log_likelihood,
            "adversarial_error_l2": self.adversarial_error,
            "distance_to_target_l2": self.distance_to_target,
            "distance_left_l2": self.distance_left,
            "iterations": self.iterations,
            "evaluations": self.evaluations,
            "exchanged": self.exchanged,
            f"first_start_{unit}": self.start_objectives[..., 0],
            f"best_start_{unit}": np.min(self.start_objectives, axis=-1),
            f"random_search_{unit}": self.random_search_objective,
            f"repeated_objective_{unit}": self.repeated_objective,
        }
        pairs = {
            f"objective_at_source_{unit}": self.objective_at_source,
            f"gradient_norm_{unit}_per_pixel_unit": self.gradient_norm,
            "clean_target_nll_nats": self.clean_negative_log_likelihood,
            "clean_source_log_likelihood_nats": self.clean_source_log_likelihood,
            "source_error_l2": self.source_error,
            "target_error_l2": self.target_error,
            "distance_at_start_l2": self.distance_at_start,
        }
        return [
            {
                "split": self.split,
                **{name: column[pair] for name, column in images.items()},
                "attack": self.name,
                "threat": self.threat,
                "pair": pair,
                kind: self.budgets[column],
                "status": Status(self.status[pair, column]).name.lower(),
                **{name: values[pair, column] for name, values in lanes.items()},
                **{name: values[pair] for name, values in pairs.items()},
            }
            for pair in range(len(self.sources))
            for column in range(len(self.budgets))
        ]
