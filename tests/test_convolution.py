"""The layers of `models.convolution` against those of Flax and XLA, values and derivatives."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from seatbelt_jax.models import convolution

LAYOUT = ("NHWC", "HWIO", "NHWC")
# Channels and features of images as one product of windows, and of blocks.
CHANNELS = [(1, 8), (3, 4), (5, 2)]


def native(images, kernel):
    return lax.conv_general_dilated(images, kernel, (2, 2), ((1, 1), (1, 1)), dimension_numbers=LAYOUT)


def native_transposed(maps, kernel):
    return lax.conv_transpose(maps, kernel, (2, 2), "SAME", dimension_numbers=LAYOUT)


def operands(channels, features, transposed=False, seed=0):
    """Inputs and a kernel, and a change of each."""
    rng = np.random.default_rng(seed)
    shapes = [(2, 4, 6, channels), (4, 4, channels, features)]
    if transposed:
        shapes = [(2, 2, 3, features), (4, 4, features, channels)]
    return [jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in shapes * 2]


def close(found, expected, tolerance=1e-6):
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
        scale = float(jnp.max(jnp.abs(theirs)))
        np.testing.assert_allclose(np.float64(ours), np.float64(theirs), rtol=0.0, atol=tolerance * scale)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("channels", [1, 4])
def test_layers_are_those_of_flax(channels, use_bias, dtype):
    options = {"use_bias": use_bias, "dtype": dtype}
    pairs = [
        (convolution.Conv(8, **options), nn.Conv(8, (4, 4), strides=2, padding=1, **options)),
        (convolution.ConvTranspose(3, **options), nn.ConvTranspose(3, (4, 4), strides=(2, 2), **options)),
    ]
    inputs = jax.random.normal(jax.random.key(1), (2, 4, 6, channels))
    for ours, theirs in pairs:
        parameters = theirs.init(jax.random.key(0), inputs)
        # From the same key, the same parameters.
        assert jax.tree.all(jax.tree.map(jnp.array_equal, ours.init(jax.random.key(0), inputs), parameters))
        moved = jax.tree.map(lambda leaf: leaf + 0.3, parameters)
        close(ours.apply(moved, inputs), theirs.apply(moved, inputs), 1e-6 if dtype == "float32" else 2e-2)


@pytest.mark.slow
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(("channels", "features"), CHANNELS)
def test_derivatives_are_those_of_xla(channels, features, transposed):
    inputs, kernel, *changes = operands(channels, features, transposed)
    ours, theirs = (convolution.convolve, native)
    if transposed:
        ours, theirs = convolution.convolve_transposed, native_transposed

    def derivatives(function):
        value, pushed = jax.jvp(function, (inputs, kernel), tuple(changes))

        def energy(inputs, kernel):
            return jnp.sum(jnp.tanh(function(inputs, kernel)))

        gradient = jax.grad(energy, argnums=(0, 1))

        def along(inputs, kernel):
            return sum(map(jnp.vdot, gradient(inputs, kernel), changes))

        return {
            "value": value,
            "jvp": pushed,
            "linearize": jax.linearize(function, inputs, kernel)[1](*changes),
            "vjp": jax.vjp(function, inputs, kernel)[1](jnp.cos(value)),
            "jvp of gradient": jax.jvp(gradient, (inputs, kernel), tuple(changes))[1],
            "gradient of gradient": jax.grad(along, argnums=(0, 1))(inputs, kernel),
        }

    # Second derivatives amplify the rounding of float32, which differs between releases of XLA.
    with jax.enable_x64(True):
        inputs, kernel, *changes = (jnp.asarray(operand, jnp.float64) for operand in (inputs, kernel, *changes))
        close(jax.jit(derivatives, static_argnums=0)(ours), jax.jit(derivatives, static_argnums=0)(theirs), 1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 4])
def test_under_vmap_and_jacobians(channels):
    images, kernel, more_images, more_kernels = operands(channels, 6)
    both = (jnp.stack([images, more_images]), jnp.stack([kernel, more_kernels]))
    close(jax.vmap(convolution.convolve)(*both), jax.vmap(native)(*both))
    close(jax.vmap(convolution.convolve, (None, 0))(images, both[1]), jax.vmap(native, (None, 0))(images, both[1]))

    def twice(convolve):
        small = images[:1, :4, :4]
        return jax.jacrev(lambda x: convolve(x, kernel))(small), jax.jacfwd(lambda x: convolve(x, kernel))(small)

    close(twice(convolution.convolve), twice(native))


def test_other_backends_take_xlas_convolution(monkeypatch):
    images, kernel, maps, turned = operands(3, 5)[:2] + operands(3, 5, transposed=True)[:2]
    on_cpu = convolution.convolve(images, kernel), convolution.convolve_transposed(maps, turned)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    # A new function: what has been traced is kept.
    program = str(jax.make_jaxpr(lambda *arrays: convolution.convolve(*arrays))(images, kernel))
    assert "conv_general_dilated" in program and "dot_general" not in program
    elsewhere = convolution.convolve(images, kernel), convolution.convolve_transposed(maps, turned)
    close(on_cpu, elsewhere)


@pytest.mark.parametrize("channels", [1, 4])
def test_products_are_of_two_matrices(channels):
    """XLA would transpose an array of more axes in memory, for the kernel's gradient one as large as the images."""

    def energy(images, kernel):
        maps = convolution.convolve(images, kernel)
        return jnp.sum(jnp.sin(convolution.convolve_transposed(maps, kernel.transpose(0, 1, 3, 2))))

    images, kernel, *_ = operands(channels, 8)
    program = jax.make_jaxpr(jax.grad(energy, argnums=(0, 1)))(images, kernel)
    products = [equation for equation in program.eqns if equation.primitive.name == "dot_general"]
    assert len(products) == 6
    assert all(operand.aval.ndim == 2 for product in products for operand in product.invars)
