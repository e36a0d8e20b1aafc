"""From a configuration to a model, its parameters, and the VAE record of pure functions."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from seatbelt_jax import sections
from seatbelt_jax.gaussian import DiagonalGaussian
from seatbelt_jax.likelihood import BernoulliLikelihood, GaussianLikelihood, Likelihood
from seatbelt_jax.models import networks
from seatbelt_jax.models.hierarchy import Forward, HierarchicalVAE
from seatbelt_jax.sections import check_choice
from seatbelt_jax.vae import VAE, Encoding, Latents

Variables = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """What a configuration's `model` section may say.

    Attributes:
      latent_sizes: width of each latent layer, layer 1 (nearest the data) first.
      decoder_reads: "all" latents (Seatbelt-VAE) or the "bottom" layer (DLGM); same for one layer.
      network: "conv" (Willetts et al. 2021, App. G) or "mlp" (Chen et al. 2018 on dSprites).
      widths: "conv": channels of the stride-2 stages at 64x64; smaller images take the last ones.
        "mlp": the hidden layers of the encoder; the decoder has them in reverse.
      feature_size: "conv": width of the feature vector between the convolutions and the latents.
      hidden_sizes: widths of the MLPs between neighbouring latent layers, from the bottom.
      batch_norm: normalise every hidden layer.
      likelihood: "gaussian" on [-1, 1] or "bernoulli" on [0, 1].
      likelihood_std: the Gaussian likelihood's fixed standard deviation.
    """

    latent_sizes: tuple[int, ...]
    decoder_reads: str = "all"
    network: str = "conv"
    widths: tuple[int, ...] = (32, 32, 64, 64)
    feature_size: int = 512
    hidden_sizes: tuple[int, ...] = (1024, 512, 256, 128, 64)
    batch_norm: bool = True
    likelihood: str = "gaussian"
    likelihood_std: float = 0.1

    def __post_init__(self):
        check_choice("model.decoder_reads", self.decoder_reads, ("all", "bottom"))
        check_choice("model.network", self.network, ("conv", "mlp"))
        check_choice("model.likelihood", self.likelihood, ("gaussian", "bernoulli"))
        for name in ("latent_sizes", "widths", "hidden_sizes"):
            sizes = getattr(self, name)
            whole = all(isinstance(size, int) and size >= 1 for size in sizes)
            if not whole or (not sizes and name != "hidden_sizes"):
                raise ValueError(f"model.{name} must list positive whole numbers, got {tuple(sizes)}")
        if len(self.hidden_sizes) < len(self.latent_sizes) - 1:
            raise ValueError(
                f"model.hidden_sizes names {len(self.hidden_sizes)} widths, but {len(self.latent_sizes)} "
                f"latent layers need {len(self.latent_sizes) - 1}"
            )


@dataclasses.dataclass(frozen=True)
class Model:
    """A module with its likelihood and image shape, parameters apart.

    `variables` are Flax's collections: "params" and, with BatchNorm, "batch_stats".
    """

    module: HierarchicalVAE
    likelihood: Likelihood
    image_shape: tuple[int, int, int]

    @property
    def latent_sizes(self) -> tuple[int, ...]:
        return tuple(self.module.latent_sizes)

    def init(self, key: PRNGKeyArray) -> Variables:
        """Fresh parameters and running averages."""
        images = jnp.zeros((1, *self.image_shape))
        noise = tuple(jnp.zeros((1, size)) for size in self.latent_sizes)
        return jax.jit(self.module.init)(key, images, noise)

    def forward_train(self, variables: Variables, images: Array, noise: Latents) -> tuple[Forward, Variables]:
        """One pass with batch statistics; returns the updated running averages beside it."""
        forward, updated = self.module.apply(variables, images, noise, train=True, mutable=["batch_stats"])
        return forward, updated

    def bind(self, variables: Variables) -> VAE:
        """The pure functions of the model with these parameters, in evaluation mode."""

        def call(method: str, *arguments: Any) -> Any:
            return self.module.apply(variables, *arguments, method=method)

        def encode(images: Array, noise: Latents) -> Encoding:
            return call("encode", images, noise)

        def decode(latents: Latents) -> Array:
            return call("decode", latents)

        def prior(latents: Latents) -> tuple[DiagonalGaussian, ...]:
            return call("prior", latents)

        return VAE(encode, decode, prior, self.likelihood, self.latent_sizes, self.image_shape)


def build(config: Mapping[str, Any], image_shape: tuple[int, int, int]) -> Model:
    """Builds the model that a configuration's `model` section describes.

    Args:
      config: the fields of `ModelConfig`.
      image_shape: (height, width, channels).

    Raises:
      ValueError: for a field or value that does not exist, or an image size the network cannot take.
    """
    settings = sections.parse(ModelConfig, "model", config)
    encoder, decoder = _networks(settings, image_shape)
    module = HierarchicalVAE(
        latent_sizes=tuple(settings.latent_sizes),
        encoder=encoder,
        decoder=decoder,
        hidden_sizes=tuple(settings.hidden_sizes),
        decoder_reads=settings.decoder_reads,
        batch_norm=settings.batch_norm,
    )
    return Model(module, make_likelihood(config), image_shape)


def make_likelihood(config: Mapping[str, Any]) -> Likelihood:
    """The observation model of a `model` section; its image_range is what data must be loaded in."""
    settings = sections.parse(ModelConfig, "model", config)
    if settings.likelihood == "gaussian":
        return GaussianLikelihood(settings.likelihood_std)
    return BernoulliLikelihood()


def _networks(settings: ModelConfig, image_shape: tuple[int, int, int]) -> tuple[nn.Module, nn.Module]:
    if settings.network == "mlp":
        widths = tuple(settings.widths)
        return (
            networks.MlpEncoder(widths, settings.batch_norm),
            networks.MlpDecoder(widths[::-1], image_shape, settings.batch_norm),
        )
    height, width, _ = image_shape
    stages = round(math.log2(max(height, 1))) - 2
    if height != width or height != 4 * 2**stages or not 1 <= stages <= len(settings.widths):
        largest = 4 * 2 ** len(settings.widths)
        raise ValueError(
            f"the conv network with {len(settings.widths)} widths takes square images of a power of two "
            f"from 8 to {largest} pixels, got {height}x{width}; change data.image_size or model.widths"
        )
    # Smaller images drop the first stages.
    widths = tuple(settings.widths[len(settings.widths) - stages :])
    return (
        networks.ConvEncoder(widths, settings.feature_size, settings.batch_norm),
        networks.ConvDecoder(widths[::-1], settings.feature_size, image_shape, settings.batch_norm),
    )
