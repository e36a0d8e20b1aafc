"""A model of the user's own: its run names the function that builds it, and holds its parameters.

The name is "module:function". To import a module runs its code, which the files of a run must not do by themselves. So
whoever opens such a run names the same function. Functions of this package are no exception: a few delete files.
"""

import dataclasses
import importlib
import json
import pathlib
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from seatbelt_jax import storage
from seatbelt_jax.errors import first_line
from seatbelt_jax.likelihood import Likelihood
from seatbelt_jax.vae import VAE

# What `config.model` holds of such a model.
SCHEMA = {"build": str, "arguments": {}, "latent_sizes": [int], "image_range": [(int, float)]}

_NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
# How far outputs of one model may be apart, relative to their largest: an accelerator may choose other algorithms.
_ROUNDING = 1e-3


@dataclasses.dataclass(frozen=True)
class OwnModel:
    """A model without the parameters of its run; it answers as `models.Model` where it is used, not trained.

    Attributes:
      vae: as the function builds it, with parameters of any values.
    """

    vae: VAE

    @property
    def likelihood(self) -> Likelihood:
        return self.vae.likelihood

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self.vae.image_shape

    @property
    def latent_sizes(self) -> tuple[int, ...]:
        return self.vae.latent_sizes

    def init(self, key: PRNGKeyArray) -> dict[str, Array]:
        """Parameters by name, of the right shapes and types."""
        return parameters(self.vae)

    def bind(self, variables: Mapping[str, Array]) -> VAE:
        """The VAE with these parameters."""
        leaves = [variables[name] for name in parameters(self.vae)]
        params = jax.tree.unflatten(jax.tree.structure(self.vae.params), leaves)
        return VAE.of(self.vae.functions, params, self.likelihood, self.latent_sizes, self.image_shape)


def parameters(vae: VAE) -> dict[str, Array]:
    """The parameters of a VAE by their names, in the order of its tree.

    Raises:
      ValueError: it has none apart from its functions, or two of one name.
      TypeError: one is no array of numbers.
    """
    leaves = jax.tree_util.tree_leaves_with_path({"params": vae.params})
    if not leaves:
        raise ValueError(
            "the VAE has no parameters apart from its functions, and functions cannot be stored: make it by "
            "VAE.from_functions(encode, decode, params=params, ...) with encode(params, image)"
        )
    named = {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}
    if len(named) < len(leaves):
        raise ValueError("two parameters have the same name: name them without dots")
    for name, leaf in named.items():
        if not isinstance(leaf, jax.Array | np.ndarray) or not jnp.issubdtype(leaf.dtype, jnp.number):
            raise TypeError(f"{name} must be an array of numbers, got {type(leaf).__name__}; leave it out of params")
    return named


def build(name: str, arguments: Mapping[str, Any]) -> VAE:
    """Calls the function of this name.

    Raises:
      ValueError: the name is none, or the function does not take the arguments.
      ImportError: there is no such function.
      TypeError: it returns no VAE.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"the function that builds a model must be named as module:function, got {name[:80]!r}")
    module, _, place = name.partition(":")
    try:
        function: Any = importlib.import_module(module)
        for part in place.split("."):
            function = getattr(function, part)
    except Exception as error:  # a module is a program: it can raise anything
        raise ImportError(
            f"{name}, which builds the model, cannot be imported ({first_line(error)}); install its module, or start "
            "where its file is"
        ) from error
    try:
        vae = function(**arguments)
    except Exception as error:
        raise ValueError(f"{name} does not build a model of {json.dumps(arguments)}: {first_line(error)}") from error
    if not isinstance(vae, VAE):
        raise TypeError(f"{name} must return a seatbelt_jax.vae.VAE, got {type(vae).__name__}")
    return vae


def open_model(
    path: pathlib.Path, section: Mapping[str, Any], image_shape: tuple[int, int, int], allow: Collection[str]
) -> OwnModel:
    """The model of a run whose `config.model` is `section`.

    Raises:
      ValueError: it was not allowed to call the function, or that builds another model than the run's.
      ImportError: as `build`.
    """
    name = section["build"]
    if name not in allow:
        raise ValueError(
            f"{path} is a model that {name!r} builds, and to import it runs its code; if you trust it, give "
            f"--allow={name}, in Python runs.open(path, allow=[{name!r}])"
        )
    vae = build(name, section["arguments"])
    recorded = {**{key: section[key] for key in ("latent_sizes", "image_range")}, "image_shape": list(image_shape)}
    check_same(name, described(vae), storage.plain(recorded))
    return OwnModel(vae)


def described(vae: VAE) -> dict[str, Any]:
    """What a run records of a VAE beside its parameters."""
    return storage.plain(
        {
            "latent_sizes": vae.latent_sizes,
            "image_shape": vae.image_shape,
            "image_range": [float(end) for end in vae.likelihood.image_range],
        }
    )


def name_of(function: Callable | str) -> str:
    """The name by which a function is found again.

    Raises:
      ValueError: another process would not find it.
    """
    if isinstance(function, str):
        return function
    module, place = getattr(function, "__module__", None), getattr(function, "__qualname__", "<object>")
    if module in (None, "__main__") or "<" in place:
        raise ValueError(
            f"build must be a function at the top of a module that other processes can import, got {place} of "
            f"{module}; move it into a file of its own and import it from there"
        )
    return f"{module}:{place}"


def check_same(name: str, built: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Raises ValueError naming the first entry in which what a function builds differs from the model."""
    for entry in {**expected, **built}:
        if built.get(entry) != expected.get(entry):
            raise ValueError(
                f"{name} builds another model: {entry} is {built.get(entry, 'absent')}, and in the model "
                f"{expected.get(entry, 'absent')}"
            )


def check_builds(name: str, arguments: Mapping[str, Any], vae: VAE) -> None:
    """Raises ValueError unless the function builds the model, but for the values of its parameters."""
    built = OwnModel(build(name, arguments))
    check_same(name, _shape(built.vae), _shape(vae))
    images = jax.random.uniform(
        jax.random.key(0), (1, *vae.image_shape), jnp.float32, *map(float, vae.likelihood.image_range)
    )
    outputs = [jax.tree.leaves(_outputs(model, images)) for model in (built.bind(parameters(vae)), vae)]
    for found, expected in zip(*outputs, strict=True):
        if not np.allclose(found, expected, rtol=0.0, atol=_ROUNDING * np.max(np.abs(expected)), equal_nan=True):
            raise ValueError(f"{name} builds another model: with the same parameters it encodes or decodes otherwise")


def _shape(vae: VAE) -> dict[str, Any]:
    shapes = {name: f"{leaf.dtype}{list(leaf.shape)}" for name, leaf in parameters(vae).items()}
    likelihood = [np.asarray(leaf).tolist() for leaf in jax.tree.leaves(vae.likelihood)]
    return {
        **described(vae),
        **shapes,
        "tree of parameters": jax.tree.structure(vae.params),
        "likelihood": f"{type(vae.likelihood).__name__}{likelihood}",
    }


def _outputs(vae: VAE, images: Array) -> Any:
    encoding = vae.encode(images, vae.mean_path(1))
    return encoding.posteriors, vae.likelihood.mean(vae.decode(encoding.latents)), vae.prior(encoding.latents)
