"""How good a model is on held-out images: the ELBO without beta, reconstructions, samples."""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from seatbelt_jax import elbo
from seatbelt_jax.total_correlation import Estimator
from seatbelt_jax.training.step import term_means
from seatbelt_jax.vae import VAE

# Stratified sampling estimates total correlation without the constant (D-1) log N of "mws".
_ESTIMATOR: Estimator = "mss"
_NUM_SHOWN = 16


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What a look at the model at one step found.

    Attributes:
      metrics: means over the validation images; `reconstruction_error` is ||x - recon(x)||_2 in pixel
        units, along the mean path.
      images, reconstructions, samples: for looking at, [shown, height, width, channels].
    """

    metrics: Mapping[str, Float[Array, ""]]
    images: Float[Array, "shown height width channels"]
    reconstructions: Float[Array, "shown height width channels"]
    samples: Float[Array, "shown height width channels"]

    @property
    def pictures(self) -> dict[str, Float[Array, "shown height width channels"]]:
        return {"images": self.images, "reconstructions": self.reconstructions, "samples": self.samples}


def evaluate(
    vae: VAE, images: Float[Array, "batch height width channels"], key: PRNGKeyArray, *, dataset_size: int
) -> Evaluation:
    """Evaluates a model, in evaluation mode, on one batch of validation images; pure.

    Args:
      key: of the posterior samples and the generated images.
      dataset_size: N of the total correlation's stratified estimate.
    """
    noise_key, sample_key = jax.random.split(key)
    noise = vae.sample_noise(noise_key, images.shape[0])
    encoding = vae.encode(images, noise)
    terms = elbo.decompose(
        vae.likelihood.log_prob(vae.decode(encoding.latents), images),
        encoding,
        vae.prior(encoding.latents),
        dataset_size=dataset_size,
        estimator=_ESTIMATOR,
    )
    reconstructions = vae.reconstruct(images)
    error = jnp.linalg.norm((images - reconstructions).reshape(images.shape[0], -1), axis=-1)
    metrics = {**term_means(terms, _ESTIMATOR), "reconstruction_error": jnp.mean(error)}
    samples = vae.generate(vae.sample_noise(sample_key, min(_NUM_SHOWN, len(images))))
    return Evaluation(
        metrics=metrics,
        images=images[:_NUM_SHOWN],
        reconstructions=reconstructions[:_NUM_SHOWN],
        samples=samples,
    )
