"""What certificates are made of: for each image its posterior, its Jacobians, and how far its draws decode."""

import dataclasses
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from numpy import ndarray

from seatbelt_jax.bounds.checks import Norm, check_jacobians
from seatbelt_jax.bounds.draw_radii import DrawRadii
from seatbelt_jax.bounds.draws import Draw, Model, check_clean
from seatbelt_jax.bounds.jacobian import (
    jacobians_in_float64,
    norms_from_jacobians,
)
from seatbelt_jax.bounds.pathwise_bounds import draw_radii
from seatbelt_jax.bounds.reconstruction import noise_of, reconstruction_distances
from seatbelt_jax.bounds.streaming import Fetch, Skip, map_images
from seatbelt_jax.results import JacobianNorms


@dataclasses.dataclass(frozen=True, eq=False)
class Evidence:
    """What the methods read about one batch of images: arrays on the host.

    Attributes:
      first: index of the batch's first image in the data set.
      images: [batch, ...].
      model: whose draws these are.
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
    model: Model
    std: Float[ndarray, "batch latent"]
    jacobian_norms: JacobianNorms | None
    distances: Float[ndarray, "batch draw side"]
    pilot_distances: Float[ndarray, "batch pilot"]
    noise: Float[ndarray, "batch path total"]
    paths: Sequence[DrawRadii]

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

    model: Model
    key: Array
    num_samples: int = dataclasses.field(metadata={"static": True})
    num_pilot_samples: int = dataclasses.field(metadata={"static": True})
    num_paths: int = dataclasses.field(metadata={"static": True})
    mirrored: bool = dataclasses.field(metadata={"static": True})
    decode_batch: int = dataclasses.field(metadata={"static": True})

    def __call__(self, x: Float[Array, "*image"], index: Int[Array, ""]) -> "_Seen":
        paths, key = self.model.paths(x), jax.random.fold_in(self.key, index)
        noise = jax.ShapeDtypeStruct((sum(self.model.sizes),), jax.eval_shape(self.model.mean_path, x).latents[0].dtype)

        def draws(number: int, first: int, mirrored: bool) -> tuple[Float[Array, "*image"], Float[Array, "draw side"]]:
            return reconstruction_distances(
                lambda eta: self.model.decode(paths(eta).latents),
                noise,
                key,
                num_samples=number,
                decode_batch=self.decode_batch,
                first=first,
                mirrored=mirrored,
            )

        centre, distances = draws(self.num_samples, 0, self.mirrored)
        pilot = jnp.zeros(0)
        if self.num_pilot_samples:
            pilot = draws(self.num_pilot_samples, self.num_samples, False)[1][:, 0]
        of_paths = jax.vmap(lambda draw: noise_of(key, draw, noise))(jnp.arange(self.num_paths))
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
    model: Model,
    fetch: Fetch,
    count: int,
    *,
    key: Array,
    num_samples: int,
    num_pilot_samples: int,
    num_paths: int,
    mirrored: bool,
    norm: Norm,
    batch_size: int,
    decode_batch: int,
    chunk_size: int,
    progress: bool,
    skip: Skip | None = None,
) -> Iterator[Evidence]:
    """Yields the evidence of every batch of a data set, in order.

    Pilot draws follow the others in the numbering by which each draw has its key: the others are the same with and
    without them. The functions of the model are values (`functions`).

    Args:
      num_paths: of the draws, how many are bounded one by one; at most num_samples.

    Raises:
      ValueError: a mean, sigma, Jacobian or reconstruction of the mean that is not finite, or a sigma of zero.
    """

    look = _Look(model, key, num_samples, num_pilot_samples, num_paths, mirrored, decode_batch)
    batches = map_images(look, fetch, count, batch_size=batch_size, progress=progress, description="certify", skip=skip)
    encode, jacobians_of = model.encode, None
    for first, images, seen in batches:
        check_clean(seen.clean, seen.finite, first)
        std, norms = np.asarray(seen.clean.posteriors[0].std), None
        if encode is not None:
            if jacobians_of is None:
                jacobians_of = jacobians_in_float64(encode, images[0], chunk_size, norm)
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
            model,
            std,
            norms,
            distances,
            seen.pilot.astype(np.float64),
            seen.noise,
            [
                draw_radii(model, *one, norm=norm)
                for one in zip(images, seen.centre, seen.noise, distances[:, :num_paths, 0], strict=True)
            ],
        )
