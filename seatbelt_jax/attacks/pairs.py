"""Which images attack which: pairs (source, target) of image numbers."""

import re

import numpy as np
from jaxtyping import Int


def random_pairs(number: int, num_images: int, *, seed: int) -> Int[np.ndarray, "pair 2"]:
    """Pairs (source, target) of distinct images, all drawn without repetition.

    Raises:
      ValueError: where there are not 2 * number images.
    """
    if not 1 <= number <= num_images // 2:
        raise ValueError(
            f"asked for {number} pairs of distinct images out of {num_images}; give 1 to {num_images // 2}"
        )
    return np.random.default_rng(seed).permutation(num_images)[: 2 * number].reshape(number, 2)


def index_pairs(text: str, num_images: int) -> Int[np.ndarray, "pair 2"]:
    """The pairs that a text names, "3-7,8-9": image 3 is to become image 7, and image 8 image 9.

    Raises:
      ValueError: where the text does not read like that, an image does not exist, or one would become itself.
    """
    pairs = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*([0-9]+)\s*-\s*([0-9]+)\s*", part)
        if match is None:
            raise ValueError(f"pairs are written SOURCE-TARGET with commas between them, as in 3-7,8-9; got {part!r}")
        source, target = int(match[1]), int(match[2])
        if max(source, target) >= num_images:
            raise ValueError(f"the pair {part.strip()} names no image; there are images 0 to {num_images - 1}")
        if source == target:
            raise ValueError(f"the pair {part.strip()} is one image twice; name two different ones")
        pairs.append((source, target))
    return np.array(pairs)


def label_pairs(
    labels: Int[np.ndarray, " image"],
    number: int,
    *,
    seed: int,
    source_label: int | None = None,
    target_label: int | None = None,
) -> Int[np.ndarray, "pair 2"]:
    """Pairs (source, target) of images with different labels, no image twice.

    Args:
      labels: the labels of all images, whole numbers.
      number: how many pairs.
      seed: the seed of the random choice.
      source_label, target_label: the label of all sources or targets; any if None.

    Raises:
      ValueError: where a label does not exist, both are the same, or there are fewer such pairs.
    """
    labels = _checked(labels)
    for name, label in (("source_label", source_label), ("target_label", target_label)):
        if label is not None and label not in labels:
            raise ValueError(f"{name} {label} is not among the labels {_listed(labels)}")
    if source_label is not None and source_label == target_label:
        raise ValueError(f"source_label and target_label are both {source_label}; pairs have different labels")
    order = np.random.default_rng(seed).permutation(len(labels))
    if source_label is None and target_label is None:
        return _any_labels(labels, order, number)
    if source_label is None:
        sources, targets = order[labels[order] != target_label], order[labels[order] == target_label]
    else:
        sources = order[labels[order] == source_label]
        wanted = labels[order] != source_label if target_label is None else labels[order] == target_label
        targets = order[wanted]
    _check_number(number, min(len(sources), len(targets)))
    return np.stack([sources[:number], targets[:number]], axis=1)


def all_label_pairs(labels: Int[np.ndarray, " image"], per_pair: int, *, seed: int) -> Int[np.ndarray, "pair 2"]:
    """`per_pair` pairs (source, target) for every ordered pair of labels (Sootla 2018, Sec. 3.3).

    From each label `per_pair` sources are drawn without repetition, and for each source one random target of every
    other label: 9 targets for digits, 90 * per_pair pairs in all. A target may serve several sources. Pairs are
    sorted by the source's label, then the source, then the target's label.

    Raises:
      ValueError: where some label has fewer than `per_pair` images, or there is one label only.
    """
    labels = _checked(labels)
    classes, counts = np.unique(labels, return_counts=True)
    if len(classes) < 2:
        raise ValueError(f"pairs of different labels need at least two labels; all images have label {classes[0]}")
    if not 1 <= per_pair <= counts.min():
        raise ValueError(
            f"asked for {per_pair} sources of every label; give 1 to {counts.min()}, as many as have label "
            f"{classes[counts.argmin()]}"
        )
    rng = np.random.default_rng(seed)
    members = {label: np.flatnonzero(labels == label) for label in classes}
    return np.array(
        [
            (source, rng.choice(members[target_label]))
            for source_label in classes
            for source in rng.choice(members[source_label], per_pair, replace=False)
            for target_label in classes
            if target_label != source_label
        ]
    )


def _any_labels(
    labels: Int[np.ndarray, " image"], order: Int[np.ndarray, " image"], number: int
) -> Int[np.ndarray, "pair 2"]:
    """A random matching of images in random `order`, repaired where both of a pair have one label."""
    counts = np.unique(labels, return_counts=True)[1]
    _check_number(number, min(len(labels) // 2, len(labels) - int(counts.max())))
    # No label may have more images among the chosen than there are pairs.
    earlier = dict.fromkeys(np.unique(labels), 0)
    chosen = []
    for image in order:
        if earlier[labels[image]] < number:
            earlier[labels[image]] += 1
            chosen.append(image)
    pairs = np.array(chosen[: 2 * number]).reshape(number, 2)
    for pair in pairs:  # rows are views
        label = labels[pair[0]]
        if labels[pair[1]] == label:
            # The label has no more images than there are pairs. As this pair holds two of them, some pair holds none:
            # once they exchange targets, each of the two holds one.
            other = np.flatnonzero(np.all(labels[pairs] != label, axis=1))[0]
            pair[1], pairs[other, 1] = pairs[other, 1], pair[1]
    return pairs


def _check_number(number: int, most: int) -> None:
    if not 1 <= number <= most:
        allowed = f"give 1 to {most}" if most else "there are none"
        raise ValueError(f"asked for {number} pairs of such labels, no image twice; {allowed}")


def _checked(labels: np.ndarray) -> Int[np.ndarray, " image"]:
    labels = np.asarray(labels)
    if labels.ndim != 1 or not labels.size or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels must be whole numbers [image], got {labels.dtype} of shape {labels.shape}")
    return labels


def _listed(labels: np.ndarray) -> str:
    return ", ".join(str(label) for label in np.unique(labels))
