"""What certificates are made of: for each image its posterior, its Jacobians, and how far its draws decode."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from numpy import ndarray

from seatbelt_jax.bounds.ball import MovementBounds
from seatbelt_jax.bounds.checks import check_jacobians
from seatbelt_jax.bounds.draw_radii import DrawRadii
from seatbelt_jax.bounds.jacobian import jacobians_in_float64, norms_from_jacobians
from seatbelt_jax.bounds.layers import Draw, Layers, noise_of
from seatbelt_jax.bounds.path_norms import PathNorms
from seatbelt_jax.bounds.pathwise_bounds import draw_radii
from seatbelt_jax.bounds.question import Question
from seatbelt_jax.bounds.reconstruction import reconstruction_distances
from seatbelt_jax.bounds.streaming import Skip, Source, map_images
from seatbelt_jax.bounds.work import Work
from seatbelt_jax.results import JacobianNorms


class Needed(NamedTuple):
    """How many draws the evidence holds of an image.

    Attributes:
      samples: all draws.
      pilot: further draws, to choose by.
      paths: how many of the first draws are bounded one by one.
      mirrored: whether the draws' mirror images are decoded too.
    """

    samples: int
    pilot: int = 0
    paths: int = 0
    mirrored: bool = False


@dataclasses.dataclass(frozen=True, eq=False)
class Evidence:
    """What the methods read about one batch of images: arrays on the host.

    Attributes:
      first: index of the batch's first image in the data set.
      images: [batch, ...].
      layers: whose draws these are.
      movement: bounds of how far one latent layer moves; None for a hierarchy.
      along_paths: norms of the levels' Jacobians along the draws.
      std: [batch, latent], sigma of layer 1 at the images.
      jacobian_norms: of the encoder, each [batch]; None for a hierarchy, where they depend on the draw.
      distances: [batch, draw, side], float64, of draws and, where asked for, of their mirror images, from the
        reconstruction of the mean.
      pilot_distances: [batch, pilot], of draws of their own, to choose by.
      noise: [batch, path, total], of the first draws, which are bounded one by one.
      paths: of each image, what is proven of these draws; all methods share it.
    """

    first: int
    images: Float[ndarray, "batch *image"]
    layers: Layers
    movement: MovementBounds | None
    along_paths: PathNorms
    std: Float[ndarray, "batch latent"]
    jacobian_norms: JacobianNorms | None
    distances: Float[ndarray, "batch draw side"]
    pilot_distances: Float[ndarray, "batch pilot"]
    noise: Float[ndarray, "batch path total"]
    paths: Sequence[DrawRadii]

    @property
    def of_encoder(self) -> MovementBounds:
        """Bounds of the encoder's movement; methods for one latent layer read them."""
        if self.movement is None:
            raise ValueError("a hierarchy has no encoder of one latent layer")
        return self.movement

    @property
    def norms(self) -> JacobianNorms:
        """Norms of the encoder's Jacobians; methods for one latent layer read them."""
        if self.jacobian_norms is None:
            raise ValueError("a hierarchy has no Jacobian that is the same for all draws")
        return self.jacobian_norms

    def hits(self, radius: float | Float[ndarray, "batch"], num_samples: int) -> Int[ndarray, "batch"]:
        """The number of the first draws within a radius of reconstructions, mirror images not counted."""
        # In float64: a radius rounded to float32 could be the larger of the two.
        return np.count_nonzero(self.distances[:, :num_samples, 0] <= np.reshape(radius, (-1, 1)), axis=1)

    def pair_hits(self, radius: float, num_samples: int) -> Int[ndarray, "batch"]:
        """The number of the first draws that lie within the radius together with their mirror images."""
        return np.count_nonzero((self.distances[:, :num_samples] <= radius).all(axis=2), axis=1)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class _Look:
    """What the draws of one image show; the arguments are those of `gather`."""

    layers: Layers
    key: Array
    needed: Needed = dataclasses.field(metadata={"static": True})
    decode_batch: int = dataclasses.field(metadata={"static": True})

    def __call__(self, x: Float[Array, "*image"], index: Int[Array, ""]) -> "_Seen":
        layers, needed = self.layers, self.needed
        paths, key = layers.paths(x), jax.random.fold_in(self.key, index)
        noise = jax.ShapeDtypeStruct((sum(layers.sizes),), jax.eval_shape(layers.mean_path, x).latents[0].dtype)

        def draws(number: int, first: int, mirrored: bool) -> tuple[Float[Array, "*image"], Float[Array, "draw side"]]:
            return reconstruction_distances(
                lambda eta: layers.decode(paths(eta).latents),
                noise,
                key,
                num_samples=number,
                decode_batch=self.decode_batch,
                first=first,
                mirrored=mirrored,
            )

        centre, distances = draws(needed.samples, 0, needed.mirrored)
        pilot = jnp.zeros(0)
        if needed.pilot:
            pilot = draws(needed.pilot, needed.samples, False)[1][:, 0]
        of_paths = jax.vmap(lambda draw: noise_of(key, draw, noise))(jnp.arange(needed.paths))
        clean = paths(jnp.zeros(noise.shape, noise.dtype))
        return _Seen(clean, centre, jnp.isfinite(centre).all(), distances, pilot, of_paths)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class _Seen:
    """The mean path, what it decodes to and whether that is finite; how far draws and pilot draws decode; noise."""

    clean: Draw
    centre: Float[Array, "*image"]
    finite: Bool[Array, ""]
    distances: Float[Array, "num_samples side"]
    pilot: Float[Array, "pilot"]
    noise: Float[Array, "path total"]


def gather(
    layers: Layers, source: Source, question: Question, needed: Needed, work: Work, skip: Skip | None = None
) -> Iterator[Evidence]:
    """Yields the evidence of every batch of a data set, in order.

    Pilot draws follow the others in the numbering by which each draw has its key: the others are the same with and
    without them. The functions of the layers are values.

    Args:
      question: its key, norm and Lipschitz constants; all who read the evidence share them.

    Raises:
      ValueError: a mean, sigma, Jacobian or reconstruction of the mean that is not finite, or a sigma of zero.
    """
    encode, jacobians_of, movement, norm = layers.encode, None, None, question.norm
    if encode is not None:
        movement = MovementBounds(encode, layers.decode_one, norm, question.lipschitz)
    along_paths = PathNorms(layers, question.key, norm, work)
    look = _Look(layers, question.key, needed, work.decode_batch)
    for first, images, seen in map_images(look, source, work, "certify", skip):
        layers.check_clean(seen.clean, seen.finite, first)
        std, norms = np.asarray(seen.clean.posteriors[0].std), None
        if encode is not None:
            if jacobians_of is None:
                jacobians_of = jacobians_in_float64(encode, images[0], work.chunk_size, norm)
            # One after the other: a Jacobian is work enough for the machine.
            each = [jax.tree.map(np.asarray, jacobians_of(image)) for image in images]
            jacobians = jax.tree.map(lambda *arrays: np.stack(arrays), *each)
            for part, name in zip(jacobians, ("mean", "log_std"), strict=True):
                check_jacobians(part[0], first, source=f"encode's {name}")
            norms = norms_from_jacobians(jacobians, std)
        distances = seen.distances.astype(np.float64)
        yield Evidence(
            first,
            images,
            layers,
            movement,
            along_paths,
            std,
            norms,
            distances,
            seen.pilot.astype(np.float64),
            seen.noise,
            [
                draw_radii(layers, *one, norm=norm)
                for one in zip(images, seen.centre, seen.noise, distances[:, : needed.paths, 0], strict=True)
            ],
        )
