"""What an attacker minimises, independent of the solver and of the price of distortion.

Every factory returns an `Objective` of one image at a time, to be vmapped over attacks. K draws of noise cost one pass
through the image's features: they are vmapped while the image is not, so what depends on it alone is computed once.
"""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from seatbelt_jax.registry import Registry
from seatbelt_jax.vae import VAE, Encoding, Latents

Image = Float[Array, "height width channels"]
Images = Float[Array, "pair height width channels"]


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=("prepare", "distance"),
    meta_fields=("name", "unit", "targeted", "random_start"),
)
@dataclasses.dataclass(frozen=True)
class Objective:
    """What the attacker minimises over the adversarial image x', and what it needs of each pair beforehand.

    A pytree where `prepare` and `distance` are, such as a `jax.tree_util.Partial` of a VAE. `sweep` traces plain
    functions when it begins; what they close over is read then.

    Attributes:
      prepare: (sources, targets) -> goals, a pytree of arrays with leading axis [pair].
      distance: (x', one pair's goal) -> the scalar to minimise.
      name: for file names, such as "latent_kl_all".
      unit: of the distance.
      targeted: whether the objective uses targets.
      random_start: whether to start away from the source, because the gradient is 0 there.
    """

    prepare: Callable[[Images, Images], PyTree]
    distance: Callable[[Image, PyTree], Float[Array, ""]]
    name: str
    unit: str
    targeted: bool = True
    random_start: bool = False


# Made by vae and, by keyword, noise and options of `seatbelt attack`.
OBJECTIVES: Registry[Callable[..., Objective]] = Registry("an attack's objective")


def encode(vae: VAE, image: Image, draws: Latents) -> Encoding:
    """One image's encoding under every draw, each array with leading axis [draw]."""

    def one(noise: tuple[Float[Array, " _latent"], ...]) -> Encoding:
        return jax.tree.map(lambda leaf: leaf[0], vae.encode(image[None], tuple(layer[None] for layer in noise)))

    return jax.vmap(one)(draws)


def draws_of(vae: VAE, noise: Latents | None) -> tuple[Latents, str]:
    """The draws [draw, latent] per layer, one of zeros for None, and a name for them."""
    if noise is None:
        return vae.mean_path(1), ""
    expected = ", ".join(f"[draw, {size}]" for size in vae.latent_sizes)
    allowed = f"noise must be a tuple with one array per layer, {expected}, of the same number of draws, at least one"
    if not isinstance(noise, tuple | list):
        raise ValueError(f"{allowed}; got {type(noise).__name__}")
    shapes = [np.shape(layer) for layer in noise]
    number = shapes[0][0] if shapes and shapes[0] else 0
    if number < 1 or shapes != [(number, size) for size in vae.latent_sizes]:
        received = ", ".join(map(str, shapes)) or "none"
        raise ValueError(f"{allowed}; got shapes {received}")
    return tuple(jnp.asarray(layer) for layer in noise), f"_{number}_draws"
