"""The networks of Willetts et al. 2021, App. G, after Chen et al. 2018.

`dtype` is the type of the hidden layers' arithmetic. Parameters, BatchNorm's statistics and every network's last layer,
whose output parametrises a density, are float32.
"""

import math
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from seatbelt_jax.gaussian import DiagonalGaussian
from seatbelt_jax.models.convolution import Conv, ConvTranspose

# Chen et al.'s code is PyTorch, whose default running averages keep 0.9 of the old value.
_BATCH_NORM_MOMENTUM = 0.9
_LEAKY_RELU_SLOPE = 0.01


class Normalise(nn.Module):
    """BatchNorm if `batch_norm`, else the identity."""

    batch_norm: bool
    dtype: DTypeLike

    @nn.compact
    def __call__(self, features: Array, *, train: bool) -> Array:
        if not self.batch_norm:
            return features
        return nn.BatchNorm(use_running_average=not train, momentum=_BATCH_NORM_MOMENTUM, dtype=self.dtype)(features)


def _hidden(batch_norm: bool, dtype: DTypeLike) -> dict[str, Any]:
    """Options of a layer that BatchNorm may follow.

    BatchNorm removes a bias. The bias's gradient would be rounding error, which Adam scales to full steps.
    """
    return {"use_bias": not batch_norm, "dtype": dtype}


class ConvEncoder(nn.Module):
    """Images to one feature vector each: 4x4 convolutions of stride 2 down to 4x4, then a 4x4 one.

    Attributes:
      widths: channels of the stride-2 convolutions.
      feature_size: channels of the last convolution.
    """

    widths: Sequence[int]
    feature_size: int
    batch_norm: bool
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, images: Float[Array, "batch height width channels"], *, train: bool
    ) -> Float[Array, "batch feature"]:
        options = _hidden(self.batch_norm, self.dtype)
        hidden = images
        for width in self.widths:
            hidden = Conv(width, **options)(hidden)
            hidden = nn.relu(Normalise(self.batch_norm, self.dtype)(hidden, train=train))
        # A valid 4x4 convolution of a 4x4 image is a dense layer.
        hidden = nn.Dense(self.feature_size, **options)(hidden.reshape(hidden.shape[0], -1))
        return nn.relu(Normalise(self.batch_norm, self.dtype)(hidden, train=train))


class ConvDecoder(nn.Module):
    """Latents to the likelihood's parameters: the encoder's mirror image.

    Attributes:
      widths: channels of the 4x4 image and of each stage after it but the last.
      feature_size: width of the first layer, a 1x1 convolution of a 1x1 image.
      image_shape: (height, width, channels).
    """

    widths: Sequence[int]
    feature_size: int
    image_shape: tuple[int, int, int]
    batch_norm: bool
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, latents: Float[Array, "batch latent"], *, train: bool
    ) -> Float[Array, "batch height width channels"]:
        options = _hidden(self.batch_norm, self.dtype)
        hidden = nn.Dense(self.feature_size, **options)(latents)
        hidden = nn.relu(Normalise(self.batch_norm, self.dtype)(hidden, train=train))
        hidden = nn.Dense(4 * 4 * self.widths[0], **options)(hidden).reshape(-1, 4, 4, self.widths[0])
        hidden = nn.relu(Normalise(self.batch_norm, self.dtype)(hidden, train=train))
        for width in self.widths[1:]:
            hidden = ConvTranspose(width, **options)(hidden)
            hidden = nn.relu(Normalise(self.batch_norm, self.dtype)(hidden, train=train))
        return ConvTranspose(self.image_shape[-1], dtype=jnp.float32)(hidden)


class MlpEncoder(nn.Module):
    """Images to one feature vector each by dense ReLU layers (Chen et al. 2018 on dSprites)."""

    widths: Sequence[int]
    batch_norm: bool
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, images: Float[Array, "batch height width channels"], *, train: bool
    ) -> Float[Array, "batch feature"]:
        options = _hidden(self.batch_norm, self.dtype)
        hidden = images.reshape(images.shape[0], -1)
        for width in self.widths:
            hidden = nn.Dense(width, **options)(hidden)
            hidden = nn.relu(Normalise(self.batch_norm, self.dtype)(hidden, train=train))
        return hidden


class MlpDecoder(nn.Module):
    """Latents to the likelihood's parameters by dense ReLU layers."""

    widths: Sequence[int]
    image_shape: tuple[int, int, int]
    batch_norm: bool
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, latents: Float[Array, "batch latent"], *, train: bool
    ) -> Float[Array, "batch height width channels"]:
        options = _hidden(self.batch_norm, self.dtype)
        hidden = latents
        for width in self.widths:
            hidden = nn.Dense(width, **options)(hidden)
            hidden = nn.relu(Normalise(self.batch_norm, self.dtype)(hidden, train=train))
        return nn.Dense(math.prod(self.image_shape), dtype=jnp.float32)(hidden).reshape(-1, *self.image_shape)


class GaussianHead(nn.Module):
    """Mean and log_std of a diagonal Gaussian by dense layers, after `hidden_layers` hidden ones.

    With hidden layers it is the MLP of q(z^{i+1}|z^i, x) and p(z^i|z^{i+1}): BatchNorm, LeakyReLU.

    Attributes:
      std: a constant standard deviation in place of a learned one, where it is not 0.
      std_offset: tau, added to the learned standard deviation (Camuto et al. 2021, Sec. 4.2).
    """

    latent_size: int
    hidden_size: int = 0
    hidden_layers: int = 0
    batch_norm: bool = True
    dtype: DTypeLike = jnp.float32
    std: float = 0.0
    std_offset: float = 0.0

    @nn.compact
    def __call__(self, inputs: Float[Array, "batch input"], *, train: bool) -> DiagonalGaussian:
        options = _hidden(self.batch_norm, self.dtype)
        hidden = inputs
        for _ in range(self.hidden_layers):
            hidden = nn.Dense(self.hidden_size, **options)(hidden)
            hidden = Normalise(self.batch_norm, self.dtype)(hidden, train=train)
            hidden = nn.leaky_relu(hidden, _LEAKY_RELU_SLOPE)
        mean = nn.Dense(self.latent_size, dtype=jnp.float32, name="mean")(hidden)
        if self.std:
            return DiagonalGaussian(mean, jnp.full_like(mean, math.log(self.std)))
        # Every std starts at 1: features of rare images are large, and a KL grows with exp(2 |log_std|).
        log_std = nn.Dense(self.latent_size, dtype=jnp.float32, kernel_init=nn.initializers.zeros, name="log_std")(
            hidden
        )
        if self.std_offset:
            log_std = jnp.logaddexp(log_std, math.log(self.std_offset))
        return DiagonalGaussian(mean, log_std)
