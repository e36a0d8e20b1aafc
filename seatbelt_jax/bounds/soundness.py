"""Checking a certificate by attacking it.

A certificate of radius R claims P_{x+d}(||g(z) - c||_2 <= r) > m for every ||d|| < R, c = g(mu(x)) the reconstruction
of the *unperturbed* image and z drawn as the encoder draws at x + d. So one d inside the ball, with a probability that
fresh draws put below m, refutes it. Sigma is that of x + d by default. A certificate that assumes a frozen sigma
(Camuto et al. 2021, Eq. 3) speaks of draws with the sigma of x; `frozen_std` checks that claim.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

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
    Norm,
    check_counts,
    check_images,
    check_key,
    check_probability,
)
from seatbelt_jax.bounds.confidence import check_refutable, upper_confidence_bound
from seatbelt_jax.bounds.directions import ASCENT_DRAWS, ascend, lengths, random_directions, steepest_directions
from seatbelt_jax.bounds.draws import Draw, Model, check_clean, checked_model, count_hits
from seatbelt_jax.bounds.streaming import default_decode_batch, map_images
from seatbelt_jax.results import Certificate


@dataclasses.dataclass(frozen=True, eq=False)
class SoundnessReport:
    """A certificate against attacked images inside its radii.

    A trial that is not counted (an image that the certificate abstains on, a distortion of 0 or one that is not
    strictly inside the radius) says nothing: its probabilities are NaN.

    Attributes:
      distance: [n, trial], ||d|| in the certificate's norm, pixel units.
      counted: [n, trial].
      probability: [n, trial], share of the draws at x + d within the ball of reconstructions.
      probability_upper: [n, trial], its upper confidence bound.
      violated: [n, trial], probability_upper < risk: the certificate is wrong there.
      radius: [n], the certified radii.
      alpha: probability, for each trial, of a violation that is none.
      risk: the probability that the certificate says is exceeded.
      num_samples: draws for each trial.
      norm: "l2" or "linf".
      method, soundness: the certificate's.
      frozen_std: whether draws at x + d had the sigma of x.
    """

    distance: Float[ndarray, "n trial"]
    counted: Bool[ndarray, "n trial"]
    probability: Float[ndarray, "n trial"]
    probability_upper: Float[ndarray, "n trial"]
    violated: Bool[ndarray, "n trial"]
    radius: Float[ndarray, "n"]
    alpha: float
    risk: float
    num_samples: int
    norm: str
    method: str
    soundness: str
    frozen_std: bool

    @property
    def trials(self) -> int:
        """How many trials count."""
        return int(self.counted.sum())

    @property
    def violations(self) -> int:
        """How many of them refute the certificate."""
        return int(self.violated.sum())

    @property
    def worst(self) -> float:
        """The smallest estimated probability less the risk; infinite where no trial counts."""
        return float(np.min(self.probability[self.counted] - self.risk, initial=np.inf))

    def summary(self) -> str:
        """The outcome in one line."""
        if self.trials == 0:
            return f"{self.method} ({self.soundness}): no trial lies inside a certified radius"
        return (
            f"{self.method} ({self.soundness}): {self.violations} violations in {self.trials} trials; lowest "
            f"probability {self.worst + self.risk:.4f}, certified to exceed {self.risk:g}"
            f"{'; sigma frozen' if self.frozen_std else ''}"
        )


# The mean path of an unperturbed image, whether what it decodes to is finite, and the hits of an attacked one.
_Trial = tuple[Draw, Bool[Array, ""], Int[Array, ""]]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class _Hits:
    """How many draws at an attacked image stay in the ball; the arguments are those of `check_soundness`.

    Attributes:
      counted: by the trial's number, whether it is to be drawn at all: one shape, whatever was certified.
    """

    model: Model
    key: Array
    counted: Bool[Array | ndarray, "trial"]
    radius: float = dataclasses.field(metadata={"static": True})
    frozen_std: bool = dataclasses.field(metadata={"static": True})
    num_samples: int = dataclasses.field(metadata={"static": True})
    decode_batch: int = dataclasses.field(metadata={"static": True})

    def __call__(self, pair: Float[Array, "2 *image"], number: Int[Array, ""]) -> _Trial:
        """Runs one trial on a pair: an image and its attacked version. Trials that are not counted give zeros."""
        nothing = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), jax.eval_shape(self._drawn, pair, number))
        return jax.lax.cond(jnp.asarray(self.counted)[number], self._drawn, lambda *given: nothing, pair, number)

    def _drawn(self, pair: Float[Array, "2 *image"], number: Int[Array, ""]) -> _Trial:
        image, attacked = pair
        clean = self.model.mean_path(image)
        centre = self.model.decode(clean.latents)
        hits = count_hits(
            self.model.frozen_at(image) if self.frozen_std else self.model,
            attacked,
            centre,
            self.model.noise(jax.random.fold_in(self.key, number), self.num_samples),
            radius=self.radius,
            decode_batch=self.decode_batch,
        )
        return clean, jnp.isfinite(centre).all(), hits


def check_soundness(
    certificate: Certificate,
    attacked: Float[Array | ndarray, "n trial *image"],
    *,
    decode: Decode | DecodePath,
    images: Float[Array | ndarray, "n *image"],
    key: Array,
    encode: Encode | None = None,
    levels: Sequence[Level] | None = None,
    num_samples: int = 10_000,
    alpha: float = 1e-6,
    frozen_std: bool = False,
    decode_batch: int | None = None,
    progress: bool = False,
) -> SoundnessReport:
    """Looks for attacked images at which a certificate does not hold.

    A trial counts where the certificate does not abstain and 0 < ||x' - x|| < radius, in float64. It is a violation
    where the upper Clopper-Pearson bound, at level alpha, of the probability that a draw at x' decodes to within the
    reconstruction radius of the clean image's reconstruction lies below the certificate's risk. The attacked images
    may come from anywhere, `soundness_attacks` for one, but must not have been chosen by draws of this key.

    By default, draws at x' have the sigma of x', as the model does. A certificate that assumes a frozen sigma (Camuto
    et al. 2021, Eq. 3) makes another claim: its violations may come from a sigma that moves, and disappear with
    `frozen_std`.

    Args:
      certificate: of the images, by any method.
      attacked: x + d, floating point.
      decode: z -> x, or with levels the tuple of all latents -> x.
      images: the unperturbed images.
      key: one typed key; the draws depend on it, the image's and the trial's number alone.
      encode: x -> DiagonalGaussian, for one latent layer.
      levels: for a hierarchy, as for `hierarchical_margin` (without its features).
      num_samples: draws for each trial.
      alpha: probability, for each trial, of a violation that is none.
      frozen_std: draw at x' with the sigma of x, given the latents below, instead of the sigma of x'.
      decode_batch: draws decoded at once; by default 64 on a CPU, 2048 on an accelerator.
      progress: shows a progress bar when the output is a terminal.

    Raises:
      TypeError, ValueError: as for `certify`; encode and levels both given, or neither; shapes that do not fit the
        images; num_samples too small for alpha ever to show a violation.
    """
    decode_batch = default_decode_batch() if decode_batch is None else decode_batch
    check_counts(num_samples=num_samples, decode_batch=decode_batch)
    check_key(key)
    array = check_images(images)
    model = checked_model(encode, levels, decode, array)
    shifted = _check_attacked(attacked, array)
    radius = _check_certificate(certificate, array)
    check_refutable(num_samples, alpha, certificate.risk)
    norm = certificate.norm

    # Measured between the arrays that the encoder reads: both are rounded to its precision.
    distance = lengths(shifted.astype(np.float64) - array[:, None].astype(np.float64), norm, array.ndim - 1)
    counted = ~certificate.abstained[:, None] & (distance > 0.0) & (distance < radius[:, None])
    of_trial = np.zeros(counted.size, np.int64)
    if counted.any():
        trials = shifted.shape[1]
        every = shifted.reshape(-1, *array.shape[1:])
        count = _Hits(
            model,
            key,
            counted.reshape(-1),
            float(certificate.reconstruction_radius),
            frozen_std,
            num_samples,
            decode_batch,
        )

        def fetch(index: Int[ndarray, "batch"]) -> Float[ndarray, "batch 2 *image"]:
            return np.stack([array[index // trials], every[index]], axis=1)

        for first, _, (clean, finite, batch) in map_images(
            count, fetch, counted.size, batch_size=64, progress=progress, description="soundness"
        ):
            for row in np.flatnonzero(counted.reshape(-1)[first : first + len(batch)]):
                check_clean(
                    jax.tree.map(lambda a, row=row: a[row, None], clean), finite[row, None], (first + row) // trials
                )
            of_trial[first : first + len(batch)] = batch
    hits = of_trial.reshape(counted.shape)
    upper = np.where(counted, upper_confidence_bound(hits, num_samples, alpha), np.nan)
    return SoundnessReport(
        distance=distance,
        counted=counted,
        probability=np.where(counted, hits / num_samples, np.nan),
        probability_upper=upper,
        violated=upper < certificate.risk,
        radius=radius,
        alpha=alpha,
        risk=certificate.risk,
        num_samples=num_samples,
        norm=norm,
        method=certificate.method,
        soundness=certificate.soundness,
        frozen_std=frozen_std,
    )


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class _Attack:
    """From an image and its index to attacked images; the arguments are those of `soundness_attacks`.

    Attributes:
      limits: radii of the balls around the images; 0 where there is no claim.
    """

    model: Model
    key: Array
    limits: Float[Array | ndarray, "n"]
    radius: float = dataclasses.field(metadata={"static": True})
    norm: Norm = dataclasses.field(metadata={"static": True})
    frozen_std: bool = dataclasses.field(metadata={"static": True})
    trials: int = dataclasses.field(metadata={"static": True})
    steps: int = dataclasses.field(metadata={"static": True})
    decode_batch: int = dataclasses.field(metadata={"static": True})

    def __call__(
        self, x: Float[Array, "*image"], index: Int[Array, ""]
    ) -> tuple[Draw, Bool[Array, ""], Float[Array, "trial *image"]]:
        """The mean path, whether what it decodes to is finite, and the attacked images."""
        model = self.model.frozen_at(x) if self.frozen_std else self.model
        third = -(-self.trials // 3)
        draw_key, start_key = jax.random.split(jax.random.fold_in(self.key, index))
        limit = jnp.asarray(self.limits)[index]
        clean = model.mean_path(x)
        centre = model.decode(clean.latents)
        steepest, _ = steepest_directions(model, x, self.norm, -(-third // 2))
        both = jnp.stack([steepest, -steepest], axis=1).reshape(-1, *x.shape)[:third]
        others = random_directions(start_key, self.trials - len(both), x, self.norm)
        ascents = min(third, len(others))
        ascended = ascend(
            model,
            x,
            centre,
            model.noise(draw_key, ASCENT_DRAWS),
            x + limit * others[:ascents],
            jnp.full(ascents, limit),
            radius=self.radius,
            norm=self.norm,
            box=(-np.inf, np.inf),
            steps=self.steps,
            decode_batch=self.decode_batch,
        )
        attacked = jnp.concatenate([x + limit * both, ascended, x + limit * others[ascents:]])
        # An ascent that went nowhere finite, or an image without a claim, is the image itself.
        usable = (limit > 0.0) & jnp.isfinite(attacked.reshape(self.trials, -1)).all(axis=1)
        attacked = jnp.where(usable.reshape(-1, *[1] * x.ndim), attacked, x)
        return clean, jnp.isfinite(centre).all(), attacked


def soundness_attacks(
    encode: Encode | None,
    decode: Decode | DecodePath,
    images: Float[Array | ndarray, "n *image"],
    certificate: Certificate,
    *,
    key: Array,
    trials_per_image: int,
    levels: Sequence[Level] | None = None,
    share: float = 0.999,
    steps: int = 100,
    frozen_std: bool = False,
    decode_batch: int | None = None,
    progress: bool = False,
) -> Float[ndarray, "n trial *image"]:
    """Attacked images just inside the certified radii, for `check_soundness`.

    For each image in turn: + and - the first right singular vectors of the whitened Jacobian, as many as fill a third
    of the trials; ascents of the damage from random starts, as many again (`ascend`); random directions. Ascents may
    end inside the ball, all others lie on the sphere of share * radius. No range of pixels bounds them: the
    certificate's does not either.

    Args:
      encode, decode, levels: as for `check_soundness`; encode is None where levels are given.
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
    decode_batch = default_decode_batch() if decode_batch is None else decode_batch
    check_counts(trials_per_image=trials_per_image, steps=steps, decode_batch=decode_batch)
    check_probability("share", share)
    check_key(key)
    array = check_images(images)
    model = checked_model(encode, levels, decode, array)
    claimed = _check_certificate(certificate, array)
    limits = np.where(np.isfinite(claimed) & ~certificate.abstained, share * claimed, 0.0)
    attack = _Attack(
        model=model,
        key=key,
        limits=limits.astype(array.dtype),
        radius=float(certificate.reconstruction_radius),
        norm=certificate.norm,
        frozen_std=frozen_std,
        trials=trials_per_image,
        steps=steps,
        decode_batch=decode_batch,
    )
    batches = []
    for first, _, (clean, finite, attacked) in map_images(
        attack, array.__getitem__, len(array), batch_size=16, progress=progress, description="soundness attacks"
    ):
        check_clean(clean, finite, first)
        batches.append(attacked)
    return np.concatenate(batches)


def _check_certificate(certificate: Certificate, images: Float[ndarray, "n *image"]) -> Float[ndarray, "n"]:
    """The certified radii; raises unless there is one for each image."""
    radius = np.asarray(certificate.radius, np.float64)
    if radius.shape != (len(images),):
        raise ValueError(
            f"the certificate speaks of {radius.size} images, got {len(images)}; pass the images it was made for"
        )
    return radius


def _check_attacked(attacked: Any, images: Float[ndarray, "n *image"]) -> Float[ndarray, "n trial *image"]:
    array = np.asarray(attacked)
    if array.ndim != images.ndim + 1 or array.shape[0] != len(images) or array.shape[2:] != images.shape[1:]:
        raise ValueError(
            f"attacked must have shape [n, trial, *image] with images of shape {images.shape}, got {array.shape}; for "
            "one attacked image each pass attacked[:, None]"
        )
    return check_images(array)
