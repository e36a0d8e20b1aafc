"""How good a model is on held-out images: the ELBO without beta, reconstructions, samples."""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from seatbelt_jax import elbo
from seatbelt_jax.metrics.active_units import THRESHOLD, unit_means
from seatbelt_jax.metrics.traversal import traversal_noise
from seatbelt_jax.total_correlation import Estimator
from seatbelt_jax.training.step import term_means
from seatbelt_jax.vae import VAE

# Stratified sampling estimates total correlation without the constant (D-1) log N of "mws". For L > 1 it is the
# one-path surrogate that training uses; `metrics.elbo_decomposition` brackets the truth.
_ESTIMATOR: Estimator = "mss"
_NUM_SHOWN = 16
_NUM_TRAVERSED = 10


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What a look at the model at one step found.

    Attributes:
      metrics: means over the validation images; `reconstruction_error` is ||x - recon(x)||_2 in pixel
        units, and `active_units_1` how many units of layer 1 are active, both along the mean path.
      images, reconstructions, samples: for looking at, [shown, height, width, channels].
      traversals: the first units of the top layer moved one by one, a row each, the others and the layers below at
        their means.
    """

    metrics: Mapping[str, Float[Array, ""]]
    images: Float[Array, "shown height width channels"]
    reconstructions: Float[Array, "shown height width channels"]
    samples: Float[Array, "shown height width channels"]
    traversals: Float[Array, "unit value height width channels"]

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
    means = unit_means(vae, images, vae.mean_path(images.shape[0]))
    for layer, of_images in enumerate(means, 1):
        metrics[f"active_units_{layer}"] = jnp.sum(jnp.var(of_images, axis=0, ddof=1) > THRESHOLD)
    moved = traversal_noise(vae, len(vae.latent_sizes), coordinates=range(min(_NUM_TRAVERSED, vae.latent_sizes[-1])))
    traversals = vae.generate(tuple(jnp.asarray(layer.reshape(-1, layer.shape[-1])) for layer in moved))
    samples = vae.generate(vae.sample_noise(sample_key, min(_NUM_SHOWN, len(images))))
    return Evaluation(
        metrics=metrics,
        images=images[:_NUM_SHOWN],
        reconstructions=reconstructions[:_NUM_SHOWN],
        samples=samples,
        traversals=traversals.reshape(*moved[0].shape[:2], *traversals.shape[1:]),
    )
