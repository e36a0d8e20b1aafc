"""The ELBO of a data set without any beta, split up by its aggregate posterior (Willetts et al. 2021, Thm 1).

For one layer the aggregate posterior is a finite mixture, known exactly. For a hierarchy it is an average over paths
z^1 .. z^{L-1} too, and what depends on it is bracketed.
"""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from seatbelt_jax import elbo, gaussian
from seatbelt_jax.gaussian import DiagonalGaussian
from seatbelt_jax.metrics.batches import Images, check_count, map_images, noise_of_images, number_of
from seatbelt_jax.total_correlation import AggregateDensity, add_mixture, aggregate_bracket, log_mixture
from seatbelt_jax.vae import VAE, Encoding

# A bracket counts as determined where its ends are this close, relative to the larger one or in nats.
_RELATIVE_WIDTH = 0.05
_WIDTH_NATS = 0.05

_log_mixture = jax.jit(log_mixture)
_add_mixture = jax.jit(add_mixture)


class Bracket(NamedTuple):
    """Bounds of a term in nats: their means over images are below and above its mean, in expectation, [image]."""

    lower: Float[np.ndarray, " image"]
    upper: Float[np.ndarray, " image"]


class Brackets(NamedTuple):
    """The terms of a hierarchy that depend on q(z^L), from `paths` fresh paths of every image.

    Attributes:
      mutual_information: E log q(z^L|z^{L-1}, x) / q(z^L): what z^L says of its image and of the path below it
        together. It may exceed log N. It is not the index-code mutual information I(z^L; n).
      total_correlation: E log q(z^L) / prod_j q(z^L_j).
      dimension_wise_kl: E log prod_j q(z^L_j) / p(z^L).
      paths: K.
    """

    mutual_information: Bracket
    total_correlation: Bracket
    dimension_wise_kl: Bracket
    paths: int


@dataclasses.dataclass(frozen=True)
class ElboDecomposition:
    """The terms of the ELBO for some images of a data set, in nats, and how well they are reconstructed.

    In Theorem 1's names: R_a is the mean of -kl[:, 0], R_b that of -sum kl[:, 1:-1] (both for L > 1), S_b that of
    -dimension_wise_kl. S_a is that of -mutual_information for L = 1 only: for L > 1 the theorem prints (its Eq. 7) a
    divergence that takes x and z^{L-1} to be independent, and its proof has E log q(z^L|z^{L-1}, x) / q(z^L), which is
    reported here.

    Attributes:
      terms: of `elbo.decompose` with the estimator "exact", one sample of the latents an image; arrays on the host.
        Where there are brackets, the last three are NaN: no single number is right.
      brackets: of a hierarchy, in place of these three; None where q(z^L|x) does not depend on a path, as for L = 1.
      reconstruction_error: ||x - recon(x)||_2 in pixel units, along the mean path.
      numbers: of the images, in the data set.
      dataset_size: how many images the aggregate posterior has.
    """

    terms: elbo.ElboTerms
    reconstruction_error: Float[np.ndarray, " image"]
    numbers: Int[np.ndarray, " image"]
    dataset_size: int
    brackets: Brackets | None = None

    def means(self) -> dict[str, float | bool]:
        """Means over the images, units in the names; each NAME has the standard error of its mean as NAME_error.

        A bracketed term has NAME_lower, NAME_upper and NAME_determined in place of NAME. It is determined where the
        ends differ by at most 0.05 nats or 5 % of the larger one. An end below 0 is given as 0, which none of these
        divergences is below. Standard errors take images as independent, though all share the fresh paths.
        """
        per_image = {
            "elbo_nats": self.terms.elbo,
            "log_likelihood_nats": self.terms.log_likelihood,
            **{f"kl_{layer}_nats": column for layer, column in enumerate(np.asarray(self.terms.kl).T, 1)},
        }
        names = ("mutual_information", "total_correlation", "dimension_wise_kl")
        if self.brackets is None:
            per_image |= {f"{name}_nats": getattr(self.terms, name) for name in names}
        found = _means({**per_image, "reconstruction_error_l2": self.reconstruction_error})
        for name in names if self.brackets is not None else ():
            ends = getattr(self.brackets, name)
            bounds = _means({f"{name}_nats_{end}": getattr(ends, end) for end in ("lower", "upper")})
            lower, upper = (max(bounds[f"{name}_nats_{end}"], 0.0) for end in ("lower", "upper"))
            found |= {**bounds, f"{name}_nats_lower": lower, f"{name}_nats_upper": upper}
            found[f"{name}_nats_determined"] = upper - lower <= max(_WIDTH_NATS, _RELATIVE_WIDTH * upper)
        return found


