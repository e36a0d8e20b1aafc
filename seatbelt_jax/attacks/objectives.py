"""What an attacker minimises over the adversarial image, for one source, target and penalty."""

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from seatbelt_jax import posterior
from seatbelt_jax.posterior import Posterior
from seatbelt_jax.sections import check_choice
from seatbelt_jax.vae import VAE

Divergence = Literal["kl"]
Layers = Literal["all", "top", "bottom"]
Distance = Callable[[Float[Array, "height width channels"], tuple[Posterior, ...]], Float[Array, ""]]

_DIVERGENCES: Mapping[str, Callable[[Posterior, Posterior], Array]] = {"kl": posterior.kl_divergence}


class Problem(NamedTuple):
    """One attack: where it starts, where its reconstruction shall go, and what distortion costs.

    Attributes:
      source: the image that is distorted.
      target: the posteriors of the target image, layer 1 first, of one image each.
      penalty: lambda, nats per unit of L2 distortion.
    """

    source: Float[Array, "height width channels"]
    target: tuple[Posterior, ...]
    penalty: Float[Array, ""]


def posteriors(vae: VAE, images: Float[Array, "batch height width channels"]) -> tuple[Posterior, ...]:
    """q(z^i|x) of every layer along the mean path: layer i is conditioned on layer i-1's mean."""
    return vae.encode(images, vae.mean_path(images.shape[0])).posteriors


def latent_divergence(vae: VAE, *, divergence: Divergence = "kl", layers: Layers = "all") -> Distance:
    """The attacker's distance sum_{i in layers} r(q(z^i|x'), q(z^i|x^t)), in nats for "kl".

    Willetts et al. 2021, Eq. 10 without its penalty, each posterior along its own image's mean path.

    Raises:
      ValueError: for an unknown divergence or choice of layers.
    """
    check_choice("divergence", divergence, get_args(Divergence))
    check_choice("layers", layers, get_args(Layers))
    distance = _DIVERGENCES[divergence]
    depth = len(vae.latent_sizes)
    chosen = {"all": range(depth), "top": range(depth - 1, depth), "bottom": range(1)}[layers]

    def value(image: Array, target: tuple[Posterior, ...]) -> Array:
        attacked = jax.tree.map(lambda leaf: leaf[0], posteriors(vae, image[None]))
        return sum((distance(attacked[layer], target[layer]) for layer in chosen), jnp.zeros(()))

    return value


def l2_norm(values: Array) -> Float[Array, ""]:
    """||values||_2, with gradient 0 at 0, where it has none."""
    squared = jnp.sum(jnp.square(values))
    positive = squared > 0.0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, squared, 1.0)), 0.0)


def penalised(distance: Distance) -> Callable[[Float[Array, "height width channels"], Problem], Float[Array, ""]]:
    """Delta(x') = distance(x', target) + lambda ||x' - x||_2, the norm unsquared (Eq. 1, 10)."""

    def value(image: Array, problem: Problem) -> Array:
        distortion = l2_norm(image - problem.source)
        return distance(image, problem.target) + problem.penalty * distortion

    return value
