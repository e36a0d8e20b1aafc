"""A VAE that is linear and Gaussian throughout, its measures in closed form, in float64.

z ~ N(0, I), x|z ~ N(W z, s^2 I), q(z|x) = N(A x, diag(std)^2): probabilistic PCA (Tipping and Bishop 1999), with any
encoder.
"""

import dataclasses

import jax.numpy as jnp
import numpy as np

from seatbelt_jax.gaussian import DiagonalGaussian
from seatbelt_jax.likelihood import GaussianLikelihood
from seatbelt_jax.vae import VAE


@dataclasses.dataclass(frozen=True)
class LinearGaussian:
    """Weights W [pixel, latent], s, encoder A [latent, pixel] and std [latent]."""

    weights: np.ndarray
    noise_std: float
    encoder: np.ndarray
    std: np.ndarray

    @classmethod
    def with_exact_posterior(cls, weights, noise_std):
        """For W with orthogonal columns, whose posterior is diagonal."""
        precision = np.eye(weights.shape[1]) + weights.T @ weights / noise_std**2
        assert np.allclose(precision, np.diag(np.diag(precision)))
        return cls(
            weights, noise_std, weights.T / noise_std**2 / np.diag(precision)[:, None], np.diag(precision) ** -0.5
        )

    @property
    def image_shape(self):
        return (1, len(self.weights), 1)

    def vae(self):
        log_std, shape = np.log(self.std).astype(np.float32), self.image_shape

        def encode(image):
            return DiagonalGaussian(jnp.asarray(self.encoder, jnp.float32) @ image.reshape(-1), jnp.asarray(log_std))

        def decode(z):
            return (jnp.asarray(self.weights, jnp.float32) @ z).reshape(shape)

        return VAE.from_functions(encode, decode, image_shape=shape, likelihood=GaussianLikelihood(self.noise_std))

    def draw(self, count, seed=0):
        """Images of the model itself."""
        rng = np.random.default_rng(seed)
        z = rng.normal(size=(count, self.weights.shape[1]))
        x = z @ self.weights.T + self.noise_std * rng.normal(size=(count, len(self.weights)))
        return x.reshape(count, *self.image_shape).astype(np.float32)

    def log_evidence(self, images):
        x = _rows(images)
        covariance = self.weights @ self.weights.T + self.noise_std**2 * np.eye(len(self.weights))
        _, log_determinant = np.linalg.slogdet(2.0 * np.pi * covariance)
        return -0.5 * (np.einsum("ni,ij,nj->n", x, np.linalg.inv(covariance), x) + log_determinant)

    def expected_log_likelihood(self, images, scale=0.0):
        """E log p(x|z) with z ~ q(.|x + scale eps), over z and eps."""
        x = _rows(images)
        through = self.weights @ self.encoder
        spread = np.sum((self.weights * self.std) ** 2) + scale**2 * np.sum(through**2)
        error = np.sum((x - x @ through.T) ** 2, axis=1) + spread
        return -0.5 * error / self.noise_std**2 - 0.5 * x.shape[1] * np.log(2.0 * np.pi * self.noise_std**2)

    def kl(self, images):
        mean = _rows(images) @ self.encoder.T
        return np.sum(0.5 * (self.std**2 + mean**2 - 1.0) - np.log(self.std), axis=1)

    def elbo(self, images):
        return self.expected_log_likelihood(images) - self.kl(images)


def _rows(images):
    return np.asarray(images, np.float64).reshape(len(images), -1)
