"""The VAE as a record of pure functions, the interface that attacks, bounds and metrics use."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.tree_util import GetAttrKey
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from seatbelt_jax import posterior, program
from seatbelt_jax.arithmetic import in_common_type
from seatbelt_jax.gaussian import DiagonalGaussian, standard_normal, standardised
from seatbelt_jax.likelihood import GaussianLikelihood, Likelihood
from seatbelt_jax.posterior import Posterior

# One array a layer, whose widths differ.
Latents = tuple[Float[Array, "batch _latent"], ...]


class Encoding(NamedTuple):
    """The inference network's output for a batch, layer 1 (nearest the data) first.

    posteriors[i] is q(z^{i+1} | z^i, x) evaluated at the sampled latents[i-1]. A JointVAE's two layers, the
    Concrete latents and the Gaussian ones, are independent given x.
    """

    posteriors: tuple[Posterior, ...]
    latents: Latents


class Inference(NamedTuple):
    """The inference network in two parts; the costly first part reads the image once for all layers.

    Attributes:
      features: images -> [batch, feature].
      posterior: (features, latents of the layers below) -> q(z^i|z^{i-1}, x), i = len(below) + 1.
    """

    features: Callable[[Float[Array, "batch *image"]], Float[Array, "batch feature"]]
    posterior: Callable[[Float[Array, "batch feature"], Latents], Posterior]


def sample_noise(key: PRNGKeyArray, latent_sizes: Sequence[int], batch: int) -> Latents:
    """Independent standard normals [batch, latent], one array per layer, float32 also under JAX_ENABLE_X64."""
    keys = jax.random.split(key, len(latent_sizes))
    return tuple(jax.random.normal(k, (batch, size), jnp.float32) for k, size in zip(keys, latent_sizes, strict=True))


class Functions(NamedTuple):
    """The functions of a VAE, each of its parameters first: hashable, and equal for equal architectures.

    Attributes:
      encode: (params, images, noise) -> Encoding; noise holds a standard normal [batch, latent] per layer and zeros
        follow the means.
      decode: (params, latents) -> the likelihood's parameters, [batch, height, width, channels].
      prior: (params, latents) -> (p(z^1|z^2), .., p(z^L)); entry i reads latents[i + 1] alone and the last is
        N(0, I). Concrete layers have a uniform one.
      features, posterior: `Inference`, where the network behind encode is known in parts.
    """

    encode: Callable[[PyTree, Float[Array, "batch *image"], Latents], Encoding]
    decode: Callable[[PyTree, Latents], Float[Array, "batch *image"]]
    prior: Callable[[PyTree, Latents], tuple[Posterior, ...]]
    features: Callable[[PyTree, Float[Array, "batch *image"]], Float[Array, "batch feature"]] | None = None
    posterior: Callable[[PyTree, Float[Array, "batch feature"], Latents], Posterior] | None = None


@jax.tree_util.register_pytree_with_keys_class
class VAE:
    """A (hierarchical) variational autoencoder with its parameters: a pytree that jitted functions take as an argument.

    Made of plain functions of arrays, without parameters of their own, it serves as well; drivers such as
    `attacks.sweep` then read what the functions close over when they begin (`traced`).

    Attributes:
      functions: the networks; static.
      params: what they read first; None where they are closures.
      likelihood: what the decoder's output means; a pytree.
      latent_sizes: the width of each layer, layer 1 first; static.
      image_shape: (height, width, channels); static.
    """

    functions: Functions
    params: PyTree
    likelihood: Likelihood
    latent_sizes: tuple[int, ...]
    image_shape: tuple[int, int, int]

    def __init__(
        self,
        encode: Callable[[Float[Array, "batch *image"], Latents], Encoding],
        decode: Callable[[Latents], Float[Array, "batch *image"]],
        prior: Callable[[Latents], tuple[Posterior, ...]],
        likelihood: Likelihood,
        latent_sizes: tuple[int, ...],
        image_shape: tuple[int, int, int],
        inference: Inference | None = None,
    ):
        """A VAE of functions without parameters, batched as in `Functions`."""
        parts = () if inference is None else inference
        functions = Functions(*map(_WithoutParams, (encode, decode, prior, *parts)))
        self._set(functions, None, likelihood, tuple(latent_sizes), image_shape)

    def _set(self, *values: Any) -> None:
        self.functions, self.params, self.likelihood, self.latent_sizes, self.image_shape = values

    @classmethod
    def of(
        cls,
        functions: Functions,
        params: PyTree,
        likelihood: Likelihood,
        latent_sizes: tuple[int, ...],
        image_shape: tuple[int, int, int],
    ) -> "VAE":
        """A VAE of functions that read parameters."""
        vae = object.__new__(cls)
        vae._set(functions, params, likelihood, latent_sizes, image_shape)
        return vae

    @classmethod
    def from_functions(
        cls,
        encode: Callable[..., DiagonalGaussian],
        decode: Callable[..., Float[Array, "*image"]],
        *,
        image_shape: tuple[int, int, int],
        params: PyTree = None,
        likelihood: Likelihood | None = None,
    ) -> "VAE":
        """A VAE of one layer and prior N(0, I) from the two functions of one example that `bounds` takes.

        Args:
          encode: one image of `image_shape` -> q(z|x), its mean and log_std [latent].
          decode: one latent [latent] -> the likelihood's parameters, of `image_shape`.
          image_shape: (height, width, channels).
          params: where given, a pytree of arrays that both functions take first: `encode(params, image)`. Models that
            share the two functions then share all that is compiled for them.
          likelihood: what decode's output means and the range of images; `GaussianLikelihood()` by default.

        Raises:
          TypeError: where encode returns no DiagonalGaussian, or decode no array.
          ValueError: for an image shape that is none, or outputs of other shapes.
        """
        if params is None:
            encode, decode = _WithoutParams(encode), _WithoutParams(decode)
        image_shape, latent_size = _check_functions(
            functools.partial(encode, params), functools.partial(decode, params), image_shape
        )
        functions = Functions(_EncodeEach(encode), _DecodeEach(decode), _standard_prior)
        likelihood = GaussianLikelihood() if likelihood is None else likelihood
        return cls.of(functions, params, likelihood, (latent_size,), image_shape)

    def tree_flatten_with_keys(self) -> tuple[tuple[Any, ...], Any]:
        children = ((GetAttrKey("params"), self.params), (GetAttrKey("likelihood"), self.likelihood))
        return children, (self.functions, self.latent_sizes, self.image_shape)

    @classmethod
    def tree_unflatten(cls, static: Any, children: Any) -> "VAE":
        functions, *shapes = static
        return cls.of(functions, *children, *shapes)

    def encode(self, images: Float[Array, "batch *image"], noise: Latents) -> Encoding:
        """q(z|x) of every layer along the path that the noise, a standard normal [batch, latent] per layer, makes."""
        return self.functions.encode(self.params, images, noise)

    def decode(self, latents: Latents) -> Float[Array, "batch *image"]:
        """The likelihood's parameters."""
        return self.functions.decode(self.params, latents)

    def prior(self, latents: Latents) -> tuple[Posterior, ...]:
        """(p(z^1|z^2), .., p(z^L)); entry i reads latents[i + 1] alone."""
        return self.functions.prior(self.params, latents)

    @property
    def inference(self) -> Inference | None:
        """The network behind encode in parts, where it has them."""
        features, posterior = self.functions.features, self.functions.posterior
        if features is None or posterior is None:
            return None
        return Inference(functools.partial(features, self.params), functools.partial(posterior, self.params))

    def traced(self) -> "VAE":
        """The VAE as a value: itself, or, of functions without parameters, one that holds what they close over now.

        Its code is compared step by step, so that what is compiled for one serves all of the same steps and shapes.
        """
        return _traced(self) if self.params is None else self

    def mean_path(self, batch: int) -> Latents:
        """Zero noise: every layer takes its posterior mean."""
        return tuple(jnp.zeros((batch, size), jnp.float32) for size in self.latent_sizes)

    def sample_noise(self, key: PRNGKeyArray, batch: int) -> Latents:
        """Independent standard normals for every layer."""
        return sample_noise(key, self.latent_sizes, batch)

    def posterior(self, images: Float[Array, "batch *image"], below: Latents) -> Posterior:
        """q(z^i|z^{i-1}, x) at given latents of the layers below, i = len(below) + 1.

        Where the inference network is not known in parts, the noise is chosen, layer by layer, with which `encode`
        samples the given latents.

        Raises:
          TypeError: where a layer below is Concrete: many noises give the same sample.
        """
        if self.inference is not None:
            return self.inference.posterior(self.inference.features(images), below)
        noise = list(self.mean_path(images.shape[0]))
        for layer, latent in enumerate(below):
            here = self.encode(images, tuple(noise)).posteriors[layer]
            if not isinstance(here, DiagonalGaussian):
                kind = type(here).__name__
                raise TypeError(f"layer {layer + 1} is {kind}: many noises give the same sample of it")
            latent, here = in_common_type(latent, here)
            noise[layer] = standardised(latent - here.mean, here.log_std)
        return self.encode(images, tuple(noise)).posteriors[len(below)]

    def reconstruct(
        self, images: Float[Array, "batch *image"], noise: Latents | None = None
    ) -> Float[Array, "batch *image"]:
        """The mean image decoded from the images' latents, along the mean path by default."""
        noise = self.mean_path(images.shape[0]) if noise is None else noise
        return self.likelihood.mean(self.decode(self.encode(images, noise).latents))

    def generate(self, noise: Latents) -> Float[Array, "batch *image"]:
        """The mean image of an ancestral sample z^L ~ N(0, I), z^i ~ p(z^i|z^{i+1})."""
        latents = [jnp.zeros_like(layer) for layer in noise]
        for layer in reversed(range(len(noise))):
            conditional = self.prior(tuple(latents))[layer]
            latents[layer] = posterior.sample(conditional, noise[layer])
        return self.likelihood.mean(self.decode(tuple(latents)))


