"""Classifiers of images, reconstructions and codes, used to judge attacks on VAEs."""

import dataclasses
from typing import Any, Literal, get_args

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from seatbelt_jax.sections import check_choice

Architecture = Literal["mlp", "conv", "sootla"]

# Willetts et al. 2021, Sec. 5.3, have "2-layer MLPs and fully-convolutional nets" and no numbers: these are our own.
_MLP_WIDTH = 256
_CONV_WIDTHS = (32, 64, 128)


class _Mlp(nn.Module):
    """Two dense layers."""

    classes: int

    @nn.compact
    def __call__(self, inputs: Float[Array, "batch *input"], *, train: bool) -> Float[Array, "batch classes"]:
        hidden = nn.relu(nn.Dense(_MLP_WIDTH)(inputs.reshape(inputs.shape[0], -1)))
        return nn.Dense(self.classes)(hidden)


class _Conv(nn.Module):
    """4x4 convolutions of stride 2, a 1x1 convolution to the classes, and the mean over positions."""

    classes: int

    @nn.compact
    def __call__(
        self, images: Float[Array, "batch height width channels"], *, train: bool
    ) -> Float[Array, "batch classes"]:
        hidden = images
        for width in _CONV_WIDTHS:
            hidden = nn.relu(nn.Conv(width, (4, 4), strides=(2, 2), padding="SAME")(hidden))
        return jnp.mean(nn.Conv(self.classes, (1, 1))(hidden), axis=(1, 2))


class _Sootla(nn.Module):
    """Sootla 2018, Table 3.2, with unpadded convolutions: 32 x 32 pixels become 5 x 5."""

    classes: int

    @nn.compact
    def __call__(
        self, images: Float[Array, "batch height width channels"], *, train: bool
    ) -> Float[Array, "batch classes"]:
        hidden = images
        for _ in range(2):
            hidden = nn.relu(nn.Conv(10, (5, 5), padding="VALID")(hidden))
            hidden = nn.max_pool(hidden, (2, 2), strides=(2, 2))
        hidden = nn.Dropout(0.5, deterministic=not train)(hidden.reshape(hidden.shape[0], -1))
        return nn.Dense(self.classes)(nn.relu(nn.Dense(50)(hidden)))


_MODULES: dict[str, type[nn.Module]] = {"mlp": _Mlp, "conv": _Conv, "sootla": _Sootla}
# The least side of the images: of smaller ones nothing is left.
SOOTLA_LEAST_SIDE = 16
_LEAST_SIDE = {"conv": 2 ** len(_CONV_WIDTHS), "sootla": SOOTLA_LEAST_SIDE}


@dataclasses.dataclass(frozen=True)
class Classifier:
    """A network from inputs to class scores (logits), without its parameters.

    Attributes:
      architecture: "mlp", of two dense layers, for inputs of any shape; "conv", fully convolutional, for images (both
        after Willetts et al. 2021, Table 1); "sootla", Sootla 2018, Table 3.2, which scores attacks on digits there.
      input_shape: of one input, (latent,) or (height, width, channels).
      classes: how many labels there are.
    """

    architecture: Architecture
    input_shape: tuple[int, ...]
    classes: int

    def __post_init__(self):
        check_choice("architecture", self.architecture, get_args(Architecture))
        if self.classes < 2:
            raise ValueError(f"classes must be at least 2, got {self.classes}")
        shape, least = self.input_shape, _LEAST_SIDE.get(self.architecture)
        if not isinstance(shape, tuple) or not shape or not all(isinstance(side, int) and side > 0 for side in shape):
            raise ValueError(f"input_shape must be a tuple of positive whole numbers, got {shape!r}")
        if least and (len(shape) != 3 or min(shape[:2]) < least):
            raise ValueError(
                f"the classifier {self.architecture!r} reads images of {least}x{least} pixels or more, "
                f"(height, width, channels); got inputs of shape {shape}: take 'mlp'"
            )

    def init(self, key: PRNGKeyArray) -> Any:
        """Fresh parameters."""
        return self._module.init(key, jnp.zeros((1, *self.input_shape)), train=False)

    def logits(
        self, parameters: Any, inputs: Float[Array, "batch *input"], dropout_key: PRNGKeyArray | None = None
    ) -> Float[Array, "batch classes"]:
        """Scores of the classes. With a key the network is in training mode: "sootla" drops half of the features."""
        rngs = {} if dropout_key is None else {"dropout": dropout_key}
        scores: Any = self._module.apply(parameters, inputs, train=bool(rngs), rngs=rngs)
        return scores

    @property
    def _module(self) -> nn.Module:
        return _MODULES[self.architecture](self.classes)
