"""What a sweep of attacks says about a model."""

import numpy as np
from jaxtyping import Float, Int

from seatbelt_jax.attacks import AttackResult, Status


def distortion_to_reach(result: AttackResult, share: float) -> Float[np.ndarray, " pair"]:
    """The least ||d|| in the sweep that moves the reconstruction `share` of the way to the target's.

    Counted as ||recon(x*) - recon(x^t)|| <= (1 - share) ||recon(x) - recon(x^t)||; infinite where no
    penalty of the sweep got there. Unlike Delta it does not change when a model rescales its latents.

    Raises:
      ValueError: for a share outside (0, 1].
    """
    if not 0.0 < share <= 1.0:
        raise ValueError(f"share must lie in (0, 1], got {share}")
    reached = result.distance_left <= (1.0 - share) * result.distance_at_start[:, None]
    return np.min(np.where(reached, result.distortion_norm, np.inf), axis=1)


def shown_penalty(result: AttackResult) -> Int[np.ndarray, " pair"]:
    """The penalty whose attack is shown for each pair, as an index.

    The one with the smallest Delta above the pair's mean Delta (Willetts et al. 2019, Fig. 1); where
    Delta is the same for all, the first.
    """
    above = result.objective > result.objective.mean(axis=1, keepdims=True)
    candidates = np.where(above, result.objective, np.inf)
    return np.where(above.any(axis=1), np.argmin(candidates, axis=1), 0)


def summarise(result: AttackResult) -> dict[str, float]:
    """Medians over all attacks of a sweep, for a table; units in the names."""
    half, most = (distortion_to_reach(result, share) for share in (0.5, 0.9))
    unfinished = np.isin(result.status, (Status.MAX_ITERATIONS, Status.MAX_EVALUATIONS, Status.NON_FINITE))
    return {
        "attacks": float(result.objective.size),
        "median_objective_nats": float(np.median(result.objective)),
        "median_excess_target_nll_nats": float(np.median(result.excess_negative_log_likelihood)),
        "median_distortion_l2": float(np.median(result.distortion_norm)),
        "median_distortion_half_way_l2": float(np.median(half)),
        "median_distortion_nine_tenths_l2": float(np.median(most)),
        "share_reaching_nine_tenths": float(np.mean(np.isfinite(most))),
        "share_unfinished": float(np.mean(unfinished)),
    }
