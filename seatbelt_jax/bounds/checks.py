"""What the room accepts: every check of a user's input, each with the reason it gives."""

import functools
import hashlib
import math
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core
from jaxtyping import Array, Bool, Float
from numpy import ndarray

from seatbelt_jax.gaussian import DiagonalGaussian
from seatbelt_jax.results import Norm
from seatbelt_jax.sections import check_choice

Encode = Callable[[Float[Array, "*image"]], DiagonalGaussian]
Decode = Callable[[Float[Array, "latent"]], Float[Array, "*image"]]
# In a hierarchy: the latents of the layers below the one in question, or of all layers, layer 1 first.
Latents = tuple[Float[Array, "latent"], ...]
Features = Callable[[Float[Array, "*image"]], Float[Array, "feature"]]
Level = Callable[[Float[Array, "..."], Latents], DiagonalGaussian]
DecodePath = Callable[[Latents], Float[Array, "*image"]]


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
            raise TypeError(f"{name} must be an integer, got {_describe(value)}")
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")


def check_key(key: Any) -> None:
    """Raises unless key is one typed key."""
    if not (isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)):
        raise TypeError(
            f"key must be a typed key such as jax.random.key(0), got {_describe(key)}; "
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


def check_encode(encode: Encode, image: jax.ShapeDtypeStruct) -> DiagonalGaussian:
    """The abstract posterior of one image (shapes and dtypes); raises unless it is one layer's."""
    return _check_layer("encode", traced("encode", lambda: jax.eval_shape(encode, image), image), image)


def traced(name: str, trace: Callable[[], Any], given: Any) -> Any:
    """What `trace` returns; raises with the likely reason where the user's function cannot be traced."""
    try:
        return trace()
    except jax.errors.UnexpectedTracerError as error:
        raise ValueError(
            f"{name} is not deterministic: it keeps a value of an earlier call, such as a key that it splits and "
            "stores; take dropout, sampling and stateful random generators out of it"
        ) from error
    except Exception as error:
        if "trace level" in str(error) or type(error).__name__ == "TraceContextError":
            raise ValueError(
                f"{name} changes the state of its module while it is traced, as dropout and BatchNorm of flax.nnx do "
                "in training mode: call .eval() on the module first"
            ) from error
        reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        if isinstance(given, tuple):
            shapes = ", ".join(str(array.shape) for array in jax.tree.leaves(given))
            arguments = "(image or features, latents below)" if name.startswith("levels") else "(latents of all layers)"
            raise ValueError(
                f"{name} fails on one example with arrays of shapes {shapes}: {reason}; it is called with {arguments}, "
                "latents as a tuple, layer 1 first, and no array has a batch axis"
            ) from error
        shape = f"one example of shape {given.shape}" if hasattr(given, "shape") else "one example"
        raise ValueError(
            f"{name} fails on {shape}: {reason}; "
            "images are given as [n, ...] (one image as images[None]), and functions take single examples without a "
            "batch axis; for an encoder of batches pass "
            "lambda x: jax.tree.map(lambda a: a[0], encode(x[None]))"
        ) from error


def check_model(encode: Encode, decode: Decode, images: Float[ndarray, "n *image"]) -> str:
    """What encode and decode are (see `check_deterministic`).

    Raises unless encode maps an image to one layer's posterior, decode a latent to an image, both the same each time.
    """
    image = jax.ShapeDtypeStruct(images.shape[1:], images.dtype)
    latent = check_encode(encode, image).mean
    decoded = traced("decode", lambda: jax.eval_shape(decode, latent), latent)
    _check_decoded(decoded, f"one latent of shape {latent.shape}", image)
    return check_deterministic(encode=(encode, image), decode=(decode, latent))


def check_deterministic(**functions: tuple[Callable, Any]) -> str:
    """Raises where a function, traced anew, is another program: it draws noise that no certificate follows.

    Args:
      functions: by their names for messages, each with the argument (shapes and types) that it is traced with.

    Returns:
      What the functions are, operations and parameters, in a few letters: alike for two that do the same.
    """
    digest = hashlib.sha256()
    for name, (function, argument) in functions.items():
        once, again = (traced(name, functools.partial(_program, function, argument), argument) for _ in range(2))
        prints = [traced(name, functools.partial(_fingerprint, program), argument) for program in (once, again)]
        if prints[0] != prints[1]:
            raise ValueError(
                f"{name} is not deterministic: it gives another function each time it is traced; take dropout, "
                "sampling and stateful random generators out of it"
            )
        if called := re.search(r"\b(pure|io)_callback", str(once.jaxpr)):
            raise ValueError(
                f"{name} calls back to Python ({called[0]}): what happens there cannot be certified; write it in JAX"
            )
        digest.update(prints[0])
    return digest.hexdigest()


def _program(function: Callable, argument: Any) -> Any:
    # Through a new function each time: make_jaxpr keeps what it has traced.
    return jax.make_jaxpr(lambda value: function(value))(argument)


def check_hierarchy(
    levels: Sequence[Level],
    decode: DecodePath,
    images: Float[ndarray, "n *image"],
    features: Features | None,
) -> tuple[tuple[int, ...], str]:
    """The size of every layer, and what the functions are (see `check_deterministic`).

    Raises unless levels give the layers in turn, and decode an image from all of them.
    """
    image = jax.ShapeDtypeStruct(images.shape[1:], images.dtype)
    read = image if features is None else _check_features(features, image)
    path = check_levels(levels, image, read)
    shapes = ", ".join(str(latent.shape) for latent in path)
    decoded = traced("decode", lambda: jax.eval_shape(decode, path), path)
    _check_decoded(decoded, f"a tuple of latents of shapes {shapes}", image)
    prints = [] if features is None else [check_deterministic(features=(features, image))]
    for index, level in enumerate(levels):
        below = path[:index]
        given = (lambda given, level=level: level(*given), (read, below))
        prints.append(check_deterministic(**{f"levels[{index}]": given}))
    prints.append(check_deterministic(decode=(decode, path)))
    return tuple(latent.size for latent in path), " ".join(prints)


def check_levels(
    levels: Sequence[Level], image: jax.ShapeDtypeStruct, read: jax.ShapeDtypeStruct
) -> tuple[jax.ShapeDtypeStruct, ...]:
    """Shape and type of every layer's latents; raises unless levels give them in turn from what they read."""
    if not (isinstance(levels, Sequence) and levels and all(callable(level) for level in levels)):
        raise TypeError(
            "levels must be a non-empty list or tuple of functions (image, latents below) -> DiagonalGaussian, "
            f"layer 1 first, got {_describe(levels)}"
        )
    path: tuple[Any, ...] = ()
    for index, level in enumerate(levels):
        name = f"levels[{index}]"
        layer = traced(name, functools.partial(jax.eval_shape, level, read, path), (read, path))
        path = (*path, _check_layer(name, layer, image).mean)
    return path


def _fingerprint(closed: Any) -> bytes:
    """A digest of a program's text and of all its constants."""
    # Rules of derivation are printed with their addresses.
    digest = hashlib.sha256(re.sub(r"0x[0-9a-f]+", "", str(closed.jaxpr)).encode())
    stack = [closed]
    while stack:
        program = stack.pop()
        if isinstance(program, core.ClosedJaxpr):
            for constant in program.consts:
                digest.update(_bytes(constant))
            program = program.jaxpr
        if isinstance(program, core.Jaxpr):
            for equation in program.eqns:
                atom: Any
                for atom in equation.invars:
                    if isinstance(atom, core.Literal):
                        digest.update(_bytes(atom.val))
                stack += equation.params.values()
        elif isinstance(program, tuple | list):
            stack += program
    return digest.digest()


def _bytes(constant: Any) -> bytes:
    if isinstance(constant, jax.core.Tracer):
        # Its numbers are not known: parameters that are being differentiated, say. Any operation tells such an array
        # from one that an earlier call left behind, and raises for the latter.
        return str(jnp.ravel(constant).aval).encode()
    if jnp.issubdtype(jnp.result_type(constant), jax.dtypes.prng_key):
        constant = jax.random.key_data(constant)
    return np.ascontiguousarray(constant).tobytes()


def _check_features(features: Features, image: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    if not callable(features):
        raise TypeError(f"features must be a function from one image to one array [feature], got {_describe(features)}")
    output = traced("features", lambda: jax.eval_shape(features, image), image)
    if not isinstance(output, jax.ShapeDtypeStruct) or len(output.shape) != 1:
        raise TypeError(f"features must map one image to one array [feature], got {_describe(output)}")
    _check_precision("the array that features returns", output.dtype)
    return output


def _check_layer(source: str, posterior: Any, image: jax.ShapeDtypeStruct) -> DiagonalGaussian:
    if not isinstance(posterior, DiagonalGaussian):
        raise TypeError(
            f"{source} must return a seatbelt_jax.gaussian.DiagonalGaussian for one image, got "
            f"{_describe(posterior)}; a hierarchy (more than one latent layer) is for hierarchical_margin"
        )
    mean, log_std = posterior.mean, posterior.log_std
    if len(mean.shape) != 1 or mean.shape[0] == 0 or mean.shape != log_std.shape:
        raise ValueError(
            f"{source} must map one image of shape {image.shape} to mean and log_std of the same "
            f"shape [latent], got mean {mean.shape} and log_std {log_std.shape}; it takes single "
            "examples, without a batch axis; for an encoder of batches pass "
            "lambda x: jax.tree.map(lambda a: a[0], encode(x[None]))"
        )
    for name, array in (("mean", mean), ("log_std", log_std)):
        _check_precision(f"the {name} that {source} returns", array.dtype)
    return posterior


def _check_decoded(output: Any, given: str, image: jax.ShapeDtypeStruct) -> None:
    if not isinstance(output, jax.ShapeDtypeStruct):
        raise TypeError(f"decode must return one image as an array, got {_describe(output)}")
    if output.shape != image.shape:
        raise ValueError(f"decode must map {given} to an image of shape {image.shape}, got shape {output.shape}")
    _check_precision("the image that decode returns", output.dtype)


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


def warn_of_constant_means(source: str, constant: Sequence[int], count: int, stacklevel: int) -> None:
    """Warns where means do not depend on the image: such a margin may be infinite and mean nothing.

    Args:
      source: what gives the mean.
      constant: indices of these images.
      count: of all images.
      stacklevel: of the warning, so that it names the caller's line.
    """
    if constant:
        warnings.warn(
            f"{source} does not depend on the image at {len(constant)} of {count} images (first: image {constant[0]}): "
            "a margin there may be infinite. If there is BatchNorm, it may be in training mode, where one image is its "
            "own batch: use running averages (.eval() in flax.nnx, use_running_average=True in flax.linen)",
            stacklevel=stacklevel + 1,
        )


def warn_of_unmet_radius(radius: float, least: Mapping[int, float], count: int, stacklevel: int) -> None:
    """Warns where too few draws of unperturbed images lie within the radius: nothing is certified there.

    Args:
      radius: r.
      least: by the images' indices, the radius that enough draws of each would meet.
      count: of all images.
      stacklevel: of the warning, so that it names the caller's line.
    """
    if least:
        image = min(least)
        warnings.warn(
            f"radius = {radius:g} is not met by enough draws of {len(least)} of {count} unperturbed images, which are "
            f"not certified; it must be at least {least[image]:.4g} for image {image} and "
            f"{max(least.values()):.4g} for all of them (bounds.minimal_robust_radius, with a key of its own, chooses "
            "it)",
            stacklevel=stacklevel + 1,
        )


def _check_real(name: str, value: float) -> None:
    if isinstance(value, jax.Array) and value.ndim == 0 and jnp.issubdtype(value.dtype, jnp.floating):
        return
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError(f"{name} must be a real number, got {_describe(value)}")


def _check_precision(what: str, dtype: Any) -> None:
    if not jnp.issubdtype(dtype, jnp.floating) or jnp.finfo(dtype).bits < 32:
        raise TypeError(
            f"{what} must be float32 or float64, got {dtype}: a certificate needs norms and "
            "distances that half precision cannot give"
        )


def _first_false(flags: Bool[ndarray, "batch"]) -> int:
    return int(np.argmin(flags))


def _describe(value: Any) -> str:
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"an array of shape {value.shape} and dtype {value.dtype}"
    return f"{value!r}" if isinstance(value, str | int | float) else type(value).__name__
