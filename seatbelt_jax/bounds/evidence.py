"""What certificates are made of: for each image its posterior, its Jacobians, and how far its draws decode."""

import dataclasses
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from numpy import ndarray

from seatbelt_jax.bounds.checks import (
    Decode,
    Encode,
    Norm,
    check_centres,
    check_jacobians,
    check_posteriors,
)
from seatbelt_jax.bounds.jacobian import (
    JacobianNorms,
    jacobians_in_float64,
    norms_from_jacobians,
)
from seatbelt_jax.bounds.reconstruction import reconstruction_distances
from seatbelt_jax.bounds.streaming import Fetch, Skip, map_images
from seatbelt_jax.gaussian import DiagonalGaussian, sample


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Evidence:
    """What the methods read about one batch of images: arrays on the host; a pytree.

    Attributes:
      first: index of the batch's first image in the data set.
      images: [batch, ...].
      std: [batch, latent], sigma at the images.
      norms: of the encoder's Jacobians, each [batch].
      distances: [batch, draw, side], float64, of draws and, where asked for, of their mirror images, from the
        reconstruction of the mean.
      pilot_distances: [batch, pilot], of draws of their own, to choose by.
    """

    first: int = dataclasses.field(metadata={"static": True})
    images: Float[ndarray, "batch *image"]
    std: Float[ndarray, "batch latent"]
    norms: JacobianNorms
    distances: Float[ndarray, "batch draw side"]
    pilot_distances: Float[ndarray, "batch pilot"]

    def hits(self, radius: float | Float[ndarray, "batch"]) -> Int[ndarray, "batch"]:
        """Draws within a radius of reconstructions, the mirror images not counted."""
        # In float64: a radius rounded to float32 could be the larger of the two.
        return np.count_nonzero(self.distances[..., 0] <= np.reshape(radius, (-1, 1)), axis=1)

    def pair_hits(self, radius: float) -> Int[ndarray, "batch"]:
        """Draws that lie within the radius together with their mirror images."""
        return np.count_nonzero((self.distances <= radius).all(axis=2), axis=1)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class _Look:
    """What the draws of one image show; the arguments are those of `gather`."""

    encode: Encode
    decode: Decode
    key: Array
    num_samples: int = dataclasses.field(metadata={"static": True})
    num_pilot_samples: int = dataclasses.field(metadata={"static": True})
    mirrored: bool = dataclasses.field(metadata={"static": True})
    decode_batch: int = dataclasses.field(metadata={"static": True})

    def __call__(
        self, x: Float[Array, "*image"], index: Int[Array, ""]
    ) -> tuple[DiagonalGaussian, Bool[Array, ""], Float[Array, "num_samples side"], Float[Array, "pilot"]]:
        """The posterior, whether the reconstruction of its mean is finite, and how far draws and pilot draws decode."""
        posterior = self.encode(x)

        def draws(number: int, first: int, mirrored: bool) -> tuple[Float[Array, "*image"], Float[Array, "draw side"]]:
            return reconstruction_distances(
                lambda eta: self.decode(sample(posterior, eta)),
                jax.eval_shape(lambda: posterior.mean),
                jax.random.fold_in(self.key, index),
                num_samples=number,
                decode_batch=self.decode_batch,
                first=first,
                mirrored=mirrored,
            )

        centre, distances = draws(self.num_samples, 0, self.mirrored)
        pilot = jnp.zeros(0)
        if self.num_pilot_samples:
            pilot = draws(self.num_pilot_samples, self.num_samples, False)[1][:, 0]
        return posterior, jnp.isfinite(centre).all(), distances, pilot


def gather(
    encode: Encode,
    decode: Decode,
    fetch: Fetch,
    count: int,
    *,
    key: Array,
    num_samples: int,
    num_pilot_samples: int,
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
    without them. encode and decode are values (`functions.one_layer`).

    Raises:
      ValueError: a mean, sigma, Jacobian or reconstruction of the mean that is not finite, or a sigma of zero.
    """

    look = _Look(encode, decode, key, num_samples, num_pilot_samples, mirrored, decode_batch)
    batches = map_images(look, fetch, count, batch_size=batch_size, progress=progress, description="certify", skip=skip)
    jacobians_of = None
    for first, images, (posterior, finite, distances, pilot) in batches:
        std = np.asarray(posterior.std)
        check_posteriors(posterior.mean, std, first)
        if jacobians_of is None:
            jacobians_of = jacobians_in_float64(encode, images[0], chunk_size, norm)
        # One after the other: a Jacobian is work enough for the machine.
        each = [jax.tree.map(np.asarray, jacobians_of(image)) for image in images]
        jacobians = jax.tree.map(lambda *arrays: np.stack(arrays), *each)
        for part, name in zip(jacobians, ("mean", "log_std"), strict=True):
            check_jacobians(part[0], first, source=f"encode's {name}")
        check_centres(finite, first)
        yield Evidence(
            first,
            images,
            std,
            norms_from_jacobians(jacobians, std),
            distances.astype(np.float64),
            pilot.astype(np.float64),
        )
