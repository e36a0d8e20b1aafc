"""A model as its certificates see it: layers of latents drawn in turn, and decoded together.

An encoder is a list of levels here; one latent layer is a list of one.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Bool, Float, Int
from numpy import ndarray

from seatbelt_jax.bounds import functions
from seatbelt_jax.bounds.checks import (
    Decode,
    DecodePath,
    Encode,
    Features,
    Latents,
    Level,
    check_centres,
    check_hierarchy,
    check_model,
    check_posteriors,
)
from seatbelt_jax.gaussian import DiagonalGaussian, sample
from seatbelt_jax.norm import l2_norm


class Draw(NamedTuple):
    """One draw of all layers: the posterior of each given the latents below it, and the latents."""

    posteriors: tuple[DiagonalGaussian, ...]
    latents: Latents


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Model:
    """A stochastic encoder, its levels drawn in turn, and the decoder of all its latents: a pytree.

    Attributes:
      levels: (x, latents below) -> DiagonalGaussian, layer 1 first; values (see `functions`).
      decode: all latents -> x; a value.
      sizes: latent coordinates of each layer.
      features: what the levels read in the place of x; a value, or None.
    """

    levels: tuple[Level, ...]
    decode: DecodePath
    sizes: tuple[int, ...] = dataclasses.field(metadata={"static": True})
    features: Features | None = None

    @property
    def encode(self) -> Encode | None:
        """The encoder of one latent layer, a value; None for a hierarchy."""
        return Partial(_encoded, self.levels[0]) if len(self.levels) == 1 and self.features is None else None

    def noise(self, key: Array, count: int) -> Float[Array, "count total"]:
        """Standard normal noise of `count` draws, for all layers."""
        return jax.random.normal(key, (count, sum(self.sizes)))

    def path(self, x: Float[Array, "*image"], noise: Float[Array, "total"]) -> Draw:
        """z^i = mu_i(z^{<i}, x) + sigma_i(z^{<i}, x) noise_i; the mean path where the noise is 0."""
        return self.paths(x)(noise)

    def paths(self, x: Float[Array, "*image"]) -> Callable[[Float[Array, "total"]], Draw]:
        """From noise to `path` at x. What no noise changes, features and layer 1, is computed here, once."""
        seen = x if self.features is None else self.features(x)
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

    def frozen_at(self, x: Float[Array, "*image"]) -> "Model":
        """The same model with every sigma, given the latents below, frozen at x (Camuto et al. 2021, Eq. 3)."""
        at_x = x if self.features is None else self.features(x)

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


def checked_model(
    encode: Encode | None,
    levels: Sequence[Level] | None,
    decode: Any,
    images: Float[ndarray, "n *image"],
) -> Model:
    """The model of one layer, from encode and decode, or of a hierarchy, from levels and decode.

    Raises:
      TypeError, ValueError: neither or both of encode and levels are given, or they do not fit the images.
    """
    return described_model(encode, levels, decode, images)[0]


def described_model(
    encode: Encode | None,
    levels: Sequence[Level] | None,
    decode: Any,
    images: Float[ndarray, "n *image"],
    features: Features | None = None,
) -> tuple[Model, str]:
    """`checked_model`, and what it is in a few letters: alike for two models that do the same."""
    if encode is not None and levels is None:
        if features is not None:
            raise ValueError("features are for the levels of a hierarchy; encode reads the image itself")
        description = check_model(encode, decode, images)
        return one_layer_model(*functions.one_layer(encode, decode, images), images), description
    if levels is not None and encode is None:
        sizes, description = check_hierarchy(levels, decode, images, features)
        of_levels, of_path, of_features = functions.hierarchy(levels, decode, features, images)
        return Model(of_levels, of_path, sizes, of_features), description
    raise ValueError("pass either encode, for one latent layer, or levels, for a hierarchy: got neither or both")


def one_layer_model(
    encode: Encode, decode: Decode, images: Float[Array | ndarray, "n *image"] | jax.ShapeDtypeStruct
) -> Model:
    """The model of one layer, from encode and decode that were checked; a pytree where they are values."""
    latent = jax.eval_shape(encode, jax.ShapeDtypeStruct(images.shape[1:], images.dtype)).mean
    return Model((Partial(_only_level, encode),), Partial(_of_only_layer, decode), latent.shape)


def _encoded(level: Level, x: Float[Array, "*image"]) -> DiagonalGaussian:
    return level(x, ())


def _only_level(encode: Encode, x: Float[Array, "*image"], below: Latents) -> DiagonalGaussian:
    return encode(x)


def _of_only_layer(decode: Decode, latents: Latents) -> Float[Array, "*image"]:
    return decode(latents[0])


def check_clean(path: Draw, centre_finite: Bool[ndarray, "batch"], first: int) -> None:
    """Raises where something along the mean paths of unperturbed images is not finite, or a sigma is zero."""
    for index, posterior in enumerate(path.posteriors):
        source = "encode" if len(path.posteriors) == 1 else f"levels[{index}]"
        check_posteriors(np.asarray(posterior.mean), np.exp(np.asarray(posterior.log_std)), first, source)
    check_centres(centre_finite, first)


def count_hits(
    model: Model,
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
        shift = model.reconstruct(x, eta) - centre
        # False where it is NaN or infinite.
        return jnp.sqrt(jnp.sum(jnp.square(shift))) <= reach

    return jnp.sum(jax.lax.map(hit, noise, batch_size=min(decode_batch, len(noise))), dtype=jnp.int32)
