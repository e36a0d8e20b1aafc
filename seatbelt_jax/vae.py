"""The VAE as a record of pure functions: all that attacks, bounds and metrics know of a model."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from seatbelt_jax import posterior
from seatbelt_jax.arithmetic import in_common_type
from seatbelt_jax.gaussian import DiagonalGaussian, standard_normal, standardised
from seatbelt_jax.likelihood import GaussianLikelihood, Likelihood
from seatbelt_jax.posterior import Posterior

Latents = tuple[Float[Array, "batch latent"], ...]


class Encoding(NamedTuple):
    """What the inference network says of a batch, layer 1 (nearest the data) first.

    posteriors[i] is q(z^{i+1} | z^i, x) evaluated at the sampled latents[i-1]. A JointVAE's two layers, the
    Concrete latents and the Gaussian ones, are independent given x.
    """

    posteriors: tuple[Posterior, ...]
    latents: Latents


class Inference(NamedTuple):
    """The inference network in two parts, of which the first, the costly one, reads the image once for all layers.

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


@dataclasses.dataclass(frozen=True)
class VAE:
    """A (hierarchical) variational autoencoder with its parameters bound.

    Attributes:
      encode: (images, noise) -> Encoding; noise holds a standard normal [batch, latent] per layer
        and zeros follow the means.
      decode: latents -> the likelihood's parameters, [batch, height, width, channels].
      prior: latents -> (p(z^1|z^2), .., p(z^L)); entry i reads latents[i + 1] alone and the last is
        N(0, I). Concrete layers have a uniform one.
      likelihood: what the decoder's output means.
      latent_sizes: the width of each layer, layer 1 first.
      image_shape: (height, width, channels).
      inference: the network behind encode in parts, where it has them.
    """

    encode: Callable[[Float[Array, "batch *image"], Latents], Encoding]
    decode: Callable[[Latents], Float[Array, "batch *image"]]
    prior: Callable[[Latents], tuple[Posterior, ...]]
    likelihood: Likelihood
    latent_sizes: tuple[int, ...]
    image_shape: tuple[int, int, int]
    inference: Inference | None = None

    @classmethod
    def from_functions(
        cls,
        encode: Callable[[Float[Array, "*image"]], DiagonalGaussian],
        decode: Callable[[Float[Array, " latent"]], Float[Array, "*image"]],
        *,
        image_shape: tuple[int, int, int],
        likelihood: Likelihood | None = None,
    ) -> "VAE":
        """A VAE of one layer and prior N(0, I) from the two functions of one example that `bounds` takes.

        Args:
          encode: one image of `image_shape` -> q(z|x), its mean and log_std [latent].
          decode: one latent [latent] -> the likelihood's parameters, of `image_shape`.
          image_shape: (height, width, channels).
          likelihood: what decode's output means and the range of images; `GaussianLikelihood()` by default.

        Raises:
          TypeError: where encode returns no DiagonalGaussian, or decode no array.
          ValueError: for an image shape that is none, or outputs of other shapes.
        """
        image_shape, latent_size = _check_functions(encode, decode, image_shape)

        def encode_batch(images: Float[Array, "batch *image"], noise: Latents) -> Encoding:
            q = jax.vmap(encode)(images)
            return Encoding((q,), (posterior.sample(q, noise[0]),))

        return cls(
            encode=encode_batch,
            decode=lambda latents: jax.vmap(decode)(latents[0]),
            prior=lambda latents: (standard_normal(latents[0]),),
            likelihood=GaussianLikelihood() if likelihood is None else likelihood,
            latent_sizes=(latent_size,),
            image_shape=image_shape,
        )

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
