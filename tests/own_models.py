"""Models as users write them, in a module outside the package: runs name their functions."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import nnx

from seatbelt_jax.gaussian import DiagonalGaussian, standard_normal
from seatbelt_jax.likelihood import BernoulliLikelihood, GaussianLikelihood
from seatbelt_jax.posterior import sample
from seatbelt_jax.vae import VAE, Encoding, Functions

SHAPE = (8, 8, 1)


def plain_encode(params, image):
    hidden = jnp.tanh(params["first"] @ image.ravel())
    mean, log_std = jnp.split(params["second"] @ hidden, 2)
    return DiagonalGaussian(mean, log_std - 2.0)


def plain_decode(params, z):
    return jnp.tanh(z @ params["third"]).reshape(SHAPE)


def plain(width=6, latents=2, seed=0, std=0.1):
    """Functions of a tree of arrays."""
    keys = jax.random.split(jax.random.key(seed), 3)
    sizes = {"first": (width, 64), "second": (2 * latents, width), "third": (latents, 64)}
    params = {name: 0.3 * jax.random.normal(key, size) for key, (name, size) in zip(keys, sizes.items(), strict=True)}
    likelihood = GaussianLikelihood(std)
    return VAE.from_functions(plain_encode, plain_decode, params=params, image_shape=SHAPE, likelihood=likelihood)


class Linen(nn.Module):
    latents: int

    def setup(self):
        self.down, self.up = nn.Dense(2 * self.latents), nn.Dense(64)

    def encode(self, image):
        mean, log_std = jnp.split(self.down(image.ravel()), 2)
        return DiagonalGaussian(mean, log_std)

    def decode(self, z):
        return self.up(z).reshape(SHAPE)

    def __call__(self, image):
        return self.decode(self.encode(image).mean)


def linen(latents=3, seed=0):
    """A module of flax.linen, of images in [0, 1]."""
    module = Linen(latents)
    return VAE.from_functions(
        lambda params, image: module.apply(params, image, method="encode"),
        lambda params, z: module.apply(params, z, method="decode"),
        params=module.init(jax.random.key(seed), jnp.zeros(SHAPE)),
        image_shape=SHAPE,
        likelihood=BernoulliLikelihood(),
    )


class Nnx(nnx.Module):
    def __init__(self, latents, rngs):
        self.down, self.up = nnx.Linear(64, 2 * latents, rngs=rngs), nnx.Linear(latents, 64, rngs=rngs)


def of_nnx(latents=3, seed=0):
    """A module of flax.nnx."""
    graph, params = nnx.split(Nnx(latents, nnx.Rngs(seed)))

    def encode(params, image):
        return DiagonalGaussian(*jnp.split(nnx.merge(graph, params).down(image.ravel()), 2))

    def decode(params, z):
        return nnx.merge(graph, params).up(z).reshape(SHAPE)

    return VAE.from_functions(encode, decode, params=params, image_shape=SHAPE)


def _levels_encode(params, images, noise):
    flat = images.reshape(len(images), -1)
    first = DiagonalGaussian(flat @ params["down"], jnp.full((len(images), 3), -1.0))
    below = sample(first, noise[0])
    second = DiagonalGaussian(below @ params["across"], jnp.full((len(images), 2), -1.0))
    return Encoding((first, second), (below, sample(second, noise[1])))


def _levels_decode(params, latents):
    return (latents[0] @ params["up"]).reshape(-1, *SHAPE)


def _levels_prior(params, latents):
    return DiagonalGaussian(latents[1] @ params["across"].T, jnp.zeros_like(latents[0])), standard_normal(latents[1])


def hierarchy(seed=0):
    """Two layers of latents, as a record of batched functions."""
    keys = jax.random.split(jax.random.key(seed), 3)
    sizes = {"down": (64, 3), "across": (3, 2), "up": (3, 64)}
    params = {name: 0.2 * jax.random.normal(key, size) for key, (name, size) in zip(keys, sizes.items(), strict=True)}
    functions = Functions(_levels_encode, _levels_decode, _levels_prior)
    return VAE.of(functions, params, GaussianLikelihood(), (3, 2), SHAPE)


def other(width=6):
    """A model with the same parameters as `plain`, and other functions."""
    found = plain(width)
    return VAE.from_functions(
        lambda params, image: plain_encode(params, 0.5 * image), plain_decode, params=found.params, image_shape=SHAPE
    )


def of_closures():
    found = plain()
    return VAE.from_functions(
        lambda image: plain_encode(found.params, image), lambda z: plain_decode(found.params, z), image_shape=SHAPE
    )


def fails(width=6):
    raise RuntimeError("no such width")


def nothing():
    return None


NUMBER = 3
