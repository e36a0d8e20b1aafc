"""log p(x) by importance sampling from the inference network (Burda, Grosse and Salakhutdinov 2016)."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from seatbelt_jax import gaussian
from seatbelt_jax.gaussian import DiagonalGaussian
from seatbelt_jax.metrics.batches import Images, check_count, map_images, noise_of_images
from seatbelt_jax.posterior import Posterior
from seatbelt_jax.vae import VAE, Encoding, Inference, Latents


@dataclasses.dataclass(frozen=True)
class ImportanceWeightedBound:
    """What k samples say of log p(x), per image.

    Attributes:
      log_likelihood: log (1/k) sum_s w_s in nats. Its expectation lies below log p(x) and rises with k; k = 1 is
        the ELBO.
      effective_sample_size: (sum w)^2 / sum w^2, between 1 and k. Where it is near 1 one sample made the
        estimate, which is then likely to lie far below log p(x).
      num_samples: k.
    """

    log_likelihood: Float[np.ndarray, " image"]
    effective_sample_size: Float[np.ndarray, " image"]
    num_samples: int


def importance_weighted_bound(
    vae: VAE, images: Images, key: PRNGKeyArray, *, num_samples: int, batch_size: int = 64, progress: bool = False
) -> ImportanceWeightedBound:
    """The importance-weighted bound of log p(x) with k samples of all latents (Burda et al. 2016, Eq. 8).

    w = p(x|z) prod_i p(z^i|z^{i+1}) / prod_i q(z^i|z^{i-1}, x), with z^1 .. z^L drawn from the inference network.
    Samples are taken one after the other: memory does not grow with k. The image is read once, where the model has
    its inference network in parts.

    Args:
      images: of the model.
      key: of the latents.
      num_samples: k.
      batch_size: images at once.
      progress: whether a terminal sees a progress bar.

    Raises:
      ValueError: for images that are not the model's, or counts below 1.
      TypeError: for a layer that is not Gaussian: samples of Concrete variables do not have the categorical
        distribution's probability, and the relaxed model is another.
    """
    check_count("num_samples", num_samples)

    log_likelihood, effective_sample_size = map_images(
        _bound,
        vae,
        images,
        key,
        np.int32(num_samples),
        batch_size=batch_size,
        progress=progress,
        description="log p(x)",
    )
    return ImportanceWeightedBound(log_likelihood, effective_sample_size, num_samples)


def _bound(
    vae: VAE,
    images: Float[Array, "batch *image"],
    numbers: Int[Array, " batch"],
    key: PRNGKeyArray,
    num_samples: Int[Array, ""],
) -> tuple[Float[Array, " batch"], Float[Array, " batch"]]:
    """The bound and the effective sample size."""
    encode = functools.partial(vae.encode, images)
    if vae.inference is not None:
        encode = functools.partial(_encode, vae.inference, vae.inference.features(images))

    def log_weight(number: Int[Array, ""]) -> Float[Array, " batch"]:
        noise = noise_of_images(jax.random.fold_in(key, number), vae.latent_sizes, numbers)
        return _log_weight(vae, images, encode(noise))

    # The least number, and not -inf: differences of it are still numbers.
    dtype = jax.eval_shape(log_weight, jax.ShapeDtypeStruct((), jnp.int32)).dtype
    least = jnp.full(images.shape[0], jnp.finfo(dtype).min, dtype)
    nothing = least, jnp.zeros_like(least), jnp.zeros_like(least)
    highest, total, squares = jax.lax.fori_loop(
        0, num_samples, lambda number, sums: _add(sums, log_weight(number)), nothing
    )
    return highest + jnp.log(total / num_samples), jnp.square(total) / squares


def _encode(inference: Inference, features: Float[Array, "batch feature"], noise: Latents) -> Encoding:
    """`vae.encode` from the features of the images."""
    posteriors: tuple[Posterior, ...] = ()
    latents: Latents = ()
    for layer_noise in noise:
        q = inference.posterior(features, latents)
        if not isinstance(q, DiagonalGaussian):
            raise _not_gaussian(q)
        posteriors, latents = (*posteriors, q), (*latents, gaussian.sample(q, layer_noise))
    return Encoding(posteriors, latents)


def _log_weight(vae: VAE, images: Float[Array, "batch *image"], encoding: Encoding) -> Float[Array, " batch"]:
    log_weight = vae.likelihood.log_prob(vae.decode(encoding.latents), images)
    for q, p, z in zip(encoding.posteriors, vae.prior(encoding.latents), encoding.latents, strict=True):
        if not (isinstance(q, DiagonalGaussian) and isinstance(p, DiagonalGaussian)):
            raise _not_gaussian(q)
        log_weight += gaussian.log_prob(p, z) - gaussian.log_prob(q, z)
    return log_weight


def _not_gaussian(q: Posterior) -> TypeError:
    return TypeError(
        f"importance weights are ratios of densities, but there is a layer of {type(q).__name__} latents; this bound "
        "is for models whose layers are all Gaussian"
    )


def _add(sums: tuple[Array, Array, Array], log_weight: Float[Array, " batch"]) -> tuple[Array, Array, Array]:
    """(m, sum w e^-m, sum w^2 e^-2m) of one weight more, m the largest logarithm so far."""
    highest, total, squares = sums
    new = jnp.maximum(highest, log_weight)
    shrink, own = jnp.exp(highest - new), jnp.exp(log_weight - new)
    return new, total * shrink + own, squares * jnp.square(shrink) + jnp.square(own)
