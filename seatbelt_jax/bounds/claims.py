"""What is asked of a method of `certify`, and what it claims."""

import dataclasses
from collections.abc import Callable
from typing import Literal, NamedTuple

from jaxtyping import Array, Float, Int
from numpy import ndarray

from seatbelt_jax.bounds.ball import MovementBounds
from seatbelt_jax.bounds.checks import Norm
from seatbelt_jax.bounds.confidence import lower_confidence_bound
from seatbelt_jax.bounds.evidence import Evidence
from seatbelt_jax.results import Soundness


@dataclasses.dataclass(frozen=True)
class Question:
    """What is to be certified: the arguments of `certify` that a claim depends on.

    Attributes:
      num_samples: draws for each image.
      num_paths: draws that are bounded one by one.
      of_encoder: bounds of one layer's movement; None for a hierarchy.
    """

    method: str
    radius: float
    num_samples: int
    num_paths: int
    alpha: float
    risk: float
    norm: Norm
    of_encoder: MovementBounds | None

    @property
    def movement(self) -> MovementBounds:
        """Bounds of the encoder's movement; methods for one latent layer read them."""
        if self.of_encoder is None:
            raise ValueError(f"method {self.method!r} is for one latent layer")
        return self.of_encoder

    @property
    def given(self) -> tuple[str, ...]:
        """The assumption that constants which were given bring with them, where the method uses them."""
        constants = None if self.of_encoder is None else self.of_encoder.given
        if constants is None or self.method not in ("lipschitz", "hybrid", "best_sound"):
            return ()
        return (f"The Lipschitz constants that were given hold for every perturbation and latent: {constants}.",)

    def describe(self) -> str:
        """All of it in words, but for the model."""
        fields = [getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "of_encoder"]
        return f"{fields} {self.given}"


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
      mirrored: whether it needs the mirror images of the draws.
      pilot: whether it needs draws to choose by.
      draws: "samples", or "paths" where it needs none but those that are bounded one by one, or "both".
      any_depth: whether it is for hierarchies too, not for one latent layer alone.
      norms: of perturbations, for which it has a bound.
    """

    claim: Callable[[Evidence, Question], Claim]
    soundness: Soundness
    assumptions: tuple[str, ...]
    mirrored: bool = False
    pilot: bool = False
    draws: Literal["samples", "paths", "both"] = "samples"
    any_depth: bool = False
    norms: tuple[Norm, ...] = ("l2", "linf")


def hits_and_bound(
    evidence: Evidence, question: Question
) -> tuple[Int[ndarray, "batch"], Float[Array | ndarray, "batch"]]:
    """Draws within the radius of reconstructions, and the lower bound of their probability."""
    hits = evidence.hits(question.radius, question.num_samples)
    return hits, lower_confidence_bound(hits, question.num_samples, question.alpha)
