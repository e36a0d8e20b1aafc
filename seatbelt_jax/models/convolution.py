"""4x4 convolutions of stride 2 and their transposes, as matrix products on a CPU.

On a CPU, XLA has slow kernels for some derivatives of convolutions: the gradient of a transposed convolution's kernel
takes up to 40 times as long as the layer itself. But a convolution is one matrix product between two rearrangements,
and so is each of its derivatives, of every order, as JAX finds by itself. For images [batch, 2h, 2w, channels], padded
by one pixel at every edge, let

  blocks(images)   [batch, h+1, w+1, 4 channels]  be the 2x2 blocks that they are cut into,
  windows(images)  [batch, h, w, 16 channels]     the 4x4 windows, each of four blocks,

and for feature maps [batch, h, w, features] let

  shifts(maps)     [batch, h+1, w+1, 4 features]  be copies put into the four corners of a frame larger by one.

Then the convolution of images by the kernel, written as one matrix or another, is windows(images) K, and it is
shifts^T(blocks(images) K'), where ^T is the adjoint. The first reads and writes 16 channels + features numbers for a
window, the second about 4 (channels + features): images of few channels take the first.
"""

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float


def convolve(
    images: Float[Array, "batch twice_h twice_w channels"], kernel: Float[Array, "4 4 channels features"]
) -> Float[Array, "batch h w features"]:
    """The 4x4 convolution of stride 2 of images padded by one pixel of 0 at every edge.

    Its form is that for JAX's default backend; its value is the same in both.
    """
    images, kernel = promote_dtype(images, kernel, dtype=None)
    if jax.default_backend() == "cpu":
        return _as_product(images, kernel)
    layout = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(images, kernel, (2, 2), ((1, 1), (1, 1)), dimension_numbers=layout)


def convolve_transposed(
    maps: Float[Array, "batch h w features"], kernel: Float[Array, "4 4 features channels"]
) -> Float[Array, "batch twice_h twice_w channels"]:
    """The adjoint of `convolve`, its kernel turned by 180 degrees, as in `jax.lax.conv_transpose`."""
    maps, kernel = promote_dtype(maps, kernel, dtype=None)
    batch, height, width, _ = maps.shape
    images = jax.ShapeDtypeStruct((batch, 2 * height, 2 * width, kernel.shape[-1]), maps.dtype)
    turned = kernel[::-1, ::-1].transpose(0, 1, 3, 2)
    (convolved,) = jax.linear_transpose(lambda images: convolve(images, turned), images)(maps)
    return convolved


class Conv(nn.Module):
    """`convolve` and a bias, with the parameters of `nn.Conv(features, (4, 4), strides=2, padding=1)`."""

    features: int
    use_bias: bool = True
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, images: Float[Array, "batch twice_h twice_w channels"]
    ) -> Float[Array, "batch h w {self.features}"]:
        return _layer(self, convolve, images)


class ConvTranspose(nn.Module):
    """`convolve_transposed` and a bias, with the parameters of `nn.ConvTranspose(features, (4, 4), strides=(2, 2))`."""

    features: int
    use_bias: bool = True
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, maps: Float[Array, "batch h w channels"]
    ) -> Float[Array, "batch twice_h twice_w {self.features}"]:
        return _layer(self, convolve_transposed, maps)


def _layer(module: Conv | ConvTranspose, linear: Callable[[Array, Array], Array], inputs: Array) -> Array:
    shape = (4, 4, inputs.shape[-1], module.features)
    kernel = module.param("kernel", nn.initializers.lecun_normal(), shape)
    bias = module.param("bias", nn.initializers.zeros, shape[-1:]) if module.use_bias else None
    inputs, kernel, bias = promote_dtype(inputs, kernel, bias, dtype=module.dtype)
    outputs = linear(inputs, kernel)
    return outputs if bias is None else outputs + bias


def _as_product(images: Array, kernel: Array) -> Array:
    # On a CPU, XLA converts half precision at every operation: converted here, it is once.
    dtype = images.dtype
    images, kernel = (array.astype(jnp.promote_types(dtype, jnp.float32)) for array in (images, kernel))
    channels, features = kernel.shape[2:]
    # [block's row, row in it, block's column, column in it, channel, feature]
    parts = kernel.reshape(2, 2, 2, 2, channels, features)
    if 16 * channels + features < 4 * (channels + features):
        return _product(_windows(images), parts.transpose(0, 2, 1, 3, 4, 5)).astype(dtype)
    products = _product(_blocks(images), parts.transpose(1, 3, 4, 0, 2, 5))
    batch, height, width, _ = images.shape
    maps = jax.ShapeDtypeStruct((batch, height // 2, width // 2, features), products.dtype)
    (convolved,) = jax.linear_transpose(_shifts, maps)(products)
    return convolved.astype(dtype)


def _blocks(images: Array) -> Array:
    batch, height, width, channels = images.shape
    places = images.reshape(batch, height // 2, 2, width // 2, 2, channels)
    # The first block begins one pixel before the image: first rows of blocks are second ones of pairs.
    return _stacked([_framed(places[:, :, row, :, column], row, column) for row in (1, 0) for column in (1, 0)])


def _windows(images: Array) -> Array:
    blocks = _blocks(images)
    return _stacked([blocks[:, :-1, :-1], blocks[:, :-1, 1:], blocks[:, 1:, :-1], blocks[:, 1:, 1:]])


def _shifts(maps: Array) -> Array:
    return _stacked([_framed(maps, row, column) for row in (0, 1) for column in (0, 1)])


def _framed(maps: Array, row: int, column: int) -> Array:
    return jnp.pad(maps, ((0, 0), (row, 1 - row), (column, 1 - column), (0, 0)))


def _stacked(maps: Sequence[Array]) -> Array:
    # XLA is faster at stacking than at joining along the last axis.
    return jnp.stack(maps, axis=3).reshape(*maps[0].shape[:3], -1)


def _product(maps: Array, parts: Array) -> Array:
    # As a product of two matrices: with more axes, XLA transposes one array in memory for the kernel's gradient.
    rows = maps.reshape(-1, maps.shape[-1])
    return (rows @ parts.reshape(rows.shape[-1], -1)).reshape(*maps.shape[:-1], -1)