def _means(per_image: dict[str, Float[Array | np.ndarray, " image"]]) -> dict[str, float | bool]:
    found: dict[str, float | bool] = {}
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
    paths: int = 16,
    progress: bool = False,
) -> ElboDecomposition:
    """Every term of the ELBO, with the aggregate posterior q(z^L) = (1/N) sum_n q(z^L|x_n) of all N images.

    For one layer, and wherever q(z^L|x) does not depend on the layers below (a JointVAE), the terms are exact up to
    the sampling of latents. For a hierarchy q(z^L|x_n) is an average over paths z^1 .. z^{L-1}, and the terms that
    depend on it are brackets from K fresh paths of every image, see `total_correlation.aggregate_bracket`. Bounds
    combine crosswise: total correlation is at least the joint's lower bound less the marginals' upper ones. The
    bracket closes as K grows, but only where a path tells little of z^L beyond x. The lower layers' terms are no
    divergences, see `elbo`.

    Time grows as num_images x N x K x the top layer's width, memory as N x that width.

    Args:
      images: the data set.
      key: of the latents, one sample an image, and of the paths.
      num_images: how many images, drawn without repetition, the terms are found for; all N if None.
      batch_size: images at once.
      paths: K, fresh paths of every image; for a hierarchy alone.
      progress: whether a terminal sees progress bars.

    Raises:
      ValueError: for images that are not the model's, a number of them below 1 or above N, or fewer paths than 1.
      TypeError: where the top layer is not Gaussian.
    """
    size = number_of(images)
    num_images = size if num_images is None else num_images
    check_count("num_images", num_images)
    check_count("paths", paths)
    if num_images > size:
        raise ValueError(f"num_images is {num_images}, but there are {size} images")
    vae = vae.traced()
    order, noise_key, path_keys = _draw(key, size, paths)
    numbers = np.sort(np.asarray(order)[:num_images]) if num_images < size else np.arange(size)

    def components(key: PRNGKeyArray, description: str) -> DiagonalGaussian:
        """q(z^L|path, x_n) along one path of every image."""
        found = map_images(
            _top_posterior, vae, images, key, batch_size=batch_size, progress=progress, description=description
        )
        return jax.device_put(found)

    own = components(noise_key, "aggregate posterior")
    terms, error, top = map_images(
        _decompose,
        vae,
        images,
        noise_key,
        own,
        batch_size=batch_size,
        numbers=numbers,
        settings={"dataset_size": size},
        progress=progress,
        description="ELBO",
    )
    if len(vae.latent_sizes) == 1:
        return ElboDecomposition(terms, error, numbers, size)
    pooled: AggregateDensity | None = None
    for number in range(paths):
        fresh = components(path_keys[number], f"path {number + 1} of {paths}")
        if number == 0 and all(jax.tree.leaves(jax.tree.map(np.array_equal, fresh, own))):
            # Paths make no difference: q(z^L|x) is one Gaussian, and the terms are exact.
            return ElboDecomposition(terms, error, numbers, size)
        density = _density(top.latent, fresh, batch_size)
        pooled = density if pooled is None else _add_mixture(pooled, density, number)
    assert pooled is not None
    ends = _brackets(top, pooled, _density(top.latent, own, batch_size), paths)
    information, correlation, dimension_wise = (Bracket(*map(np.asarray, bracket)) for bracket in ends)
    brackets = Brackets(information, correlation, dimension_wise, paths)
    unknown = np.full(len(numbers), np.nan, np.float32)
    terms = dataclasses.replace(terms, mutual_information=unknown, total_correlation=unknown, dimension_wise_kl=unknown)
    return ElboDecomposition(terms, error, numbers, size, brackets)


