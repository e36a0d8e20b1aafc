"""The ELBO of a data set without any beta, split up by its exact aggregate posterior (Willetts et al. 2021, Thm 1)."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from seatbelt_jax import elbo
from seatbelt_jax.gaussian import DiagonalGaussian
from seatbelt_jax.metrics.batches import Images, check_count, map_images, noise_of_images, number_of
from seatbelt_jax.vae import VAE, Encoding


@dataclasses.dataclass(frozen=True)
class ElboDecomposition:
    """The terms of the ELBO for some images of a data set, in nats, and how well they are reconstructed.

    In Theorem 1's names: R_a is the mean of -kl[:, 0], R_b that of -sum kl[:, 1:-1] (both for L > 1), S_a that of
    -mutual_information and S_b that of -dimension_wise_kl.

    Attributes:
      terms: of `elbo.decompose` with the estimator "exact", one sample of the latents an image; arrays on the host.
      reconstruction_error: ||x - recon(x)||_2 in pixel units, along the mean path.
      numbers: of the images, in the data set.
      dataset_size: how many components the aggregate posterior has.
    """

    terms: elbo.ElboTerms
    reconstruction_error: Float[np.ndarray, " image"]
    numbers: Int[np.ndarray, " image"]
    dataset_size: int

    def means(self) -> dict[str, float]:
        """Means over the images, units in the names; each NAME has the standard error of its mean as NAME_error."""
        per_image = {
            "elbo_nats": self.terms.elbo,
            "log_likelihood_nats": self.terms.log_likelihood,
            **{f"kl_{layer}_nats": column for layer, column in enumerate(np.asarray(self.terms.kl).T, 1)},
            "mutual_information_nats": self.terms.mutual_information,
            "total_correlation_nats": self.terms.total_correlation,
            "dimension_wise_kl_nats": self.terms.dimension_wise_kl,
            "reconstruction_error_l2": self.reconstruction_error,
        }
        found = {}
        for name, values in per_image.items():
            values = np.asarray(values, np.float64)
            found[name] = float(np.mean(values))
            spread = np.std(values, ddof=1) if len(values) > 1 else np.nan
            found[f"{name}_error"] = float(spread / np.sqrt(len(values)))
        return found


def elbo_decomposition(
    vae: VAE,
    images: Images,
    key: PRNGKeyArray,
    *,
    num_images: int | None = None,
    batch_size: int = 256,
    progress: bool = False,
) -> ElboDecomposition:
    """Every term of the ELBO, with the aggregate posterior q(z^L) = (1/N) sum_n q(z^L|z_n^{L-1}, x_n) of all N images.

    For several layers the components are those of one sampled path z_n^1 .. z_n^{L-1} for each image (Willetts et al.
    2021, Eq. 43), and the terms are those of this mixture: its mutual information cannot exceed log N. The lower
    layers' terms are no divergences, see `elbo`.

    Time grows as num_images x N x the top layer's width, memory as N x that width.

    Args:
      images: the data set.
      key: of the latents, one sample an image.
      num_images: how many images, drawn without repetition, the terms are found for; all N if None.
      batch_size: images at once.
      progress: whether a terminal sees progress bars.

    Raises:
      ValueError: for images that are not the model's, or a number of them below 1 or above N.
      TypeError: where the top layer is not Gaussian.
    """
    size = number_of(images)
    num_images = size if num_images is None else num_images
    check_count("num_images", num_images)
    if num_images > size:
        raise ValueError(f"num_images is {num_images}, but there are {size} images")
    choice_key, noise_key = jax.random.split(key)
    order = jax.random.permutation(choice_key, size) if num_images < size else jnp.arange(size)
    numbers = np.sort(np.asarray(order)[:num_images])

    def encode(batch: Float[Array, "batch *image"], index: Int[Array, " batch"]) -> Encoding:
        return vae.encode(batch, noise_of_images(noise_key, vae.latent_sizes, index))

    def top_posterior(batch: Float[Array, "batch *image"], index: Int[Array, " batch"]) -> DiagonalGaussian:
        top = encode(batch, index).posteriors[-1]
        if not isinstance(top, DiagonalGaussian):
            raise TypeError(f"the top layer must be Gaussian, got {type(top).__name__}")
        return top

    aggregate = jax.device_put(
        map_images(
            top_posterior, images, vae=vae, batch_size=batch_size, progress=progress, description="aggregate posterior"
        )
    )

    def decompose(
        batch: Float[Array, "batch *image"], index: Int[Array, " batch"], aggregate: DiagonalGaussian
    ) -> tuple[elbo.ElboTerms, Array]:
        encoding = encode(batch, index)
        terms = elbo.decompose(
            vae.likelihood.log_prob(vae.decode(encoding.latents), batch),
            encoding,
            vae.prior(encoding.latents),
            dataset_size=size,
            estimator="exact",
            aggregate=aggregate,
        )
        difference = (batch - vae.reconstruct(batch)).reshape(batch.shape[0], -1)
        return terms, jnp.linalg.norm(difference, axis=-1)

    terms, error = map_images(
        decompose,
        images,
        aggregate,
        vae=vae,
        batch_size=batch_size,
        numbers=numbers,
        progress=progress,
        description="ELBO",
    )
    return ElboDecomposition(terms, error, numbers, size)