@dataclasses.dataclass(frozen=True)
class _WithoutParams:
    """A closure as a function of parameters, which are None."""

    function: Callable

    def __call__(self, params: None, *arguments: Any) -> Any:
        return self.function(*arguments)


@dataclasses.dataclass(frozen=True)
class _EncodeEach:
    """One example's encoder over a batch."""

    function: Callable

    def __call__(self, params: PyTree, images: Float[Array, "batch *image"], noise: Latents) -> Encoding:
        q = jax.vmap(functools.partial(self.function, params))(images)
        return Encoding((q,), (posterior.sample(q, noise[0]),))


@dataclasses.dataclass(frozen=True)
class _DecodeEach:
    """One example's decoder over a batch."""

    function: Callable

    def __call__(self, params: PyTree, latents: Latents) -> Float[Array, "batch *image"]:
        return jax.vmap(functools.partial(self.function, params))(latents[0])


def _standard_prior(params: PyTree, latents: Latents) -> tuple[Posterior, ...]:
    return (standard_normal(latents[0]),)


@dataclasses.dataclass(frozen=True)
class _Traced:
    """A function traced for batches of one, over a batch of any size; params are the arrays of all such by name."""

    name: str
    code: program.Code

    def __call__(self, params: PyTree, *arguments: Any) -> Any:
        function = program.Program(self.code, params[self.name])

        def one(*example: Any) -> Any:
            return jax.tree.map(lambda leaf: leaf[0], function(*jax.tree.map(lambda leaf: leaf[None], example)))

        return jax.vmap(one)(*arguments)


