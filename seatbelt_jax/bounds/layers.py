"""Layers of latents as certificates see them: drawn in turn, and decoded together.

An encoder is a list of levels here; one latent layer is a list of one.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Bool, Float, Int
from numpy import ndarray

from seatbelt_jax.bounds.checks import check_centres, check_posteriors
from seatbelt_jax.bounds.functions import Decode, DecodePath, Encode, Features, Latents, Level
from seatbelt_jax.gaussian import DiagonalGaussian, sample
from seatbelt_jax.norm import l2_norm


class Draw(NamedTuple):
    """One draw of all layers: the posterior of each given the latents below it, and the latents."""

    posteriors: tuple[DiagonalGaussian, ...]
    latents: Latents


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Layers:
    """A stochastic encoder, its levels drawn in turn, and the decoder of all its latents: a pytree.

    Attributes:
      levels: (x, latents below) -> DiagonalGaussian, layer 1 first.
      decode: all latents -> x.
      sizes: latent coordinates of each layer.
      features: what the levels read in the place of x; or None.
      is_encoder: whether the one level was given as encode.
    """

    levels: tuple[Level, ...]
    decode: DecodePath
    sizes: tuple[int, ...] = dataclasses.field(metadata={"static": True})
    features: Features | None = None
    is_encoder: bool = dataclasses.field(default=False, metadata={"static": True})

    @property
    def encode(self) -> Encode | None:
        """The encoder of one latent layer; None for a hierarchy."""
        return Partial(_encoded, self.levels[0]) if self.is_encoder else None

    @property
    def decode_one(self) -> Decode:
        """The decoder of one latent layer, of its latent alone."""
        return Partial(_decoded, self.decode)

    @property
    def means(self) -> str:
        """What gives the means of the latents, in words."""
        return "encode's mean" if self.is_encoder else "the mean of every layer"

    def read(self, x: Float[Array, "*image"]) -> Array:
        """What the levels read."""
        return x if self.features is None else self.features(x)

    def noise(self, key: Array, count: int) -> Float[Array, "count total"]:
        """Standard normal noise of `count` draws, for all layers."""
        return jax.random.normal(key, (count, sum(self.sizes)))

    def path(self, x: Float[Array, "*image"], noise: Float[Array, "total"]) -> Draw:
        """z^i = mu_i(z^{<i}, x) + sigma_i(z^{<i}, x) noise_i; the mean path where the noise is 0."""
        return self.paths(x)(noise)

    def paths(self, x: Float[Array, "*image"]) -> Callable[[Float[Array, "total"]], Draw]:
        """From noise to `path` at x. What no noise changes, features and layer 1, is computed here, once."""
        seen = self.read(x)
        first = self.levels[0](seen, ())

        def path(noise: Float[Array, "total"]) -> Draw:
            posteriors: list[DiagonalGaussian] = []
            latents: list[Array] = []
            parts = jnp.split(noise, np.cumsum(self.sizes)[:-1])
            for level, part in zip(self.levels, parts, strict=True):
                posteriors.append(level(seen, tuple(latents)) if posteriors else first)
                latents.append(sample(posteriors[-1], part.astype(posteriors[-1].mean.dtype)))
            return Draw(tuple(posteriors), tuple(latents))

        return path

    def mean_path(self, x: Float[Array, "*image"]) -> Draw:
        return self.path(x, jnp.zeros(sum(self.sizes)))

    def frozen_at(self, x: Float[Array, "*image"]) -> "Layers":
        """The same layers with every sigma, given the latents below, frozen at x (Camuto et al. 2021, Eq. 3)."""
        at_x = self.read(x)

        def frozen(level: Level) -> Level:
            return lambda seen, below: DiagonalGaussian(level(seen, below).mean, level(at_x, below).log_std)

        return dataclasses.replace(self, levels=tuple(map(frozen, self.levels)))

    def reconstruct(self, x: Float[Array, "*image"], noise: Float[Array, "total"]) -> Float[Array, "*image"]:
        """What one draw decodes to: a deterministic function of the image and of the noise."""
        return self.decode(self.path(x, noise).latents)

    def distance(
        self, x: Float[Array, "*image"], noise: Float[Array, "total"], centre: Float[Array, "*image"]
    ) -> Float[Array, ""]:
        """||g(z) - centre||_2 of one draw at x, with a gradient everywhere."""
        return l2_norm((self.reconstruct(x, noise) - centre).reshape(-1))

    def check_clean(self, path: Draw, centre_finite: Bool[ndarray, "batch"], first: int) -> None:
        """Raises where something along the mean paths of unperturbed images is not finite, or a sigma is zero.

        Args:
          path: of a batch of images.
          centre_finite: whether what the mean paths decode to is finite.
          first: index of the first image.
        """
        for index, posterior in enumerate(path.posteriors):
            source = "encode" if self.is_encoder else f"levels[{index}]"
            check_posteriors(np.asarray(posterior.mean), np.exp(np.asarray(posterior.log_std)), first, source)
        check_centres(centre_finite, first)


def _encoded(level: Level, x: Float[Array, "*image"]) -> DiagonalGaussian:
    return level(x, ())


def _decoded(decode: DecodePath, z: Float[Array, "latent"]) -> Float[Array, "*image"]:
    return decode((z,))


def noise_of(key: Array, draw: Int[Array, ""], like: jax.ShapeDtypeStruct) -> Float[Array, "latent"]:
    """The noise of the draw of this number: its own, however many others there are."""
    return jax.random.normal(jax.random.fold_in(key, draw), like.shape, like.dtype)


def count_hits(
    layers: Layers,
    x: Float[Array, "*image"],
    centre: Float[Array, "*image"],
    noise: Float[Array, "draw total"],
    *,
    radius: float,
    decode_batch: int,
) -> Int[Array, ""]:
    """How many draws at x, of this noise, decode to within the radius of the centre; a pure function that jits.

    At most `decode_batch` reconstructions exist at a time. One that is not finite is a miss.
    """
    number = jax.dtypes.canonicalize_dtype(np.float64)
    # Rounded down: a radius rounded up would take in draws that lie outside of it.
    reach = number.type(radius)
    reach = np.nextafter(reach, number.type(0)) if float(reach) > radius else reach

    def hit(eta: Float[Array, "total"]) -> Bool[Array, ""]:
        shift = layers.reconstruct(x, eta) - centre
        # False where it is NaN or infinite.
        return jnp.sqrt(jnp.sum(jnp.square(shift))) <= reach

    return jnp.sum(jax.lax.map(hit, noise, batch_size=min(decode_batch, len(noise))), dtype=jnp.int32)
