"""Signs that attacks are weaker than they look."""

import dataclasses
from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool

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

    @property
    def shares(self) -> dict[str, float | None]:
        """The share of attacks that have each flag; None where it could not be checked."""
        return {
            name: None if name in self.untested else float(np.mean(attacks)) for name, attacks in self.flags.items()
        }

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
