"""How well noisy images are decoded to what they were (Willetts et al. 2021, Fig. F.12)."""

from collections.abc import Sequence

import jax
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from seatbelt_jax.metrics.batches import Images, map_images, noise_of_images
from seatbelt_jax.vae import VAE

# Fig. F.12's, in units of the images.
SCALES = (0.1, 0.5, 1.0)


def noise_robustness(
    vae: VAE,
    images: Images,
    key: PRNGKeyArray,
    *,
    scales: Sequence[float] = SCALES,
    batch_size: int = 256,
    progress: bool = False,
) -> Float[np.ndarray, "scale image"]:
    """log p(x|z) in nats with z ~ q(.|x + a eps), eps ~ N(0, I), for each scale a. Higher means better denoising.

    The noisy image is not clipped to the image range, which the paper does not mention. An image's eps and the noise of
    its one latent sample are the same for all scales, so only the scale differs. a = 0 gives the likelihood without
    noise.

    Args:
      images: of the model.
      key: of the noise.
      scales: a, in pixel units.
      batch_size: images at once.
      progress: whether a terminal sees a progress bar.

    Raises:
      ValueError: for images that are not the model's, or scales that are none or no numbers >= 0.
    """
    amplitudes = np.asarray(scales, np.float32)
    if amplitudes.ndim != 1 or not amplitudes.size or not np.all(np.isfinite(amplitudes) & (amplitudes >= 0.0)):
        raise ValueError(f"scales must list finite numbers >= 0, got {scales}")
    found = map_images(
        _log_likelihoods,
        vae,
        images,
        key,
        amplitudes,
        batch_size=batch_size,
        progress=progress,
        description="noise robustness",
    )
    return found.T


def _log_likelihoods(
    vae: VAE,
    images: Float[Array, "batch *image"],
    numbers: Int[Array, " batch"],
    key: PRNGKeyArray,
    scales: Float[Array, " scale"],
) -> Float[Array, "batch scale"]:
    pixel_key, latent_key = jax.random.split(key)
    (flat,) = noise_of_images(pixel_key, (images[0].size,), numbers)
    noise, eps = noise_of_images(latent_key, vae.latent_sizes, numbers), flat.reshape(images.shape)

    def at(scale: Float[Array, ""]) -> Float[Array, " batch"]:
        latents = vae.encode(images + scale * eps, noise).latents
        return vae.likelihood.log_prob(vae.decode(latents), images)

    return jax.lax.map(at, scales).T