@functools.partial(jax.jit, static_argnums=(1, 2))
def _draw(
    key: PRNGKeyArray, size: int, paths: int
) -> tuple[Int[Array, " image"], PRNGKeyArray, tuple[PRNGKeyArray, ...]]:
    """An order of the images, the key of their latents, and one of each fresh path."""
    choice_key, noise_key = jax.random.split(key)
    # No image has the number `size`: these keys draw no noise of `noise_key`.
    path_keys = jax.random.split(jax.random.fold_in(noise_key, size), paths)
    return jax.random.permutation(choice_key, size), noise_key, tuple(path_keys)


def _encode(
    vae: VAE, images: Float[Array, "batch *image"], numbers: Int[Array, " batch"], key: PRNGKeyArray
) -> Encoding:
    return vae.encode(images, noise_of_images(key, vae.latent_sizes, numbers))


def _top_posterior(
    vae: VAE, images: Float[Array, "batch *image"], numbers: Int[Array, " batch"], key: PRNGKeyArray
) -> DiagonalGaussian:
    top = _encode(vae, images, numbers, key).posteriors[-1]
    if not isinstance(top, DiagonalGaussian):
        raise TypeError(f"the top layer must be Gaussian, got {type(top).__name__}")
    return top


class _Top(NamedTuple):
    """The top layer's samples [image, latent], log q(z^L|z^{L-1}, x) and log p(z^L) at them [image]."""

    latent: Float[Array | np.ndarray, "image latent"]
    log_posterior: Float[Array | np.ndarray, " image"]
    log_prior: Float[Array | np.ndarray, " image"]


def _decompose(
    vae: VAE,
    images: Float[Array, "batch *image"],
    numbers: Int[Array, " batch"],
    key: PRNGKeyArray,
    aggregate: DiagonalGaussian,
    *,
    dataset_size: int,
) -> tuple[elbo.ElboTerms, Float[Array, " batch"], _Top]:
    """The terms, the reconstruction error, and what brackets are made of."""
    encoding = _encode(vae, images, numbers, key)
    prior = vae.prior(encoding.latents)
    terms = elbo.decompose(
        vae.likelihood.log_prob(vae.decode(encoding.latents), images),
        encoding,
        prior,
        dataset_size=dataset_size,
        estimator="exact",
        aggregate=aggregate,
    )
    difference = (images - vae.reconstruct(images)).reshape(images.shape[0], -1)
    latent = encoding.latents[-1]
    # `elbo.decompose` has refused others.
    densities = [
        gaussian.log_prob(q, latent) for q in (encoding.posteriors[-1], prior[-1]) if isinstance(q, DiagonalGaussian)
    ]
    return terms, jnp.linalg.norm(difference, axis=-1), _Top(latent, *densities)


def _density(
    latents: Float[np.ndarray, "image latent"], components: DiagonalGaussian, batch_size: int
) -> AggregateDensity:
    """The mixture's log densities at all latents, a batch at a time."""
    size, parts = min(batch_size, len(latents)), []
    for start in range(0, len(latents), size):
        rows = np.arange(start, start + size)
        # The last batch is filled up: one program for all.
        found = _log_mixture(latents[np.where(rows < len(latents), rows, start)], components)
        parts.append(jax.tree.map(lambda leaf, start=start: np.asarray(leaf)[: len(latents) - start], found))
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)


@jax.jit
def _brackets(
    top: _Top, pooled: AggregateDensity, own: AggregateDensity, paths: Int[Array, ""]
) -> tuple[tuple[Array | np.ndarray, Array | np.ndarray], ...]:
    """The ends of the three brackets: a lower bound of what is added less an upper one of what is taken away."""
    lower, upper = aggregate_bracket(pooled, own, paths)
    return (
        (top.log_posterior - upper.joint, top.log_posterior - lower.joint),
        (lower.joint - upper.product, upper.joint - lower.product),
        (lower.product - top.log_prior, upper.product - top.log_prior),
    )
