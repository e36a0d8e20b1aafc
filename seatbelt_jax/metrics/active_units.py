"""Which latent units tell images apart (Burda, Grosse and Salakhutdinov 2016, Sec. 5.1)."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from seatbelt_jax import concrete
from seatbelt_jax.gaussian import DiagonalGaussian
from seatbelt_jax.metrics.batches import Images, check_count, map_images, noise_of_images
from seatbelt_jax.posterior import Posterior
from seatbelt_jax.vae import VAE, Latents

# A unit is active if its mean's variance over images is above this (Burda et al. 2016).
THRESHOLD = 0.01


@dataclasses.dataclass(frozen=True)
class ActiveUnits:
    """How much each unit's posterior mean varies over the images.

    Attributes:
      activity: A_u = Var_x(E_q[u|x]) per layer, layer 1 first, each [latent]. For Concrete latents the units are the
        classes, and the means are their probabilities.
      threshold: a unit is active if its activity is above this.
    """

    activity: tuple[Float[np.ndarray, " latent"], ...]
    threshold: float

    @property
    def active(self) -> tuple[Bool[np.ndarray, " latent"], ...]:
        return tuple(layer > self.threshold for layer in self.activity)

    @property
    def counts(self) -> tuple[int, ...]:
        """The number of active units of each layer."""
        return tuple(int(layer.sum()) for layer in self.active)


def active_units(
    vae: VAE,
    images: Images,
    key: PRNGKeyArray | None = None,
    *,
    num_samples: int = 0,
    threshold: float = THRESHOLD,
    batch_size: int = 256,
    progress: bool = False,
) -> ActiveUnits:
    """A_u of every unit of every layer, and the units for which it is above 0.01 (Burda et al. 2016).

    E_q[u|x] of layer i > 1 is an average over the layers below. By default those follow their means (the mean
    path): one encoding an image, exact for layer 1. With `num_samples` K > 1 they are sampled, E_q[u|x] is the mean
    of K posterior means, and the variance that is left of their noise, 1/K of that within images, is subtracted:
    A_u is then unbiased, and may come out slightly negative for a unit that is not active.

    Args:
      images: at least 2.
      key: of the samples; not needed along the mean path.
      num_samples: K, 0 for the mean path.
      threshold: for `ActiveUnits.active`.
      batch_size: images at once.
      progress: whether a terminal sees a progress bar.

    Raises:
      ValueError: for images that are not the model's, fewer than 2, K = 1 or below 0, samples without a key, or a
        negative threshold.
    """
    check_count("num_samples", num_samples, least=0)
    if num_samples == 1:
        raise ValueError(
            "num_samples must be 0, for the mean path, or at least 2: one sample does not tell how large its noise is"
        )
    if num_samples and key is None:
        raise ValueError(f"num_samples is {num_samples}: give a key to sample with")
    if not threshold >= 0.0:
        raise ValueError(f"threshold must be a variance >= 0, got {threshold}")

    mean, noise = map_images(
        _means,
        vae,
        images,
        key if num_samples else None,
        batch_size=batch_size,
        settings={"num_samples": num_samples},
        progress=progress,
        description="active units",
    )
    if len(mean[0]) < 2:
        raise ValueError("activity is a variance over images: give at least 2")
    activity = tuple(
        np.var(layer, axis=0, ddof=1, dtype=np.float64) - np.mean(left, axis=0, dtype=np.float64)
        for layer, left in zip(mean, noise, strict=True)
    )
    return ActiveUnits(activity, threshold)


def _means(
    vae: VAE,
    images: Float[Array, "batch *image"],
    numbers: Int[Array, " batch"],
    key: PRNGKeyArray | None,
    *,
    num_samples: int,
) -> tuple[Latents, Latents]:
    """E_q[u|x] of every unit, and the variance of the estimate; along the mean path where there is no key."""
    if key is None:
        found = unit_means(vae, images, vae.mean_path(images.shape[0]))
        return found, jax.tree.map(jnp.zeros_like, found)

    def sample(number: Int[Array, ""]) -> Latents:
        return unit_means(vae, images, noise_of_images(jax.random.fold_in(key, number), vae.latent_sizes, numbers))

    sampled = jax.lax.map(sample, jnp.arange(num_samples))
    noise = jax.tree.map(lambda layer: jnp.var(layer, axis=0, ddof=1) / num_samples, sampled)
    return jax.tree.map(lambda layer: jnp.mean(layer, axis=0), sampled), noise


def unit_means(vae: VAE, images: Float[Array, "batch *image"], noise: Latents) -> Latents:
    """E_q[u|x] of every layer's units, those below following `noise`; of Concrete ones the classes' probabilities."""
    return tuple(map(_mean, vae.encode(images, noise).posteriors))


def _mean(q: Posterior) -> Float[Array, "batch latent"]:
    return q.mean if isinstance(q, DiagonalGaussian) else jnp.exp(concrete.log_probabilities(q))
