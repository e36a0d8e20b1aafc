"""Which images attack which."""

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
