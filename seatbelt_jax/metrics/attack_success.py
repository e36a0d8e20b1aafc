"""Attack success as a classifier sees it (Kos et al. 2017; Sootla 2018, Sec. 3.3)."""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Int

from seatbelt_jax.attacks import AttackResult
from seatbelt_jax.metrics.classification import Classify, predict, true_labels


@dataclasses.dataclass(frozen=True)
class AttackSuccess:
    """Which attacks changed what a classifier sees in the reconstruction.

    Attributes:
      ignore_target: the reconstruction of x* is not classified as the source's label.
      target: it is classified as the target's label; implies `ignore_target` where the pair counts.
      counted: pairs that count: source and target have different labels, and the clean reconstruction of the
        source is classified right, so that a wrong label is the attack's doing.
      source_labels, target_labels: the true ones.
    """

    ignore_target: Bool[np.ndarray, "pair budget"]
    target: Bool[np.ndarray, "pair budget"]
    counted: Bool[np.ndarray, " pair"]
    source_labels: Int[np.ndarray, " pair"]
    target_labels: Int[np.ndarray, " pair"]

    def rates(self) -> dict[str, Float[np.ndarray, " budget"]]:
        """AS_ignore-target and AS_target at each budget, NaN where no pair counts.

        "ignore_target" and "target" are means over the ordered pairs of labels that are present, each weighing
        the same (90 of them for digits), as in Sootla 2018, Table 4.1. "ignore_target_over_pairs" and
        "target_over_pairs" are plain means over the counted pairs of images. `label_pairs` says how many are left out.
        """
        matrices = self.matrix(1 + int(max(self.source_labels.max(), self.target_labels.max())))
        over_labels = {name: _mean(matrix, (1, 2)) for name, matrix in matrices.items()}
        chosen = {"ignore_target": self.ignore_target, "target": self.target}
        return over_labels | {f"{name}_over_pairs": _mean(won[self.counted], (0,)) for name, won in chosen.items()}

    def label_pairs(self) -> dict[str, int]:
        """How many ordered pairs of different labels there are, and how many of them `rates` leaves out.

        "label_pairs" is of all labels that are present, as sources or as targets. "label_pairs_left_out" are those
        no pair of images counts for: none was attacked, or no clean reconstruction of a source is classified right.
        """
        labels = np.union1d(self.source_labels, self.target_labels).size
        counted = np.stack([self.source_labels[self.counted], self.target_labels[self.counted]], axis=1)
        total = labels * (labels - 1)
        return {"label_pairs": total, "label_pairs_left_out": total - len(np.unique(counted, axis=0))}

    def matrix(self, num_classes: int) -> dict[str, Float[np.ndarray, "budget source_class target_class"]]:
        """The success rates "ignore_target" and "target" for every ordered pair of labels.

        NaN where no pair of images counts.

        Raises:
          ValueError: where a label is not below `num_classes`.
        """
        largest = max(self.source_labels.max(), self.target_labels.max())
        if largest >= num_classes:
            raise ValueError(f"there are labels up to {largest}; num_classes must be at least {largest + 1}")
        cells = (self.source_labels[self.counted], self.target_labels[self.counted])
        count = np.zeros((num_classes, num_classes))
        np.add.at(count, cells, 1.0)
        matrices = {}
        for name, won in (("ignore_target", self.ignore_target), ("target", self.target)):
            total = np.zeros((num_classes, num_classes, won.shape[1]))
            np.add.at(total, cells, won[self.counted])
            matrices[name] = np.moveaxis(total / np.where(count == 0.0, np.nan, count)[..., None], -1, 0)
        return matrices

    def marginals(self, num_classes: int) -> dict[str, Float[np.ndarray, "budget class"]]:
        """Means over the rows and columns of `matrix`: "ignore_target_by_source", "target_by_target" and so on.

        Cells weigh the same, and those without pairs are left out (Sootla 2018, Tables 4.2 and 4.3).
        """
        matrices = self.matrix(num_classes)
        return {
            f"{name}_by_{kept}": _mean(matrix, (averaged,))
            for kept, averaged in (("source", 2), ("target", 1))
            for name, matrix in matrices.items()
        }


def attack_success(
    result: AttackResult,
    classify: Classify,
    source_labels: Int[np.ndarray, " pair"],
    target_labels: Int[np.ndarray, " pair"],
    *,
    batch_size: int = 256,
) -> AttackSuccess:
    """Classifies the reconstructions of a sweep and says which attacks succeeded.

    AS_ignore-target: f_c(recon(x*)) != c(x); AS_target: f_c(recon(x*)) = c(x^t), with f_c the classifier and c the
    true label (Sootla 2018, Sec. 3.3).

    Args:
      result: of attacks that have targets.
      classify: images [batch, height, width, channels] in the model's range -> labels [batch], whole numbers, or
        scores [batch, classes]; called with at most `batch_size` images.
      source_labels, target_labels: true labels of the pairs, from 0.
      batch_size: images classified in one call.

    Raises:
      ValueError: for attacks without targets, labels that are not one whole number from 0 per pair, or a
        classifier that returns another shape.
      TypeError: for labels that are not whole numbers, the user's or the classifier's.
    """
    if not result.targeted:
        raise ValueError("these attacks have no targets, and attack success needs targets of another label")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    pairs, budgets = result.adversarial_reconstructions.shape[:2]
    source_labels = true_labels("source_labels", source_labels, pairs)
    target_labels = true_labels("target_labels", target_labels, pairs)
    clean = predict(classify, result.source_reconstructions, batch_size)
    images = result.adversarial_reconstructions.reshape(-1, *result.sources.shape[1:])
    attacked = predict(classify, images, batch_size).reshape(pairs, budgets)
    return AttackSuccess(
        ignore_target=attacked != source_labels[:, None],
        target=attacked == target_labels[:, None],
        counted=(clean == source_labels) & (source_labels != target_labels),
        source_labels=source_labels,
        target_labels=target_labels,
    )


def _mean(values: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """The mean of what is not NaN; NaN, and no warning, where there is nothing."""
    present = ~np.isnan(values)
    count = present.sum(axis=axes)
    return np.sum(values, axis=axes, where=present) / np.where(count == 0, np.nan, count)
