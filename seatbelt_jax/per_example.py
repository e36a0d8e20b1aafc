"""Checks that a network treats each image of a batch separately, as all attacks and margins assume."""

import contextlib
import functools
import warnings
from collections.abc import Callable, Iterator, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from seatbelt_jax import program

# A batch of one and a batch of two round differently; networks in bfloat16 by about 1 %.
_RELATIVE, _ABSOLUTE = 0.02, 1e-3
_REMEDY = (
    "put the network into inference mode: in flax.linen use_running_average=True and deterministic=True, in flax.nnx "
    "model.eval(), in equinox eqx.nn.inference_mode(model); and take randomness from the noise argument, not from a "
    "key that is kept or split inside"
)

Outputs = Mapping[str, Float[Array, "_batch ..."]]


def check(
    function: Callable[[Float[Array, "batch *image"]], Outputs],
    image: Float[np.ndarray, "*image"],
    image_range: tuple[float, float] = (0.0, 1.0),
) -> dict[str, np.ndarray]:
    """Compares a network's outputs for an image in a batch of two with its outputs for the image alone.

    BatchNorm in training mode mixes the images of a batch, and dropout is random. An attack on such a network may find
    a distortion of 0, and a certificate an infinite margin.

    Args:
      function: images [batch, *image] -> named outputs, each with leading axis [batch].
      image: one image.
      image_range: of pixels; the other image of the batch is uniform noise in it.

    Returns:
      The outputs for the batch, [2, ...] each: the noise's first, then the image's.

    Raises:
      ValueError: where an output changes with the images beside it, or cannot be traced.
    """
    low, high = image_range
    # A seed that nobody picks: the image may be such noise too.
    noise = np.random.default_rng(7_151_926).uniform(low, high, np.shape(image))
    batch = jnp.stack([jnp.asarray(noise, jnp.result_type(image)), jnp.asarray(image)])

    with explained():
        if program.is_value(function):
            together, alone = _both(function, batch)
        else:
            together, alone = program.run(program.trace(functools.partial(_both_of, function), batch), batch)
    found = {name: np.asarray(value, np.float64) for name, value in together.items()}
    for name, value in alone.items():
        here, there = found[name][1], np.asarray(value, np.float64)[0]
        allowed = _ABSOLUTE + _RELATIVE * np.max(np.abs(found[name]), initial=0.0)
        apart = np.max(np.abs(here - there), initial=0.0)
        if apart > allowed:
            raise ValueError(
                f"the {name} of an image changes with the images beside it: by {apart:.3g} between a batch of two and "
                f"the image alone. Attacks and margins treat each image by itself; {_REMEDY}."
            )
    return found


def _both_of(function: Callable[[Array], Outputs], images: Array) -> tuple[Outputs, Outputs]:
    """The outputs for a batch, and for all but its first."""
    return function(images), function(images[1:])


_both = jax.jit(_both_of)


def warn_if_constant(outputs: Mapping[str, Float[np.ndarray, "two ..."]]) -> None:
    """Warns of outputs that are the same for different images, because no perturbation can change them.

    Args:
      outputs: by name, for two different images.
    """
    same = [name for name, (first, second) in outputs.items() if first.size and np.array_equal(first, second)]
    if same:
        warnings.warn(
            f"the {', '.join(same)} does not depend on the image: no attack can move it, and a margin is infinite. "
            "Either the layer has collapsed, or a normalisation in training mode removes the image; then "
            f"{_REMEDY}.",
            stacklevel=3,
        )


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Explains errors of a network that cannot be traced: it changes its own state, or lacks a random key.

    Raises:
      ValueError: replaces flax's errors, and JAX's error for a leaked tracer.
    """
    try:
        yield
    except Exception as error:
        of_flax = type(error).__module__.startswith("flax.")
        if not of_flax and not isinstance(error, jax.errors.UnexpectedTracerError):
            raise
        first_line = (str(error).strip().splitlines() or [""])[0]
        raise ValueError(
            f"the network is no pure function of its input ({type(error).__name__}: {first_line}); {_REMEDY}."
        ) from error
