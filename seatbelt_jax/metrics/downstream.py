"""The accuracy of a classifier of reconstructions or codes when the VAE is attacked (Willetts et al. 2021, Table 1)."""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Int

from seatbelt_jax.metrics.classification import Classify, predict, true_labels


@dataclasses.dataclass(frozen=True)
class DownstreamAccuracy:
    """What a classifier made of the clean and of the attacked inputs, pair by pair.

    Attributes:
      clean: the clean input is classified as its true label.
      attacked: the attacked input is still classified as the source's true label.
      targeted: the attacked input is classified as the target's label.
    """

    clean: Bool[np.ndarray, " pair"]
    attacked: Bool[np.ndarray, " pair"]
    targeted: Bool[np.ndarray, " pair"]

    def rates(self) -> dict[str, float]:
        """Shares of all pairs: "accuracy_clean", "accuracy_attacked", "targeted_success"; and "accuracy_change".

        The last is the attacked accuracy minus the clean one, the number in parentheses in Table 1. It is negative
        where attacks harm.
        """
        clean, attacked = float(np.mean(self.clean)), float(np.mean(self.attacked))
        return {
            "accuracy_clean": clean,
            "accuracy_attacked": attacked,
            "accuracy_change": attacked - clean,
            "targeted_success": float(np.mean(self.targeted)),
        }


def downstream_accuracy(
    classify: Classify,
    clean: Float[np.ndarray, "pair *input"],
    attacked: Float[np.ndarray, "pair *input"],
    source_labels: Int[np.ndarray, " pair"],
    target_labels: Int[np.ndarray, " pair"],
    *,
    batch_size: int = 256,
) -> DownstreamAccuracy:
    """Classifies what a VAE makes of images before and after an attack.

    In Table 1 classifiers are trained on the VAE's reconstructions or on its codes. The adversary picks a target of
    another label and attacks the code with lambda = 1. Every pair counts here. `attack_success` counts only pairs whose
    clean input is classified right.

    Args:
      classify: inputs -> labels [batch], whole numbers, or scores [batch, classes]; called with at most `batch_size`.
      clean: of the sources, reconstructions or codes.
      attacked: of the adversarial inputs x + d, of the same pairs.
      source_labels: true labels of the sources, from 0.
      target_labels: those that the attacker aims at.
      batch_size: inputs classified in one call.

    Raises:
      ValueError: for inputs of different shapes, no pairs, a target of its source's label, labels that are not one
        number from 0 for each pair, or a classifier that returns another shape.
      TypeError: for labels that are not whole numbers, the user's or the classifier's.
    """
    clean, attacked = np.asarray(clean), np.asarray(attacked)
    if clean.shape != attacked.shape or clean.ndim < 2 or not len(clean):
        raise ValueError(
            "clean and attacked must hold the same pairs, at least one, of the same shape [pair, ...]; got "
            f"{clean.shape} and {attacked.shape}"
        )
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    source_labels = true_labels("source_labels", source_labels, len(clean))
    target_labels = true_labels("target_labels", target_labels, len(clean))
    if same := int(np.sum(source_labels == target_labels)):
        raise ValueError(f"{same} of {len(clean)} pairs have a target of the source's own label; leave them out")
    found = predict(classify, attacked, batch_size)
    return DownstreamAccuracy(
        clean=predict(classify, clean, batch_size) == source_labels,
        attacked=found == source_labels,
        targeted=found == target_labels,
    )
