"""What the room accepts: every check of a user's input, each with the reason it gives."""

import math
import pathlib
import sys
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float
from numpy import ndarray

from seatbelt_jax.results import Norm
from seatbelt_jax.sections import check_choice

_ROOM = str(pathlib.Path(__file__).parent)


def check_probability(name: str, value: float) -> None:
    """Raises unless 0 < value < 1."""
    _check_real(name, value)
    if not 0.0 < value < 1.0:
        raise ValueError(f"{name} must lie strictly between 0 and 1, got {value}")


def check_radius(radius: float) -> None:
    """Raises unless the radius of the ball of reconstructions is positive and finite."""
    _check_real("radius", radius)
    if not (radius > 0.0 and math.isfinite(radius)):
        raise ValueError(
            f"radius must be a positive, finite L2 distance in pixel units, got {radius}; "
            "minimal_robust_radius gives the least one that the unperturbed images can meet"
        )


def check_perturbation(eps: float) -> None:
    """Raises unless the size of perturbations is positive and finite."""
    _check_real("eps", eps)
    if not (eps > 0.0 and math.isfinite(eps)):
        raise ValueError(f"eps must be a positive, finite size of perturbations in pixel units, got {eps}")


def check_norm(norm: str) -> None:
    """Raises unless perturbations are measured in a norm for which there are bounds."""
    check_choice("norm", norm, get_args(Norm))


def check_counts(**counts: int) -> None:
    """Raises unless every value is an integer of at least 1."""
    for name, value in counts.items():
        if isinstance(value, bool) or not isinstance(value, int | np.integer):
            raise TypeError(f"{name} must be an integer, got {describe(value)}")
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")


def check_key(key: Any) -> None:
    """Raises unless key is one typed key."""
    if not (isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)):
        raise TypeError(
            f"key must be a typed key such as jax.random.key(0), got {describe(key)}; "
            "a key from jax.random.PRNGKey becomes one by jax.random.wrap_key_data"
        )
    if key.shape != ():
        raise ValueError(f"key must be a single key, got an array of keys of shape {key.shape}")


def check_images(images: Any, first: int = 0) -> Float[ndarray, "n *image"]:
    """The images as a host array; raises unless they are a finite, non-empty, floating batch.

    `first` is the index of the first image in the data set, to name images by.
    """
    array = np.asarray(images)
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise TypeError(
            f"images must be floating point, in the range the model was trained on, got dtype {array.dtype}"
        )
    if array.ndim < 2:
        raise ValueError(
            f"images must have a leading batch axis, [n, ...], got shape {array.shape}; for one image pass images[None]"
        )
    if array.size == 0:
        raise ValueError(f"images must hold at least one image, got shape {array.shape}")
    if jnp.finfo(array.dtype).bits < 32:
        # Half precision is exact in float32, in which a certificate can compute.
        array = array.astype(np.float32)
    finite = np.isfinite(array).reshape(len(array), -1).all(axis=1)
    if not finite.all():
        image = _first_false(finite)
        pixel = tuple(int(i) for i in np.argwhere(~np.isfinite(array[image]))[0])
        raise ValueError(
            f"image {first + image} holds NaN or infinite pixels: {array[image][pixel]} at pixel {pixel}; repair or "
            "leave out such images (np.isfinite finds them)"
        )
    return array.astype(jax.dtypes.canonicalize_dtype(array.dtype), copy=False)


def check_traced_image(image: Any) -> Float[Array, "*image"]:
    """One image that is being traced, float32 at least; raises unless it is floating point."""
    if not jnp.issubdtype(image.dtype, jnp.floating):
        raise TypeError(f"the image must be floating point, got dtype {image.dtype}")
    return image.astype(jnp.promote_types(image.dtype, jnp.float32))


def is_refusal(error: ValueError) -> bool:
    """Whether an error says that no bound is known of an operation in the user's code."""
    return str(error).startswith("no bounds for ")


