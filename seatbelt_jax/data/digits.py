"""scikit-learn's digits: 1,797 real handwritten digits of 8 x 8 pixels, inside that package, no download."""

import numpy as np

from seatbelt_jax.data.dataset import Splits
from seatbelt_jax.data.fitting import Fitting
from seatbelt_jax.data.held_out import hold_out
from seatbelt_jax.data.image_arrays import as_levels, dataset

# Each pixel counts the dark ones among 16.
_BRIGHTEST = 16


def load(fitting: Fitting, held_out: float) -> Splits:
    """The digits, white on black, with their classes.

    They are the test part of Optical Recognition of Handwritten Digits (Alpaydin and Kaynak 1998).

    Raises ImportError where scikit-learn is not installed; says how to.
    """
    try:
        # It takes a second, which only those who use it should pay.
        from sklearn.datasets import load_digits
    except ModuleNotFoundError as error:
        raise ImportError(
            f"the data set digits comes with scikit-learn, of which {error.name} is not installed; "
            "get it with: pip install 'seatbelt-jax[digits]'"
        ) from error
    images, classes = load_digits().images, load_digits().target
    pixels = np.rint(images * (255.0 / _BRIGHTEST)).astype(np.uint8)[..., None]
    labels = as_levels(classes, len(pixels), "digits")
    return hold_out(dataset("digits", pixels, fitting, labels=labels), held_out)
