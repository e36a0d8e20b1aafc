"""Linear-Gaussian inference of any depth, where q(z^L|x) is a Gaussian in closed form.

q(z^1|x) = N(A_1 x, s_1^2), q(z^i|z^{i-1}) = N(A_i z^{i-1}, s_i^2), so that q(z^L|x) = N(C x, S) with
C_i = A_i C_{i-1} and S_i = A_i S_{i-1} A_i^T + s_i^2 I.
"""

import dataclasses

import jax.numpy as jnp
import numpy as np
from scipy import special, stats

from seatbelt_jax import gaussian
from seatbelt_jax.gaussian import DiagonalGaussian
from seatbelt_jax.likelihood import GaussianLikelihood
from seatbelt_jax.vae import VAE, Encoding


@dataclasses.dataclass(frozen=True)
class DeepLinear:
    latent_sizes: tuple[int, ...]
    stds: tuple[float, ...]
    weight: float = 1.0  # of every layer on the one below; layer 1 reads x in any case

    @property
    def maps(self):
        random = np.random.default_rng(0)
        inputs = (self.latent_sizes[0], *self.latent_sizes[:-1])
        scales = (1.0, *[self.weight] * (len(inputs) - 1))
        return [
            scale * random.normal(size=(output, size)) / np.sqrt(size)
            for scale, output, size in zip(scales, self.latent_sizes, inputs, strict=True)
        ]

    @property
    def image_shape(self):
        return (1, self.latent_sizes[0], 1)

    def draw(self, number):
        return np.random.default_rng(1).normal(size=(number, *self.image_shape)).astype(np.float32)

    def vae(self):
        def encode(images, noise):
            latent, posteriors, latents = images.reshape(len(images), -1), [], []
            for matrix, std, of_layer in zip(self.maps, self.stds, noise, strict=True):
                mean = jnp.dot(latent, matrix.T.astype(np.float32), precision="highest")
                posteriors.append(DiagonalGaussian(mean, jnp.full_like(mean, np.log(std))))
                latent = gaussian.sample(posteriors[-1], of_layer)
                latents.append(latent)
            return Encoding(tuple(posteriors), tuple(latents))

        def prior(latents):
            return tuple(gaussian.standard_normal(latent) for latent in latents)

        def decode(latents):
            return latents[0].reshape(-1, *self.image_shape)

        return VAE(encode, decode, prior, GaussianLikelihood(), self.latent_sizes, self.image_shape)

    def terms(self, pictures, encoding):
        """The terms of the ELBO that depend on q(z^L), at the top layer's samples, with the exact q(z^L)."""
        mean, covariance = pictures.reshape(len(pictures), -1).astype(np.float64), 0.0
        for matrix, std in zip(self.maps, self.stds, strict=True):
            mean = mean @ matrix.T
            covariance = matrix @ covariance @ matrix.T if np.ndim(covariance) else 0.0
            covariance = covariance + std**2 * np.eye(len(matrix))
        z = np.asarray(encoding.latents[-1], np.float64)
        white = np.linalg.inv(np.linalg.cholesky(covariance))
        deviations = z[:, None] - mean
        log_joint = stats.norm.logpdf(deviations @ white.T).sum(axis=-1) + np.linalg.slogdet(white)[1]
        log_marginals = stats.norm.logpdf(deviations, scale=np.sqrt(np.diag(covariance)))
        joint = special.logsumexp(log_joint, axis=1) - np.log(len(z))
        product = np.sum(special.logsumexp(log_marginals, axis=1) - np.log(len(z)), axis=1)
        conditional = np.asarray(gaussian.log_prob(encoding.posteriors[-1], encoding.latents[-1]), np.float64)
        return {
            "mutual_information": conditional - joint,
            "total_correlation": joint - product,
            "dimension_wise_kl": product - stats.norm.logpdf(z).sum(axis=1),
        }
