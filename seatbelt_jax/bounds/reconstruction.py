"""How far the encoder's own noise moves the reconstruction: draws of ||Delta(x)||.

Camuto et al. 2021, Eq. 1: Delta(x) = g(mu(x) + eta * sigma(x)) - g(mu(x)), eta ~ N(0, I). Its norm
below r is the event A_r of every certificate in this room; its quantile at the risk is the least r
that the unperturbed image meets (Sec. 3.3, Appendix A).
"""

import dataclasses
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from numpy import ndarray

from seatbelt_jax.bounds.checks import (
    Decode,
    DecodePath,
    Encode,
    Level,
    check_counts,
    check_images,
    check_key,
    check_probability,
)
from seatbelt_jax.bounds.confidence import quantile_ranks
from seatbelt_jax.bounds.draws import Draw, Model, check_clean, checked_model
from seatbelt_jax.bounds.streaming import default_decode_batch, map_images
from seatbelt_jax.results import MinimalRobustRadius


def reconstruction_distances(
    reconstruct: Callable[[Float[Array, "latent"]], Float[Array, "*image"]],
    noise: jax.ShapeDtypeStruct,
    key: Array,
    *,
    num_samples: int,
    decode_batch: int,
    first: int = 0,
    mirrored: bool = False,
) -> tuple[Float[Array, "*image"], Float[Array, "num_samples side"]]:
    """The centre g(mu) and num_samples independent draws of ||g(z) - g(mu)||_2, for one image.

    A pure function that jits. At most `decode_batch` reconstructions exist at a time, and since
    every draw has a key of its own, the result does not depend on that number. A draw that decodes
    to NaN or infinity is infinitely far: it counts as a miss.

    Args:
      reconstruct: from standard normal noise eta to g(mu + sigma eta); the centre is that of no noise.
      noise: shape and type of eta.
      first: the index of the first draw; draws of other indices are independent of these.
      mirrored: whether to decode the mirror image mu - sigma eta of each draw mu + sigma eta too: `side` is then 2
        long, otherwise 1.
    """
    centre = reconstruct(jnp.zeros(noise.shape, noise.dtype))
    blocks = -(-num_samples // decode_batch)
    block = -(-num_samples // blocks)
    signs = jnp.asarray([1.0, -1.0] if mirrored else [1.0], noise.dtype)

    def distance(eta: Float[Array, "latent"]) -> Float[Array, ""]:
        norm = jnp.sqrt(jnp.sum(jnp.square(reconstruct(eta) - centre)))
        return jnp.where(jnp.isfinite(norm), norm, jnp.inf)

    def sides(draw: Int[Array, ""]) -> Float[Array, "side"]:
        eta = noise_of(key, draw, noise)
        return jax.vmap(lambda sign: distance(sign * eta))(signs)

    draws = first + jnp.arange(blocks * block).reshape(blocks, block)
    distances = jax.lax.map(jax.vmap(sides), draws)
    return centre, distances.reshape(-1, signs.size)[:num_samples]


def noise_of(key: Array, draw: Int[Array, ""], like: jax.ShapeDtypeStruct) -> Float[Array, "latent"]:
    """The noise of the draw of this number: its own, however many others there are."""
    return jax.random.normal(jax.random.fold_in(key, draw), like.shape, like.dtype)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class _Ordered:
    """How far the draws of one image decode, in order; the arguments are those of `minimal_robust_radius`."""

    model: Model
    key: Array
    num_samples: int = dataclasses.field(metadata={"static": True})
    decode_batch: int = dataclasses.field(metadata={"static": True})

    def __call__(
        self, x: Float[Array, "*image"], index: Int[Array, ""]
    ) -> tuple[Draw, Bool[Array, ""], Float[Array, "num_samples"]]:
        """The mean path, whether what it decodes to is finite, and the distances of the draws from that."""
        centre, distances = reconstruction_distances(
            lambda eta: self.model.reconstruct(x, eta),
            jax.ShapeDtypeStruct((sum(self.model.sizes),), x.dtype),
            jax.random.fold_in(self.key, index),
            num_samples=self.num_samples,
            decode_batch=self.decode_batch,
        )
        return self.model.mean_path(x), jnp.isfinite(centre).all(), jnp.sort(distances[:, 0])


def minimal_robust_radius(
    encode: Encode | None,
    decode: Decode | DecodePath,
    images: Float[Array | ndarray, "n *image"],
    *,
    key: Array,
    levels: Sequence[Level] | None = None,
    num_samples: int = 10_000,
    alpha: float = 1e-3,
    risk: float = 0.5,
    batch_size: int = 16,
    decode_batch: int | None = None,
    progress: bool = False,
) -> MinimalRobustRadius:
    """The least radius of the ball of reconstructions that each unperturbed image can meet.

    Camuto et al. 2021, Sec. 3.3 and Appendix A bound this from above; here it is the risk-quantile
    of ||Delta(x)||_2 itself, with an exact interval from order statistics, alpha / 2 to each side.
    Below `lower` no margin exists, above `upper` one does. To choose the radius of `certify` from
    it, use a key of its own: the draws that certify must not have chosen the radius.

    Args:
      encode, decode: as for `certify`; for a hierarchy encode is None, and decode takes the tuple of all latents.
      levels: of a hierarchy, as for `hierarchical_margin` (without its features).
      The other arguments and the errors are those of `certify`.
    """
    check_probability("alpha", alpha)
    check_probability("risk", risk)
    decode_batch = default_decode_batch() if decode_batch is None else decode_batch
    check_counts(num_samples=num_samples, batch_size=batch_size, decode_batch=decode_batch)
    check_key(key)
    array = check_images(images)
    model = checked_model(encode, levels, decode, array)

    low, high = quantile_ranks(num_samples, risk, alpha / 2.0)
    middle = min(int(np.floor(risk * num_samples)) + 1, num_samples)
    rows = []
    for first, _, (clean, finite, ordered) in map_images(
        _Ordered(model, key, num_samples, decode_batch),
        array.__getitem__,
        len(array),
        batch_size=batch_size,
        progress=progress,
        description="minimal radius",
    ):
        check_clean(clean, finite, first)
        # Ranks are one-based; 0 and num_samples + 1 stand for the trivial bounds 0 and infinity.
        padded = np.pad(ordered.astype(np.float64), ((0, 0), (1, 1)), constant_values=(0.0, np.inf))
        rows.append(padded[:, [middle, low, high]])
    estimate, lower, upper = np.concatenate(rows).T
    return MinimalRobustRadius(estimate, lower, upper, risk, 1.0 - alpha, num_samples)
