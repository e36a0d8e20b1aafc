"""What a method of `certify` claims, and what it needs to."""

import dataclasses
from collections.abc import Callable, Set
from typing import Literal, NamedTuple

from jaxtyping import Array, Float, Int
from numpy import ndarray

from seatbelt_jax.bounds.checks import Norm
from seatbelt_jax.bounds.confidence import lower_confidence_bound
from seatbelt_jax.bounds.evidence import Evidence
from seatbelt_jax.bounds.question import Question
from seatbelt_jax.results import Soundness

# All draws; their mirror images; draws to choose by; draws that are bounded one by one.
Need = Literal["samples", "mirrored", "pilot", "paths"]
# Constants of a question that a method uses where they are given, and what it then assumes.
Taken = tuple[Literal["lipschitz", "level_norms"], str]


class Claim(NamedTuple):
    """What a method claims for each image of a batch. The fields are those of a `Certificate`."""

    radius: Float[Array | ndarray, "batch"]
    p_lower: Float[Array | ndarray, "batch"]
    hits: Int[ndarray, "batch"]
    norm_bound: Float[Array | ndarray, "batch"]


@dataclasses.dataclass(frozen=True)
class Method:
    """How a margin is claimed, with the words that go with it in a certificate.

    Attributes:
      claim: from the evidence of a batch.
      soundness, assumptions: as in a `Certificate`.
      needs: what the evidence must hold.
      models: for which it is: "one" latent layer, given as encode, "levels", or "any" model.
      norms: of perturbations, for which it has a bound.
      takes: constants that it uses where they are given.
    """

    claim: Callable[[Evidence, Question], Claim]
    soundness: Soundness
    assumptions: tuple[str, ...]
    needs: Set[Need] = frozenset({"samples"})
    models: Literal["one", "levels", "any"] = "one"
    norms: tuple[Norm, ...] = ("l2", "linf")
    takes: Taken | None = None

    def assumed(self, question: Question) -> tuple[str, ...]:
        """The assumptions of a certificate, those that given constants bring with them included."""
        constants = None if self.takes is None else getattr(question, self.takes[0])
        if self.takes is None or constants is None:
            return self.assumptions
        return (*self.assumptions, f"{self.takes[1]}: {constants}.")


def hits_and_bound(
    evidence: Evidence, question: Question
) -> tuple[Int[ndarray, "batch"], Float[Array | ndarray, "batch"]]:
    """Draws within the radius of reconstructions, and the lower bound of their probability."""
    hits = evidence.hits(question.radius, question.num_samples)
    return hits, lower_confidence_bound(hits, question.num_samples, question.alpha)