@dataclasses.dataclass(frozen=True)
class _TracedPosterior:
    """The posteriors of all layers, by how many layers lie below."""

    layers: tuple[_Traced, ...]

    def __call__(self, params: PyTree, features: Float[Array, "batch feature"], below: Latents) -> Posterior:
        return self.layers[len(below)](params, features, below)


def _traced(vae: VAE) -> VAE:
    """The VAE of closures with the arrays that they close over as its parameters."""
    image = jax.ShapeDtypeStruct((1, *vae.image_shape), jnp.float32)
    latents = tuple(jax.ShapeDtypeStruct((1, size), jnp.float32) for size in vae.latent_sizes)
    params: dict[str, list[Array]] = {}

    def read(name: str, function: Callable, *examples: Any) -> _Traced:
        found = program.trace(function, *examples)
        params[name] = found.arrays
        return _Traced(name, found.code)

    functions = Functions(
        read("encode", vae.encode, image, latents),
        read("decode", vae.decode, latents),
        read("prior", vae.prior, latents),
    )
    if vae.inference is not None:
        features = read("features", vae.inference.features, image)
        feature = jax.eval_shape(vae.inference.features, image)
        layers = [
            read(f"posterior {layer}", vae.inference.posterior, feature, latents[:layer])
            for layer in range(len(latents))
        ]
        functions = functions._replace(features=features, posterior=_TracedPosterior(tuple(layers)))
    return VAE.of(functions, params, vae.likelihood, vae.latent_sizes, vae.image_shape)


def _check_functions(
    encode: Callable, decode: Callable, image_shape: Sequence[int]
) -> tuple[tuple[int, int, int], int]:
    """The image shape and the latent size; raises unless both functions are of one example of them."""
    listed = isinstance(image_shape, tuple | list) and len(image_shape) == 3
    if not listed or not all(isinstance(size, int) and size > 0 for size in image_shape):
        raise ValueError(
            f"image_shape must be (height, width, channels), three positive whole numbers; got {image_shape!r}"
        )
    height, width, channels = image_shape
    shape = (height, width, channels)
    q = jax.eval_shape(encode, jax.ShapeDtypeStruct(shape, jnp.float32))
    if not isinstance(q, DiagonalGaussian):
        raise TypeError(
            f"encode must return a seatbelt_jax.gaussian.DiagonalGaussian for one image, got {type(q).__name__}"
        )
    latent_shape = jnp.shape(q.mean)
    if len(latent_shape) != 1 or not latent_shape[0] or latent_shape != jnp.shape(q.log_std):
        raise ValueError(
            f"encode must map one image of shape {shape}, without a batch axis, to a mean and a log_std of the same "
            f"shape [latent]; got mean {latent_shape} and log_std {jnp.shape(q.log_std)}"
        )
    decoded = jax.eval_shape(decode, jax.ShapeDtypeStruct(latent_shape, jnp.float32))
    if not isinstance(decoded, jax.ShapeDtypeStruct):
        raise TypeError(f"decode must return one image as an array, got {type(decoded).__name__}")
    if decoded.shape != shape:
        raise ValueError(
            f"decode must map one latent of shape {latent_shape} to an image of shape {shape}, got shape "
            f"{decoded.shape}"
        )
    return shape, latent_shape[0]
