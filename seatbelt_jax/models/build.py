"""Builds a model from a configuration."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from seatbelt_jax import sections
from seatbelt_jax.likelihood import BernoulliLikelihood, GaussianLikelihood, Likelihood
from seatbelt_jax.models import networks
from seatbelt_jax.models.hierarchy import HierarchicalVAE
from seatbelt_jax.models.joint import JointVAE
from seatbelt_jax.models.model import Model
from seatbelt_jax.registry import Registry
from seatbelt_jax.sections import check_choice

# From a `model` section and (height, width, channels) to an encoder and a decoder, modules of flax.linen.
Networks = Callable[["ModelConfig", tuple[int, int, int]], tuple[nn.Module, nn.Module]]
NETWORKS: Registry[Networks] = Registry("a network")


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The fields of a configuration's `model` section.

    Attributes:
      latent_sizes: width of each latent layer, layer 1 (nearest the data) first.
      decoder_reads: "all" latents (Seatbelt-VAE) or the "bottom" layer (DLGM); same for one layer.
      network: "conv" (Willetts et al. 2021, App. G), "mlp" (Chen et al. 2018 on dSprites), or a plug-in's.
      widths: "conv": channels of the stride-2 stages at 64x64; smaller images take the last ones.
        "mlp": the hidden layers of the encoder; the decoder has them in reverse.
      feature_size: "conv": width of the feature vector between the convolutions and the latents.
      hidden_sizes: widths of the MLPs between neighbouring latent layers, from the bottom.
      batch_norm: normalise every hidden layer.
      likelihood: "gaussian" on [-1, 1] or "bernoulli" on [0, 1].
      likelihood_std: the Gaussian likelihood's fixed standard deviation.
      discrete_sizes: number of classes of each Concrete latent, beside one layer of Gaussian latents (JointVAE).
      temperature: of the Concrete latents.
      hard_samples: decode one-hot samples of the Concrete latents in evaluation, attacks included: on the mean path the
        arg max of the logits (Sootla 2018, Sec. 4). By default relaxed ones, softmax(logits / temperature) on the mean
        path. Training always decodes relaxed samples.
      posterior_std: constant standard deviation of every Gaussian q; 0 learns it.
      posterior_std_offset: tau, added to the standard deviations of every Gaussian q (Camuto et al. 2021, Sec. 4.2).
      compute_dtype: of the networks' hidden layers, "float32" or "bfloat16"; densities are always float32.
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
    discrete_sizes: tuple[int, ...] = ()
    temperature: float = 0.1
    hard_samples: bool = False
    posterior_std: float = 0.0
    posterior_std_offset: float = 0.0
    compute_dtype: str = "float32"

    def __post_init__(self):
        sections.check_types("model", self)
        check_choice("model.decoder_reads", self.decoder_reads, ("all", "bottom"))
        check_choice("model.network", self.network, NETWORKS)
        check_choice("model.likelihood", self.likelihood, ("gaussian", "bernoulli"))
        check_choice("model.compute_dtype", self.compute_dtype, ("float32", "bfloat16"))
        for name in ("latent_sizes", "widths", "hidden_sizes", "discrete_sizes"):
            sizes = getattr(self, name)
            if any(size < 1 for size in sizes) or (not sizes and name in ("latent_sizes", "widths")):
                raise ValueError(f"model.{name} must list positive whole numbers, got {sizes}")
        if 1 in self.discrete_sizes:
            raise ValueError(f"model.discrete_sizes must be 2 or more classes each, got {self.discrete_sizes}")
        for name in ("posterior_std", "posterior_std_offset"):
            if getattr(self, name) < 0.0:
                raise ValueError(f"model.{name} must be a finite number >= 0, got {getattr(self, name)}")
        if self.posterior_std and self.posterior_std_offset:
            raise ValueError("model.posterior_std is constant: model.posterior_std_offset must be 0 with it")
        if self.temperature <= 0.0:
            raise ValueError(f"model.temperature must be a positive number, got {self.temperature}")
        if self.discrete_sizes and len(self.latent_sizes) > 1:
            raise ValueError(
                "model.discrete_sizes stand beside one layer of Gaussian latents, "
                f"but model.latent_sizes names {len(self.latent_sizes)}"
            )
        if self.discrete_sizes and self.decoder_reads != "all":
            raise ValueError("a JointVAE's decoder reads all latents: model.decoder_reads must be 'all'")
        if len(self.hidden_sizes) < len(self.latent_sizes) - 1:
            raise ValueError(
                f"model.hidden_sizes names {len(self.hidden_sizes)} widths, but {len(self.latent_sizes)} "
                f"latent layers need {len(self.latent_sizes) - 1}"
            )


def build(config: Mapping[str, Any], image_shape: tuple[int, int, int]) -> Model:
    """Builds the model that a configuration's `model` section describes.

    Args:
      config: the fields of `ModelConfig`.
      image_shape: (height, width, channels).

    Raises:
      ValueError: a field or value is unknown, or the network does not accept the image size.
    """
    settings = sections.parse(ModelConfig, "model", config)
    encoder, decoder = NETWORKS[settings.network](settings, image_shape)
    std: dict[str, Any] = {
        "posterior_std": settings.posterior_std,
        "posterior_std_offset": settings.posterior_std_offset,
    }
    module: HierarchicalVAE | JointVAE
    if settings.discrete_sizes:
        module = JointVAE(
            latent_size=settings.latent_sizes[0],
            discrete_sizes=tuple(settings.discrete_sizes),
            temperature=settings.temperature,
            hard_samples=settings.hard_samples,
            encoder=encoder,
            decoder=decoder,
            **std,
        )
    else:
        module = HierarchicalVAE(
            latent_sizes=tuple(settings.latent_sizes),
            encoder=encoder,
            decoder=decoder,
            hidden_sizes=tuple(settings.hidden_sizes),
            decoder_reads=settings.decoder_reads,
            batch_norm=settings.batch_norm,
            dtype=jnp.dtype(settings.compute_dtype),
            **std,
        )
    return Model(module, make_likelihood(config), image_shape)


def make_likelihood(config: Mapping[str, Any]) -> Likelihood:
    """The observation model of a `model` section; its image_range is what data must be loaded in."""
    settings = sections.parse(ModelConfig, "model", config)
    if settings.likelihood == "gaussian":
        return GaussianLikelihood(settings.likelihood_std)
    return BernoulliLikelihood()


@NETWORKS.register("conv")
def _conv(settings: ModelConfig, image_shape: tuple[int, int, int]) -> tuple[nn.Module, nn.Module]:
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
    inside = _inside(settings)
    return (
        networks.ConvEncoder(widths, settings.feature_size, **inside),
        networks.ConvDecoder(widths[::-1], settings.feature_size, image_shape, **inside),
    )


@NETWORKS.register("mlp")
def _mlp(settings: ModelConfig, image_shape: tuple[int, int, int]) -> tuple[nn.Module, nn.Module]:
    widths, inside = tuple(settings.widths), _inside(settings)
    return networks.MlpEncoder(widths, **inside), networks.MlpDecoder(widths[::-1], image_shape, **inside)


def _inside(settings: ModelConfig) -> dict[str, Any]:
    return {"batch_norm": settings.batch_norm, "dtype": jnp.dtype(settings.compute_dtype)}
