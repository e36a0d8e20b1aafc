"""How wide the posteriors are: ||sigma(x)|| per image and layer (Willetts et al. 2021, Fig. 2)."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from seatbelt_jax.gaussian import DiagonalGaussian
from seatbelt_jax.metrics.batches import Images, map_images, noise_of_images
from seatbelt_jax.vae import VAE


def posterior_std_norms(
    vae: VAE, images: Images, key: PRNGKeyArray | None = None, *, batch_size: int = 256, progress: bool = False
) -> tuple[Float[np.ndarray, " image"], ...]:
    """||sigma^i(x)||_2 of q(z^i|z^{i-1}, x), in latent units, for every layer, layer 1 first.

    Layers above the first are looked at along the mean path, or along one sampled path an image where there is a key.
    NaN for layers of Concrete latents, which have no standard deviation.

    Args:
      images: of the model.
      key: of the sampled paths.
      batch_size: images at once.
      progress: whether a terminal sees a progress bar.

    Raises:
      ValueError: for images that are not the model's.
    """
    return map_images(_norms, vae, images, key, batch_size=batch_size, progress=progress, description="||sigma(x)||")


def _norms(
    vae: VAE, images: Float[Array, "batch *image"], numbers: Int[Array, " batch"], key: PRNGKeyArray | None
) -> tuple[Array, ...]:
    size = images.shape[0]
    noise = vae.mean_path(size) if key is None else noise_of_images(key, vae.latent_sizes, numbers)
    return tuple(
        jnp.linalg.norm(q.std, axis=-1) if isinstance(q, DiagonalGaussian) else jnp.full(size, jnp.nan)
        for q in vae.encode(images, noise).posteriors
    )