def check_posteriors(
    mean: Float[ndarray, "batch latent"], std: Float[ndarray, "batch latent"], first: int, source: str = "encode"
) -> None:
    """Raises where a mean is not finite or a standard deviation not positive and finite.

    `first` is the index of the batch's first image in the data set, to name the image by, and `source` the
    function that gave them.
    """
    finite = np.isfinite(mean).all(axis=1)
    if not finite.all():
        raise ValueError(f"{source} gives image {first + _first_false(finite)} a mean that is NaN or infinite")
    proper = (np.isfinite(std) & (std > 0.0)).all(axis=1)
    if not proper.all():
        index = _first_false(proper)
        value = std[index][~(np.isfinite(std[index]) & (std[index] > 0.0))][0]
        raise ValueError(
            f"{source} gives image {first + index} a standard deviation of {value}; it must be "
            "positive and finite (a log_std below about -103 underflows to 0 in float32)"
        )


def check_jacobians(jacobian: Float[ndarray, "batch *matrix"], first: int, source: str = "encode's mean") -> None:
    """Raises where the Jacobian of `source`, or its Gram matrix, is not finite."""
    finite = np.isfinite(jacobian).reshape(len(jacobian), -1).all(axis=1)
    if not finite.all():
        raise ValueError(
            f"the Jacobian of {source} is NaN or infinite at image "
            f"{first + _first_false(finite)}; its derivative must exist there"
        )


def check_centres(finite: Bool[ndarray, "batch"], first: int) -> None:
    """Raises where the decoded mean, the centre of the ball, is not finite."""
    if not finite.all():
        raise ValueError(
            f"decode gives NaN or infinite pixels at the latent mean of image {first + _first_false(finite)}"
        )


def warn_of_constant_means(source: str, constant: Sequence[int], count: int) -> None:
    """Warns where means do not depend on the image: such a margin may be infinite and mean nothing.

    Args:
      source: what gives the mean.
      constant: indices of these images.
      count: of all images.
    """
    if constant:
        _warn(
            f"{source} does not depend on the image at {len(constant)} of {count} images (first: image {constant[0]}): "
            "a margin there may be infinite. If there is BatchNorm, it may be in training mode, where one image is its "
            "own batch: use running averages (.eval() in flax.nnx, use_running_average=True in flax.linen)"
        )


def warn_of_unmet_radius(radius: float, least: Mapping[int, float], count: int) -> None:
    """Warns where too few draws of unperturbed images lie within the radius: nothing is certified there.

    Args:
      radius: r.
      least: by the images' indices, the radius that enough draws of each would meet.
      count: of all images.
    """
    if least:
        image = min(least)
        _warn(
            f"radius = {radius:g} is not met by enough draws of {len(least)} of {count} unperturbed images, which are "
            f"not certified; it must be at least {least[image]:.4g} for image {image} and "
            f"{max(least.values()):.4g} for all of them (bounds.minimal_robust_radius, with a key of its own, chooses "
            "it)"
        )


def _warn(message: str) -> None:
    """Warns, and names the line outside of this room that called."""
    frame, level = sys._getframe(), 1
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_ROOM):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, stacklevel=level)


def _check_real(name: str, value: float) -> None:
    if isinstance(value, jax.Array) and value.ndim == 0 and jnp.issubdtype(value.dtype, jnp.floating):
        return
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError(f"{name} must be a real number, got {describe(value)}")


def check_precision(what: str, dtype: Any) -> None:
    if not jnp.issubdtype(dtype, jnp.floating) or jnp.finfo(dtype).bits < 32:
        raise TypeError(
            f"{what} must be float32 or float64, got {dtype}: a certificate needs norms and "
            "distances that half precision cannot give"
        )


def _first_false(flags: Bool[ndarray, "batch"]) -> int:
    return int(np.argmin(flags))


def describe(value: Any) -> str:
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"an array of shape {value.shape} and dtype {value.dtype}"
    return f"{value!r}" if isinstance(value, str | int | float) else type(value).__name__
