"""The latent attack, and the divergences of posteriors that it minimises."""

import dataclasses
import numbers
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.tree_util import Partial
from jaxtyping import Array, Float

from seatbelt_jax import posterior
from seatbelt_jax.attacks.objective import OBJECTIVES, Image, Images, Objective, draws_of, encode
from seatbelt_jax.norm import l2_norm
from seatbelt_jax.posterior import Posterior
from seatbelt_jax.registry import Registry
from seatbelt_jax.sections import check_choice
from seatbelt_jax.vae import VAE, Latents

Layers = Literal["all", "top", "bottom"] | tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Divergence:
    """What a latent attack compares.

    Attributes:
      compare: (posteriors of the attacked image, those of the target), one a layer -> [draw].
      unit: of what it gives.
    """

    compare: Callable[[tuple[Posterior, ...], tuple[Posterior, ...]], Float[Array, " draw"]]
    unit: str


DIVERGENCES: Registry[Divergence] = Registry("a divergence")


def sum_over_layers(divergence: Callable[[Posterior, Posterior], Array]) -> Callable[[Any, Any], Array]:
    """From a divergence of two posteriors, [draw], to the sum over layers."""

    def compare(attacked: tuple[Posterior, ...], target: tuple[Posterior, ...]) -> Float[Array, " draw"]:
        return sum(map(divergence, attacked[1:], target[1:]), divergence(attacked[0], target[0]))

    return compare


def _joint_l2(attacked: tuple[Posterior, ...], target: tuple[Posterior, ...]) -> Float[Array, " draw"]:
    differences = [posterior.location(q) - posterior.location(p) for q, p in zip(attacked, target, strict=True)]
    return jax.vmap(l2_norm)(jnp.concatenate(differences, axis=-1))


DIVERGENCES.register("kl", Divergence(sum_over_layers(posterior.kl_divergence), "nats"))
DIVERGENCES.register("symmetric_kl", Divergence(sum_over_layers(posterior.symmetric_kl), "nats"))
DIVERGENCES.register("w2", Divergence(sum_over_layers(posterior.wasserstein2), "latent units"))
DIVERGENCES.register("l2", Divergence(sum_over_layers(posterior.location_distance), "latent units"))
DIVERGENCES.register("joint_l2", Divergence(_joint_l2, "latent units"))


@OBJECTIVES.register("latent")
def latent(vae: VAE, *, divergence: str = "kl", layers: Layers = "all", noise: Latents | None = None) -> Objective:
    """The latent attack sum_{i in layers} r(q(z^i|x'), q(z^i|x^t)) (Willetts et al. 2021, Eq. 10).

    The paper's q(z^i|x), i > 1, is a marginal over the layers below, which has no closed form. Here r compares the
    conditionals q(z^i|z^{i-1}, x') and q(z^i|z^{i-1}, x^t) along paths. With shared draws the mean KL bounds the KL of
    the marginals from above, by joint convexity, up to the sampling of the draws. Along the means it is no bound,
    neither from above nor from below.

    Args:
      vae: the attacked model.
      divergence: r: "kl", KL(q(.|x') || q(.|x^t)); "symmetric_kl", the sum of both directions; "w2", the
        2-Wasserstein distance; "l2", the L2 distance of means and of Concrete layers' logits (Kos et al. 2018).
        "joint_l2" is not a sum over layers but one norm of all means and logits together (Sootla 2018, Eq. 3.1).
        Plug-ins may add to these (`DIVERGENCES`).
      layers: the layers to compare: a name, or numbers from 1, the layer nearest the data.
      noise: standard normals [draw, latent] per layer, on which layers i > 1 are conditioned. x' and x^t share each
        draw, and the distance is the mean over draws. None follows the means.

    Raises:
      ValueError: for an unknown divergence, layers that are none of the model's or repeated, or noise that is not
        of the model's layers.
    """
    check_choice("divergence", divergence, DIVERGENCES)
    compared = DIVERGENCES[divergence]
    chosen, layers_name = _choose_layers(layers, len(vae.latent_sizes))
    draws, suffix = draws_of(vae, noise)
    return Objective(
        prepare=Partial(_Posteriors(chosen), vae, draws),
        distance=Partial(_Divergence(chosen, compared), vae, draws),
        name=f"latent_{divergence}_{layers_name}{suffix}",
        unit=compared.unit,
    )


@dataclasses.dataclass(frozen=True)
class _Posteriors:
    """The chosen layers' posteriors of every target, the goals of a latent attack."""

    layers: tuple[int, ...]

    def __call__(self, vae: VAE, draws: Latents, sources: Images, targets: Images) -> tuple[Posterior, ...]:
        return jax.vmap(lambda image: self.of_image(vae, draws, image))(targets)

    def of_image(self, vae: VAE, draws: Latents, image: Image) -> tuple[Posterior, ...]:
        every = encode(vae, image, draws).posteriors
        return tuple(every[layer] for layer in self.layers)


@dataclasses.dataclass(frozen=True)
class _Divergence:
    """The mean over draws of r between the attacked image's posteriors and the goal."""

    layers: tuple[int, ...]
    divergence: Divergence

    def __call__(self, vae: VAE, draws: Latents, image: Image, goal: tuple[Posterior, ...]) -> Float[Array, ""]:
        return jnp.mean(self.divergence.compare(_Posteriors(self.layers).of_image(vae, draws, image), goal))


def _choose_layers(layers: Layers, depth: int) -> tuple[tuple[int, ...], str]:
    """The chosen layers counted from 0, and a name for them."""
    named = {"all": range(depth), "top": range(depth - 1, depth), "bottom": range(1)}
    if isinstance(layers, str) and layers in named:
        return tuple(named[layers]), layers
    listed = isinstance(layers, tuple | list) and all(
        isinstance(layer, numbers.Integral) and not isinstance(layer, bool) for layer in layers
    )
    if not listed or not layers or len(set(layers)) < len(layers) or not set(layers) <= set(range(1, depth + 1)):
        raise ValueError(
            f"layers must be one of all, top, bottom, or a tuple of different layer numbers from 1 (nearest the data) "
            f"to {depth}; got {layers!r}"
        )
    ordered = sorted(int(layer) for layer in layers)
    return tuple(layer - 1 for layer in ordered), "layers_" + "_".join(map(str, ordered))
