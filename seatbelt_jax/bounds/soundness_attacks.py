"""Attacks inside certified radii, for `check_soundness`."""

import dataclasses
from collections.abc import Sequence
from typing import Unpack

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from numpy import ndarray

from seatbelt_jax.bounds.checks import check_counts, check_images, check_probability
from seatbelt_jax.bounds.directions import ASCENT_DRAWS, Ascent, random_directions, steepest_directions
from seatbelt_jax.bounds.functions import Decode, DecodePath, Encode, Features, Level
from seatbelt_jax.bounds.layers import Draw, Layers
from seatbelt_jax.bounds.model import Model, given
from seatbelt_jax.bounds.question import Question
from seatbelt_jax.bounds.settings import Pieces, records
from seatbelt_jax.bounds.soundness import radii_of
from seatbelt_jax.bounds.streaming import Source, map_images
from seatbelt_jax.results import Certificate


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class _Attack:
    """From an image and its index to attacked images; the arguments are those of `soundness_attacks`.

    Attributes:
      limits: radii of the balls around the images; 0 where there is no claim.
    """

    layers: Layers
    question: Question
    limits: Float[Array | ndarray, "n"]
    frozen_std: bool = dataclasses.field(metadata={"static": True})
    trials: int = dataclasses.field(metadata={"static": True})
    steps: int = dataclasses.field(metadata={"static": True})
    decode_batch: int = dataclasses.field(metadata={"static": True})

    def __call__(
        self, x: Float[Array, "*image"], index: Int[Array, ""]
    ) -> tuple[Draw, Bool[Array, ""], Float[Array, "trial *image"]]:
        """The mean path, whether what it decodes to is finite, and the attacked images."""
        layers, question = self.layers.frozen_at(x) if self.frozen_std else self.layers, self.question
        third = -(-self.trials // 3)
        draw_key, start_key = jax.random.split(jax.random.fold_in(question.key, index))
        limit = jnp.asarray(self.limits)[index]
        clean = layers.mean_path(x)
        centre = layers.decode(clean.latents)
        steepest, _ = steepest_directions(layers, x, question.norm, -(-third // 2))
        both = jnp.stack([steepest, -steepest], axis=1).reshape(-1, *x.shape)[:third]
        others = random_directions(start_key, self.trials - len(both), x, question.norm)
        ascents = min(third, len(others))
        ascent = Ascent(question.radius, question.norm, (-np.inf, np.inf), self.steps, self.decode_batch)
        noise, starts = layers.noise(draw_key, ASCENT_DRAWS), x + limit * others[:ascents]
        ascended = ascent.run(layers, x, centre, noise, starts, jnp.full(ascents, limit))
        attacked = jnp.concatenate([x + limit * both, ascended, x + limit * others[ascents:]])
        # An ascent that went nowhere finite, or an image without a claim, is the image itself.
        usable = (limit > 0.0) & jnp.isfinite(attacked.reshape(self.trials, -1)).all(axis=1)
        attacked = jnp.where(usable.reshape(-1, *[1] * x.ndim), attacked, x)
        return clean, jnp.isfinite(centre).all(), attacked


def soundness_attacks(
    encode: Encode | Model | None,
    decode: Decode | DecodePath | None,
    images: Float[Array | ndarray, "n *image"],
    certificate: Certificate,
    *,
    key: Array,
    trials_per_image: int,
    levels: Sequence[Level] | None = None,
    features: Features | None = None,
    share: float = 0.999,
    steps: int = 100,
    frozen_std: bool = False,
    **settings: Unpack[Pieces],
) -> Float[ndarray, "n trial *image"]:
    """Attacked images just inside the certified radii, for `check_soundness`.

    For each image in turn: + and - the first right singular vectors of the whitened Jacobian, as many as fill a third
    of the trials; ascents of the damage from random starts, as many again (`Ascent`); random directions. Ascents may
    end inside the ball, all others lie on the sphere of share * radius. No range of pixels bounds them: the
    certificate's does not either.

    Args:
      encode, decode, levels, features: as for `check_soundness`; encode is None where levels are given.
      images: the unperturbed images.
      certificate: of the images, by any method; its norm is the norm of the balls.
      key: one typed key, not that of `check_soundness`.
      trials_per_image: attacked images for each image.
      share: of the certified radius, in (0, 1).
      steps: evaluations of the objective in an ascent.
      frozen_std: ascend the damage of draws with the sigma of x, as for `check_soundness`.
      decode_batch: draws decoded at once; by default 64 on a CPU, 2048 on an accelerator.
      progress: shows a progress bar when the output is a terminal.

    Returns:
      The attacked images; an image itself where its radius is 0 or infinite, or it carries no claim.

    Raises:
      TypeError, ValueError: as for `check_soundness`; share outside (0, 1).
    """
    check_counts(trials_per_image=trials_per_image, steps=steps)
    check_probability("share", share)
    question, work = records(
        settings, Pieces, key=key, radius=float(certificate.reconstruction_radius), norm=certificate.norm
    )
    array = check_images(images)
    layers, _ = given(encode, decode, levels, features).checked(array)
    claimed = radii_of(certificate, array)
    limits = np.where(np.isfinite(claimed) & ~certificate.abstained, share * claimed, 0.0).astype(array.dtype)
    attack = _Attack(layers, question, limits, frozen_std, trials_per_image, steps, work.decode_batch)
    batches = []
    for first, _, (clean, finite, attacked) in map_images(attack, Source.of(array), work, "soundness attacks"):
        layers.check_clean(clean, finite, first)
        batches.append(attacked)
    return np.concatenate(batches)
