"""The model that a certificate is about: two functions of one example, the levels of a hierarchy, or a VAE."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, cast

import jax
from jax.tree_util import Partial
from jaxtyping import Array, Float
from numpy import ndarray

from seatbelt_jax import program
from seatbelt_jax.bounds.functions import (
    Decode,
    DecodePath,
    Encode,
    Features,
    Latents,
    Level,
    check_encode,
    check_hierarchy,
    check_levels,
    check_model,
)
from seatbelt_jax.bounds.layers import Layers
from seatbelt_jax.gaussian import DiagonalGaussian, sample
from seatbelt_jax.vae import VAE

# Why a model has no margin.
CONCRETE = "margins are for Gaussian latents; this model has Concrete ones (JointVAE)"


@dataclasses.dataclass(frozen=True, eq=False)
class Model:
    """A stochastic encoder and a decoder of one example; `of`, `of_levels` and `of_vae` make one.

    Attributes:
      encode: of one latent layer, x -> DiagonalGaussian with mean and log_std [latent]; None for a hierarchy.
      levels: of a hierarchy, one function a layer, layer 1 (nearest the data) first: (x, below) -> DiagonalGaussian,
        below the tuple of the latents of the layers before it; None for one layer.
      decode: the latent, or the tuple of all latents, -> x, the mean image.
      features: x -> [feature], which all levels read in the place of x; or None.

    Raises:
      ValueError: neither or both of encode and levels; features without levels.
    """

    encode: Encode | None
    levels: Sequence[Level] | None
    decode: Decode | DecodePath
    features: Features | None = None

    def __post_init__(self) -> None:
        if (self.encode is None) == (self.levels is None):
            raise ValueError(
                "pass either encode, for one latent layer, or levels, for a hierarchy: got neither or both"
            )
        if self.levels is None and self.features is not None:
            raise ValueError("features are for the levels of a hierarchy; encode reads the image itself")

    @classmethod
    def of(cls, encode: Encode, decode: Decode) -> "Model":
        """A model of one latent layer."""
        return cls(encode, None, decode)

    @classmethod
    def of_levels(cls, levels: Sequence[Level], decode: DecodePath, features: Features | None = None) -> "Model":
        """A hierarchy of latent layers."""
        return cls(None, levels, decode, features)

    @classmethod
    def of_vae(cls, vae: VAE) -> "Model":
        """The functions of one example of a VAE: values, which share what is compiled with models of its architecture.

        Raises:
          ValueError: a VAE with Concrete latents (JointVAE): margins are for Gaussian ones.
        """
        vae = vae.traced()
        image = jax.ShapeDtypeStruct((1, *vae.image_shape), "float32")
        posteriors = jax.eval_shape(vae.encode, image, vae.mean_path(1)).posteriors
        if not all(isinstance(posterior, DiagonalGaussian) for posterior in posteriors):
            raise ValueError(CONCRETE)
        depth = len(vae.latent_sizes)
        if depth == 1:
            return cls.of(Partial(_encode, vae), Partial(_decode, vae))
        if vae.inference is None:
            return cls.of_levels([Partial(_level_of_image, vae)] * depth, Partial(_decode_path, vae))
        return cls.of_levels([Partial(_level, vae)] * depth, Partial(_decode_path, vae), Partial(_features, vae))

    def layers(self, image: jax.ShapeDtypeStruct) -> Layers:
        """The functions as they are, for images of this shape and type; only what encode and levels give is checked."""
        if self.encode is not None:
            latent = check_encode(self.encode, image).mean
            return Layers(
                (Partial(_only_level, self.encode),),
                Partial(_of_only_layer, self.decode),
                latent.shape,
                is_encoder=True,
            )
        levels = tuple(cast(Sequence[Level], self.levels))
        _, path = check_levels(cast(Sequence[Level], self.levels), self.features, image)
        return Layers(levels, cast(DecodePath, self.decode), tuple(latent.size for latent in path), self.features)

    def checked(self, images: Float[Array | ndarray, "n *image"]) -> tuple[Layers, str]:
        """The functions as values, and what they are in a few letters: alike for two models that do the same.

        Raises:
          TypeError, ValueError: functions that do not fit the images, or are not deterministic.
        """
        image = jax.ShapeDtypeStruct(images.shape[1:], images.dtype)
        if self.encode is not None:
            description = check_model(self.encode, cast(Decode, self.decode), image)
        else:
            levels = cast(Sequence[Level], self.levels)
            description = check_hierarchy(levels, cast(DecodePath, self.decode), self.features, image)
        return self._values(image).layers(image), description

    def _values(self, image: Any) -> "Model":
        """The functions as values: what is compiled for one model serves all of its code."""
        if self.encode is not None:
            encode = _value(self.encode, image)
            return Model.of(encode, _value(self.decode, _drawn(encode, image)))
        read, features = image, self.features
        if features is not None:
            features = _value(features, image)
            read = jax.eval_shape(features, image)
        levels: list[Level] = []
        path: tuple[Any, ...] = ()
        for level in cast(Sequence[Level], self.levels):
            levels.append(_value(level, read, path))
            path = (*path, _drawn(levels[-1], read, path))
        return Model.of_levels(levels, _value(self.decode, path), features)


def given(
    encode: "Encode | Model | None",
    decode: Decode | DecodePath | None,
    levels: Sequence[Level] | None = None,
    features: Features | None = None,
) -> Model:
    """The model that a public function is given: its functions, or a `Model` in the place of encode."""
    if isinstance(encode, Model):
        if not (decode is None and levels is None and features is None):
            raise ValueError("a Model stands for encode, decode, levels and features: pass None for them")
        return encode
    return Model(encode, levels, cast(Decode, decode), features)


def _value(function: Callable, *examples: Any) -> Callable:
    # Products keep the precision that they are traced with: all of float32, also where an accelerator would round.
    with jax.default_matmul_precision("highest"):
        return program.as_value(function, *examples)


def _drawn(level: Callable, *given: Any) -> jax.ShapeDtypeStruct:
    """Shape and type of a sample of the posterior."""

    def draw(*arguments: Any) -> Any:
        posterior = level(*arguments)
        return sample(posterior, posterior.mean)

    return jax.eval_shape(draw, *given)


def _only_level(encode: Encode, x: Float[Array, "*image"], below: Latents) -> DiagonalGaussian:
    return encode(x)


def _of_only_layer(decode: Decode, latents: Latents) -> Float[Array, "*image"]:
    return decode(latents[0])


def _first(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf[0], tree)


def _features(vae: VAE, x: Float[Array, "*image"]) -> Float[Array, "feature"]:
    return vae.functions.features(vae.params, x[None])[0]  # type: ignore[misc]


def _level(vae: VAE, features: Float[Array, "feature"], below: Latents) -> DiagonalGaussian:
    return _first(vae.functions.posterior(vae.params, features[None], tuple(z[None] for z in below)))  # type: ignore[misc]


def _level_of_image(vae: VAE, x: Float[Array, "*image"], below: Latents) -> DiagonalGaussian:
    return _first(vae.posterior(x[None], tuple(z[None] for z in below)))


def _encode(vae: VAE, x: Float[Array, "*image"]) -> DiagonalGaussian:
    return _level_of_image(vae, x, ())


def _decode_path(vae: VAE, latents: Latents) -> Float[Array, "*image"]:
    return vae.likelihood.mean(vae.decode(tuple(z[None] for z in latents)))[0]


def _decode(vae: VAE, z: Float[Array, "latent"]) -> Float[Array, "*image"]:
    return _decode_path(vae, (z,))
