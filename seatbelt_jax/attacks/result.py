"""What a sweep of attacks found: arrays over [pair, penalty], every lane with how it ended."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from seatbelt_jax.attacks.lbfgsb import Status


@dataclasses.dataclass(frozen=True)
class AttackResult:
    """Attacks on pairs of images under a grid of penalties.

    Distances are L2 over the whole image in pixel units; log densities and divergences in nats. Codes
    z* and z^t follow the mean path of the adversarial input x* = x + d and of the target x^t.

    Attributes:
      penalties: lambda, nats per unit of distortion.
      sources, targets: x and x^t; beside them their reconstructions.
      adversarial, adversarial_reconstructions: x* and what the model makes of it.
      objective: Delta = divergence + lambda ||d||.
      divergence: the attacker's distance between the posteriors.
      distortion_norm: ||d||.
      negative_log_likelihood: -log p(x^t|z*).
      clean_negative_log_likelihood: -log p(x^t|z^t), what no attack on this model needs to beat.
      adversarial_error: ||recon(x*) - x^t||.
      target_error: ||recon(x^t) - x^t||.
      distance_left: ||recon(x*) - recon(x^t)||.
      distance_at_start: ||recon(x) - recon(x^t)||.
      status: a `Status` per lane.
      iterations, evaluations: what each lane took.
    """

    penalties: Float[np.ndarray, " penalty"]
    sources: Float[np.ndarray, "pair height width channels"]
    targets: Float[np.ndarray, "pair height width channels"]
    source_reconstructions: Float[np.ndarray, "pair height width channels"]
    target_reconstructions: Float[np.ndarray, "pair height width channels"]
    adversarial: Float[np.ndarray, "pair penalty height width channels"]
    adversarial_reconstructions: Float[np.ndarray, "pair penalty height width channels"]
    objective: Float[np.ndarray, "pair penalty"]
    divergence: Float[np.ndarray, "pair penalty"]
    distortion_norm: Float[np.ndarray, "pair penalty"]
    negative_log_likelihood: Float[np.ndarray, "pair penalty"]
    clean_negative_log_likelihood: Float[np.ndarray, " pair"]
    adversarial_error: Float[np.ndarray, "pair penalty"]
    target_error: Float[np.ndarray, " pair"]
    distance_left: Float[np.ndarray, "pair penalty"]
    distance_at_start: Float[np.ndarray, " pair"]
    status: Int[np.ndarray, "pair penalty"]
    iterations: Int[np.ndarray, "pair penalty"]
    evaluations: Int[np.ndarray, "pair penalty"]

    @property
    def excess_negative_log_likelihood(self) -> Float[np.ndarray, "pair penalty"]:
        """How much worse than the target's own code the attacked one explains the target, in nats."""
        return self.negative_log_likelihood - self.clean_negative_log_likelihood[:, None]

    def to_arrays(self) -> dict[str, np.ndarray]:
        """The fields by name, for an npz."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "AttackResult":
        """Undoes `to_arrays`; raises ValueError where a field is missing."""
        names = [field.name for field in dataclasses.fields(cls)]
        if missing := [name for name in names if name not in arrays]:
            raise ValueError(f"these are not attack results: {', '.join(missing)} missing")
        return cls(**{name: arrays[name] for name in names})

    def rows(self) -> list[dict[str, Any]]:
        """One row per attack, for a tidy CSV, units in the names."""
        return [
            {
                "pair": pair,
                "penalty_nats_per_pixel_unit": self.penalties[column],
                "objective_nats": self.objective[pair, column],
                "divergence_nats": self.divergence[pair, column],
                "distortion_l2": self.distortion_norm[pair, column],
                "target_nll_nats": self.negative_log_likelihood[pair, column],
                "clean_target_nll_nats": self.clean_negative_log_likelihood[pair],
                "adversarial_error_l2": self.adversarial_error[pair, column],
                "target_error_l2": self.target_error[pair],
                "distance_left_l2": self.distance_left[pair, column],
                "distance_at_start_l2": self.distance_at_start[pair],
                "status": Status(self.status[pair, column]).name.lower(),
                "iterations": self.iterations[pair, column],
                "evaluations": self.evaluations[pair, column],
            }
            for pair in range(len(self.sources))
            for column in range(len(self.penalties))
        ]
