"""Whether a sweep's attacks can be trusted: an attack that is too weak flatters the defence.

Each check is one that Athalye et al. 2018 and Carlini et al. 2019 ask of an evaluation, applied to every attack.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float

from seatbelt_jax.attacks.lbfgsb_state import Status
from seatbelt_jax.attacks.result import AttackResult
from seatbelt_jax.attacks.threat import least_gain, scores_of_all

# The rounding error of an objective in float32: a sum over many pixels or latents of terms of order one, which cancel
# where the attack has won.
_OBJECTIVE_ROUNDING = 1e-4

# What each flag says of an attack.
MEANING = {
    "iteration_limit": "the solver stopped at the iteration limit; more iterations may find a stronger attack",
    "line_search_failed": "the line search failed",
    "stopped_early": "the solver stopped where a further decrease was due, but no step of its line search found one",
    "non_finite": "the model returned a value that is not finite",
    "restart_improved": "a restart found an attack more than 5 % stronger than the first start",
    "zero_gradient": "the gradient is zero at the start",
    "random_objective": "a second evaluation of the objective gave another value",
    "beaten_by_random_search": "random search found a stronger attack",
    "beaten_by_another_budget": "the attack on the same pair under another budget is stronger",
}
# What a sweep that lacks the evidence for a flag leaves open, and the options that gather the evidence.
NOT_CHECKED = {
    "restart_improved": "whether a random restart would find an attack that is 5 % stronger (restarts=1)",
    "beaten_by_another_budget": "whether an attack under another budget would be stronger (two budgets or more)",
}


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """What is suspicious about each attack of a sweep.

    Attributes:
      flags: for each name in `MEANING`, which attacks it holds for.
      untested: names that could not be checked, because the sweep has no evidence for them.
    """

    flags: Mapping[str, Bool[np.ndarray, "pair budget"]]
    untested: tuple[str, ...]

    @property
    def suspicious(self) -> Bool[np.ndarray, "pair budget"]:
        """Attacks with any flag."""
        return np.any(list(self.flags.values()), axis=0)

    def names(self, pair: int, column: int) -> list[str]:
        """The flags of one attack."""
        return [name for name, attacks in self.flags.items() if attacks[pair, column]]

    def describe(self) -> list[str]:
        """One line for each flag that some attacks have, and one for each flag that was not checked."""
        raised = [
            f"{np.sum(attacks)} of {attacks.size} attacks ({np.mean(attacks):.0%}): {name}, {MEANING[name]}"
            for name, attacks in self.flags.items()
            if np.any(attacks)
        ]
        return raised + [f"Not checked: {NOT_CHECKED[name]}." for name in self.untested]


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
