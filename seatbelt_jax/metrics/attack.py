"""What a sweep of attacks says about a model."""

import numpy as np
from jaxtyping import Bool, Float, Int

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


def cut_short(result: AttackResult) -> Bool[np.ndarray, "pair penalty"]:
    """Which attacks ended before the solver was satisfied: a longer search may find more."""
    satisfied = (Status.CONVERGED, Status.STALLED)
    return ~np.isin(result.status, satisfied)


def beaten_by_another_penalty(result: AttackResult, *, by: float = 0.1) -> Bool[np.ndarray, "pair penalty"]:
    """Which attacks the pair's own attack at another penalty outdoes under this one's Delta.

    A distortion found at lambda' scores divergence' + lambda ||d'|| at lambda. Where that is lower by more
    than the share `by`, the solver missed it: proof of a weak attack that costs no evaluation.
    """
    # [pair, penalty of the score, penalty of the distortion]
    scores = result.divergence[:, None, :] + result.penalties[:, None] * result.distortion_norm[:, None, :]
    return scores.min(axis=2) < (1.0 - by) * result.objective


def summarise(result: AttackResult) -> dict[str, float]:
    """Medians over all attacks of a sweep, for a table; units in the names."""
    half, most = (distortion_to_reach(result, share) for share in (0.5, 0.9))
    return {
        "attacks": float(result.objective.size),
        "median_objective_nats": float(np.median(result.objective)),
        "median_excess_target_nll_nats": float(np.median(result.excess_negative_log_likelihood)),
        "median_distortion_l2": float(np.median(result.distortion_norm)),
        "median_distortion_half_way_l2": float(np.median(half)),
        "median_distortion_nine_tenths_l2": float(np.median(most)),
        "share_reaching_nine_tenths": float(np.mean(np.isfinite(most))),
        "share_cut_short": float(np.mean(cut_short(result))),
        "share_beaten": float(np.mean(beaten_by_another_penalty(result))),
    }
