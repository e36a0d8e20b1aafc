"""Whether a sweep's attacks can be trusted: an attack that is too weak flatters the defence.

Each check is one that Athalye et al. 2018 and Carlini et al. 2019 ask of an evaluation, applied to every attack.
"""

import numpy as np
from jaxtyping import Bool, Float

from seatbelt_jax.attacks.threat import least_gain, scores_of_all
from seatbelt_jax.results import AttackResult, Diagnosis, Status

# The rounding error of an objective in float32: a sum over many pixels or latents of terms of order one, which cancel
# where the attack has won.
_OBJECTIVE_ROUNDING = 1e-4


def diagnose(result: AttackResult, *, by: float = 0.05) -> Diagnosis:
    """Flags the attacks of a sweep that may be weaker than they look.

    Args:
      result: from `sweep`, which gathers the evidence.
      by: the least improvement that counts, as a share of Delta, or of the gain over Delta at the source if that is
        less. An improvement below 1e-4 of Delta's unit, or below a thousandth of what the pair's attacks gain, never
        counts.

    Raises:
      ValueError: for a negative share, or a threat that is not one of AttackResult's.
    """
    if not by >= 0.0:
        raise ValueError(f"by must be a share >= 0, got {by}")
    objective = result.objective
    first, others = result.start_objectives[..., 0], result.start_objectives[..., 1:]
    best_other = np.fmin.reduce(others, axis=-1, initial=np.inf)
    of_all = scores_of_all(
        result.threat, result.budgets, result.distance, result.distortion_norm, result.distortion_max
    )
    flags = {
        "iteration_limit": np.isin(result.status, (Status.MAX_ITERATIONS, Status.MAX_EVALUATIONS)),
        "line_search_failed": result.status == Status.LINE_SEARCH_FAILED,
        "stopped_early": result.status == Status.STOPPED_EARLY,
        # Also where another start has saved the attack.
        "non_finite": (result.status == Status.NON_FINITE) | ~np.isfinite(objective) | ~np.isfinite(first),
        "restart_improved": _improves(best_other, first, result, by),
        "zero_gradient": np.repeat(~(result.gradient_norm > 0.0)[:, None], objective.shape[1], axis=1),
        "random_objective": ~np.isclose(
            result.repeated_objective, objective, rtol=1e-3, atol=_OBJECTIVE_ROUNDING, equal_nan=True
        ),
        "beaten_by_random_search": _improves(result.random_search_objective, objective, result, by),
        "beaten_by_another_budget": _improves(np.min(of_all, axis=2), objective, result, by),
    }
    evidence = {"restart_improved": others.size > 0, "beaten_by_another_budget": objective.shape[1] > 1}
    return Diagnosis(flags, tuple(name for name, gathered in evidence.items() if not gathered))


def _improves(
    value: Float[np.ndarray, "pair budget"],
    reference: Float[np.ndarray, "pair budget"],
    result: AttackResult,
    by: float,
) -> Bool[np.ndarray, "pair budget"]:
    """Where a finite value is lower than the reference by the `least_gain`, and by more than rounding."""
    at_source = np.where(np.isfinite(result.objective_at_source), result.objective_at_source, np.inf)[:, None]
    gain = least_gain(by, reference, result.objective_at_source, value)
    with np.errstate(invalid="ignore"):
        span = at_source - np.min(np.where(np.isfinite(result.objective), result.objective, np.inf), axis=1)[:, None]
        rounding = np.minimum(_OBJECTIVE_ROUNDING, np.where(span > 0.0, 1e-3 * span, _OBJECTIVE_ROUNDING))
    return np.isfinite(value) & ~(
        value >= reference - np.where(np.isfinite(reference), np.maximum(gain, rounding), 0.0)
    )
