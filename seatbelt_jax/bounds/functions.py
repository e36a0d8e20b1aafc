"""The functions that certificates are about: what they map, and the checks that they do."""

import functools
import hashlib
import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core
from jaxtyping import Array, Float

from seatbelt_jax.bounds.checks import check_precision, describe
from seatbelt_jax.gaussian import DiagonalGaussian

Encode = Callable[[Float[Array, "*image"]], DiagonalGaussian]
Decode = Callable[[Float[Array, "latent"]], Float[Array, "*image"]]
# In a hierarchy: the latents of the layers below the one in question, or of all layers, layer 1 first.
Latents = tuple[Float[Array, "latent"], ...]
Features = Callable[[Float[Array, "*image"]], Float[Array, "feature"]]
Level = Callable[[Float[Array, "..."], Latents], DiagonalGaussian]
DecodePath = Callable[[Latents], Float[Array, "*image"]]


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


def check_model(encode: Encode, decode: Decode, image: jax.ShapeDtypeStruct) -> str:
    """What encode and decode are (see `check_deterministic`).

    Raises unless encode maps an image to one layer's posterior, decode a latent to an image, both the same each time.
    """
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
    levels: Sequence[Level], decode: DecodePath, features: Features | None, image: jax.ShapeDtypeStruct
) -> str:
    """What the functions are (see `check_deterministic`).

    Raises unless levels give the layers in turn, and decode an image from all of them.
    """
    read, path = check_levels(levels, features, image)
    shapes = ", ".join(str(latent.shape) for latent in path)
    decoded = traced("decode", lambda: jax.eval_shape(decode, path), path)
    _check_decoded(decoded, f"a tuple of latents of shapes {shapes}", image)
    prints = [] if features is None else [check_deterministic(features=(features, image))]
    for index, level in enumerate(levels):
        below = path[:index]
        given = (lambda given, level=level: level(*given), (read, below))
        prints.append(check_deterministic(**{f"levels[{index}]": given}))
    prints.append(check_deterministic(decode=(decode, path)))
    return " ".join(prints)


def check_levels(
    levels: Sequence[Level], features: Features | None, image: jax.ShapeDtypeStruct
) -> tuple[jax.ShapeDtypeStruct, tuple[jax.ShapeDtypeStruct, ...]]:
    """Shape and type of what levels read, and of every layer's latents; raises unless levels give them in turn."""
    read = image if features is None else _check_features(features, image)
    if not (isinstance(levels, Sequence) and levels and all(callable(level) for level in levels)):
        raise TypeError(
            "levels must be a non-empty list or tuple of functions (image, latents below) -> DiagonalGaussian, "
            f"layer 1 first, got {describe(levels)}"
        )
    path: tuple[Any, ...] = ()
    for index, level in enumerate(levels):
        name = f"levels[{index}]"
        layer = traced(name, functools.partial(jax.eval_shape, level, read, path), (read, path))
        path = (*path, _check_layer(name, layer, image).mean)
    return read, path


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
        raise TypeError(f"features must be a function from one image to one array [feature], got {describe(features)}")
    output = traced("features", lambda: jax.eval_shape(features, image), image)
    if not isinstance(output, jax.ShapeDtypeStruct) or len(output.shape) != 1:
        raise TypeError(f"features must map one image to one array [feature], got {describe(output)}")
    check_precision("the array that features returns", output.dtype)
    return output


def _check_layer(source: str, posterior: Any, image: jax.ShapeDtypeStruct) -> DiagonalGaussian:
    if not isinstance(posterior, DiagonalGaussian):
        raise TypeError(
            f"{source} must return a seatbelt_jax.gaussian.DiagonalGaussian for one image, got "
            f"{describe(posterior)}; a hierarchy (more than one latent layer) is for hierarchical_margin"
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
        check_precision(f"the {name} that {source} returns", array.dtype)
    return posterior


def _check_decoded(output: Any, given: str, image: jax.ShapeDtypeStruct) -> None:
    if not isinstance(output, jax.ShapeDtypeStruct):
        raise TypeError(f"decode must return one image as an array, got {describe(output)}")
    if output.shape != image.shape:
        raise ValueError(f"decode must map {given} to an image of shape {image.shape}, got shape {output.shape}")
    check_precision("the image that decode returns", output.dtype)
