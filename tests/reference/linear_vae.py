"""A VAE whose encoder is one linear map to one latent: its attacks have a closed-form optimum.

mu(x) = a . x with constant sigma, so KL(q(.|x + d) || q(.|x^t)) = (a . d - c)^2 / (2 sigma^2) with
c = a . (x^t - x). Along d = t a / ||a||, the minimiser of that plus lambda ||d|| (box not active) is

    t = max(0, c / ||a|| - lambda sigma^2 / ||a||^2)      for c > 0,

and it is 0 exactly when lambda >= c ||a|| / sigma^2.
"""

import jax.numpy as jnp
import numpy as np

from seatbelt_jax.gaussian import DiagonalGaussian, standard_normal
from seatbelt_jax.likelihood import GaussianLikelihood
from seatbelt_jax.vae import VAE, Encoding

SHAPE = (4, 4, 1)
SIGMA = 0.5
WEIGHTS = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)


def vae():
    def encode(images, noise):
        mean = jnp.sum(images * WEIGHTS, axis=(1, 2, 3))[:, None]
        posterior = DiagonalGaussian(mean, jnp.full_like(mean, np.log(SIGMA)))
        return Encoding((posterior,), (mean + SIGMA * noise[0],))

    def decode(latents):
        return latents[0][:, None, None] * (WEIGHTS / np.sum(WEIGHTS**2))

    return VAE(encode, decode, lambda z: (standard_normal(z[0]),), GaussianLikelihood(0.1), (1,), SHAPE)


def optimum(source, target, penalty):
    """(objective, ||d||) of the best attack whose box is not active."""
    a = WEIGHTS.astype(np.float64)
    length = np.sqrt(np.sum(a**2))
    c = abs(np.sum(a * (target - source)))
    t = max(0.0, c / length - penalty * SIGMA**2 / length**2)
    return (length * t - c) ** 2 / (2 * SIGMA**2) + penalty * t, t
