"""What a classifier, any function of arrays, says of many images or codes, and whether labels fit them."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Array, Float, Int

# Images or codes -> their labels [batch], or scores [batch, classes] whose largest names the label.
Classify = Callable[[Float[np.ndarray, "batch *input"]], Array | np.ndarray]


def predict(
    classify: Classify, inputs: Float[np.ndarray, "image *input"], batch_size: int
) -> Int[np.ndarray, " image"]:
    """The classifier's labels.

    Raises:
      ValueError: where it returns another shape.
      TypeError: where its labels are not whole numbers.
    """
    predicted = []
    for start in range(0, len(inputs), batch_size):
        batch = inputs[start : start + batch_size]
        answer = np.asarray(classify(batch))
        if answer.ndim not in (1, 2) or len(answer) != len(batch):
            raise ValueError(
                f"classify was given {len(batch)} images and must return their labels [{len(batch)}] or scores "
                f"[{len(batch)}, classes], but returned shape {answer.shape}"
            )
        if answer.ndim == 1 and not np.issubdtype(answer.dtype, np.integer):
            raise TypeError(
                f"classify returned {answer.dtype} of shape {answer.shape}: labels must be whole numbers, and scores "
                "need an axis of classes"
            )
        predicted.append(answer if answer.ndim == 1 else answer.argmax(axis=1))
    return np.concatenate(predicted)


def true_labels(name: str, labels: np.ndarray, pairs: int) -> Int[np.ndarray, " pair"]:
    """The labels, one whole number from 0 for each pair.

    Raises:
      ValueError: for another number of them, or one below 0.
      TypeError: where they are not whole numbers.
    """
    labels = np.asarray(labels)
    if labels.shape != (pairs,):
        raise ValueError(f"{name} must hold one label for each of the {pairs} pairs, got shape {labels.shape}")
    if not np.issubdtype(labels.dtype, np.integer):
        raise TypeError(f"{name} must be whole numbers, got {labels.dtype}")
    if labels.min() < 0:
        raise ValueError(f"{name} must be 0 or above, got {labels.min()}")
    return labels
