"""How far the encoder's own noise moves the reconstruction: draws of ||Delta(x)||.

Camuto et al. 2021, Eq. 1: Delta(x) = g(mu(x) + eta * sigma(x)) - g(mu(x)), eta ~ N(0, I). Its norm
below r is the event A_r of every certificate in this room; its quantile at the risk is the least r
that the unperturbed image meets (Sec. 3.3, Appendix A).
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Unpack

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from numpy import ndarray

from seatbelt_jax.bounds.checks import check_images
from seatbelt_jax.bounds.confidence import quantile_ranks
from seatbelt_jax.bounds.functions import Decode, DecodePath, Encode, Features, Level
from seatbelt_jax.bounds.layers import Draw, Layers, noise_of
from seatbelt_jax.bounds.model import Model, given
from seatbelt_jax.bounds.settings import Draws, records
from seatbelt_jax.bounds.streaming import Source, map_images
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


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class _Ordered:
    """How far the draws of one image decode, in order; the arguments are those of `minimal_robust_radius`."""

    layers: Layers
    key: Array
    num_samples: int = dataclasses.field(metadata={"static": True})
    decode_batch: int = dataclasses.field(metadata={"static": True})

    def __call__(
        self, x: Float[Array, "*image"], index: Int[Array, ""]
    ) -> tuple[Draw, Bool[Array, ""], Float[Array, "num_samples"]]:
        """The mean path, whether what it decodes to is finite, and the distances of the draws from that."""
        centre, distances = reconstruction_distances(
            lambda eta: self.layers.reconstruct(x, eta),
            jax.ShapeDtypeStruct((sum(self.layers.sizes),), x.dtype),
            jax.random.fold_in(self.key, index),
            num_samples=self.num_samples,
            decode_batch=self.decode_batch,
        )
        return self.layers.mean_path(x), jnp.isfinite(centre).all(), jnp.sort(distances[:, 0])


def minimal_robust_radius(
    encode: Encode | Model | None,
    decode: Decode | DecodePath | None,
    images: Float[Array | ndarray, "n *image"],
    *,
    key: Array,
    levels: Sequence[Level] | None = None,
    features: Features | None = None,
    **settings: Unpack[Draws],
) -> MinimalRobustRadius:
    """The least radius of the ball of reconstructions that each unperturbed image can meet.

    Camuto et al. 2021, Sec. 3.3 and Appendix A bound this from above; here it is the risk-quantile
    of ||Delta(x)||_2 itself, with an exact interval from order statistics, alpha / 2 to each side.
    Below `lower` no margin exists, above `upper` one does. To choose the radius of `certify` from
    it, use a key of its own: the draws that certify must not have chosen the radius.

    Args:
      The arguments and the errors are those of `certify`.
    """
    question, work = records(settings, Draws, key=key)
    array = check_images(images)
    layers, _ = given(encode, decode, levels, features).checked(array)
    count, risk = question.num_samples, question.risk
    low, high = quantile_ranks(count, risk, question.alpha / 2.0)
    middle = min(int(np.floor(risk * count)) + 1, count)
    rows = []
    ordered_of = _Ordered(layers, key, count, work.decode_batch)
    for first, _, (clean, finite, ordered) in map_images(ordered_of, Source.of(array), work, "minimal radius"):
        layers.check_clean(clean, finite, first)
        # Ranks are one-based; 0 and num_samples + 1 stand for the trivial bounds 0 and infinity.
        padded = np.pad(ordered.astype(np.float64), ((0, 0), (1, 1)), constant_values=(0.0, np.inf))
        rows.append(padded[:, [middle, low, high]])
    estimate, lower, upper = np.concatenate(rows).T
    return MinimalRobustRadius(estimate, lower, upper, risk, 1.0 - question.alpha, count)
