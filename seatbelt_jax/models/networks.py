"""The networks of Willetts et al. 2021, App. G, after Chen et al. 2018."""

import math
from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from seatbelt_jax.gaussian import DiagonalGaussian

# Chen et al.'s code is PyTorch, whose default running averages keep 0.9 of the old value.
_BATCH_NORM_MOMENTUM = 0.9
_LEAKY_RELU_SLOPE = 0.01


class Normalise(nn.Module):
    """BatchNorm where the model asks for it, else nothing."""

    batch_norm: bool

    @nn.compact
    def __call__(self, features: Array, *, train: bool) -> Array:
        if not self.batch_norm:
            return features
        return nn.BatchNorm(use_running_average=not train, momentum=_BATCH_NORM_MOMENTUM)(features)


class ConvEncoder(nn.Module):
    """Images to one feature vector each: 4x4 convolutions of stride 2 down to 4x4, then a 4x4 one.

    Attributes:
      widths: channels of the stride-2 convolutions.
      feature_size: channels of the last convolution.
    """

    widths: Sequence[int]
    feature_size: int
    batch_norm: bool

    @nn.compact
    def __call__(
        self, images: Float[Array, "batch height width channels"], *, train: bool
    ) -> Float[Array, "batch feature"]:
        hidden = images
        for width in self.widths:
            hidden = nn.Conv(width, (4, 4), strides=(2, 2), padding=1)(hidden)
            hidden = nn.relu(Normalise(self.batch_norm)(hidden, train=train))
        # A valid 4x4 convolution of a 4x4 image is a dense layer.
        hidden = nn.Dense(self.feature_size)(hidden.reshape(hidden.shape[0], -1))
        return nn.relu(Normalise(self.batch_norm)(hidden, train=train))


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

    @nn.compact
    def __call__(
        self, latents: Float[Array, "batch latent"], *, train: bool
    ) -> Float[Array, "batch height width channels"]:
        hidden = nn.Dense(self.feature_size)(latents)
        hidden = nn.relu(Normalise(self.batch_norm)(hidden, train=train))
        hidden = nn.Dense(4 * 4 * self.widths[0])(hidden).reshape(-1, 4, 4, self.widths[0])
        hidden = nn.relu(Normalise(self.batch_norm)(hidden, train=train))
        for width in self.widths[1:]:
            hidden = nn.ConvTranspose(width, (4, 4), strides=(2, 2), padding="SAME")(hidden)
            hidden = nn.relu(Normalise(self.batch_norm)(hidden, train=train))
        return nn.ConvTranspose(self.image_shape[-1], (4, 4), strides=(2, 2), padding="SAME")(hidden)


class MlpEncoder(nn.Module):
    """Images to one feature vector each by dense ReLU layers (Chen et al. 2018 on dSprites)."""

    widths: Sequence[int]
    batch_norm: bool

    @nn.compact
    def __call__(
        self, images: Float[Array, "batch height width channels"], *, train: bool
    ) -> Float[Array, "batch feature"]:
        hidden = images.reshape(images.shape[0], -1)
        for width in self.widths:
            hidden = nn.relu(Normalise(self.batch_norm)(nn.Dense(width)(hidden), train=train))
        return hidden


class MlpDecoder(nn.Module):
    """Latents to the likelihood's parameters by dense ReLU layers."""

    widths: Sequence[int]
    image_shape: tuple[int, int, int]
    batch_norm: bool

    @nn.compact
    def __call__(
        self, latents: Float[Array, "batch latent"], *, train: bool
    ) -> Float[Array, "batch height width channels"]:
        hidden = latents
        for width in self.widths:
            hidden = nn.relu(Normalise(self.batch_norm)(nn.Dense(width)(hidden), train=train))
        return nn.Dense(math.prod(self.image_shape))(hidden).reshape(-1, *self.image_shape)


class GaussianHead(nn.Module):
    """Mean and log_std of a diagonal Gaussian by dense layers, after `hidden_layers` hidden ones.

    With hidden layers it is the MLP of q(z^{i+1}|z^i, x) and p(z^i|z^{i+1}): BatchNorm, LeakyReLU.
    """

    latent_size: int
    hidden_size: int = 0
    hidden_layers: int = 0
    batch_norm: bool = True

    @nn.compact
    def __call__(self, inputs: Float[Array, "batch input"], *, train: bool) -> DiagonalGaussian:
        hidden = inputs
        for _ in range(self.hidden_layers):
            hidden = Normalise(self.batch_norm)(nn.Dense(self.hidden_size)(hidden), train=train)
            hidden = nn.leaky_relu(hidden, _LEAKY_RELU_SLOPE)
        # Every std starts at 1: features of rare images are large, and a KL grows with exp(2 |log_std|).
        log_std_head = nn.Dense(self.latent_size, kernel_init=nn.initializers.zeros, name="log_std")
        # The densities downstream stay float32 whatever the network computes in.
        mean = nn.Dense(self.latent_size, name="mean")(hidden).astype(jnp.float32)
        log_std = log_std_head(hidden).astype(jnp.float32)
        return DiagonalGaussian(mean, log_std)
