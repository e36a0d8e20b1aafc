"""Checking a certificate by attacking it.

A certificate of radius R claims P_{x+d}(||g(z) - c||_2 <= r) > m for every ||d|| < R, c = g(mu(x)) the reconstruction
of the *unperturbed* image and z drawn as the encoder draws at x + d. So one d inside the ball, with a probability that
fresh draws put below m, refutes it. Sigma is that of x + d by default. A certificate that assumes a frozen sigma
(Camuto et al. 2021, Eq. 3) speaks of draws with the sigma of x; `frozen_std` checks that claim.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, Unpack

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from numpy import ndarray

from seatbelt_jax.bounds.checks import check_images
from seatbelt_jax.bounds.confidence import check_refutable, upper_confidence_bound
from seatbelt_jax.bounds.directions import lengths
from seatbelt_jax.bounds.functions import Decode, DecodePath, Encode, Features, Level
from seatbelt_jax.bounds.layers import Draw, Layers, count_hits
from seatbelt_jax.bounds.model import Model, given
from seatbelt_jax.bounds.question import Question
from seatbelt_jax.bounds.settings import Pieces, records
from seatbelt_jax.bounds.streaming import Source, map_images
from seatbelt_jax.bounds.work import Work
from seatbelt_jax.results import Certificate


class Settings(Pieces, total=False):
    """What is asked of draws; see `Question` and `Work`."""

    num_samples: int
    alpha: float


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
class _Trials:
    """How many draws at an attacked image stay in the ball; the arguments are those of `check_soundness`.

    Attributes:
      counted: by the trial's number, whether it is to be drawn at all: one shape, whatever was certified.
    """

    layers: Layers
    question: Question
    counted: Bool[Array | ndarray, "trial"]
    frozen_std: bool = dataclasses.field(metadata={"static": True})
    decode_batch: int = dataclasses.field(metadata={"static": True})

    def __call__(self, pair: Float[Array, "2 *image"], number: Int[Array, ""]) -> _Trial:
        """Runs one trial on a pair: an image and its attacked version. Trials that are not counted give zeros."""
        nothing = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), jax.eval_shape(self._drawn, pair, number))
        return jax.lax.cond(jnp.asarray(self.counted)[number], self._drawn, lambda *given: nothing, pair, number)

    def _drawn(self, pair: Float[Array, "2 *image"], number: Int[Array, ""]) -> _Trial:
        image, attacked = pair
        layers, question = self.layers, self.question
        clean = layers.mean_path(image)
        centre = layers.decode(clean.latents)
        hits = count_hits(
            layers.frozen_at(image) if self.frozen_std else layers,
            attacked,
            centre,
            layers.noise(jax.random.fold_in(question.key, number), question.num_samples),
            radius=question.radius,
            decode_batch=self.decode_batch,
        )
        return clean, jnp.isfinite(centre).all(), hits


def check_soundness(
    certificate: Certificate,
    attacked: Float[Array | ndarray, "n trial *image"],
    *,
    images: Float[Array | ndarray, "n *image"],
    key: Array,
    encode: Encode | Model | None = None,
    decode: Decode | DecodePath | None = None,
    levels: Sequence[Level] | None = None,
    features: Features | None = None,
    frozen_std: bool = False,
    **settings: Unpack[Settings],
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
      images: the unperturbed images.
      key: one typed key; the draws depend on it, the image's and the trial's number alone.
      encode: x -> DiagonalGaussian, for one latent layer. Or a `Model`, without decode.
      decode: z -> x, or with levels the tuple of all latents -> x.
      levels, features: for a hierarchy, as for `hierarchical_margin`.
      num_samples: draws for each trial.
      alpha: probability, for each trial, of a violation that is none; 1e-6 by default.
      frozen_std: draw at x' with the sigma of x, given the latents below, instead of the sigma of x'.
      decode_batch: draws decoded at once; by default 64 on a CPU, 2048 on an accelerator.
      progress: shows a progress bar when the output is a terminal.

    Raises:
      TypeError, ValueError: as for `certify`; encode and levels both given, or neither; shapes that do not fit the
        images; num_samples too small for alpha ever to show a violation.
    """
    question, work = records(
        {"alpha": 1e-6} | settings,
        Settings,
        key=key,
        radius=float(certificate.reconstruction_radius),
        risk=certificate.risk,
        norm=certificate.norm,
    )
    array = check_images(images)
    layers, _ = given(encode, decode, levels, features).checked(array)
    shifted = _check_attacked(attacked, array)
    radius = radii_of(certificate, array)
    check_refutable(question.num_samples, question.alpha, question.risk)

    # Measured between the arrays that the encoder reads: both are rounded to its precision.
    distance = lengths(shifted.astype(np.float64) - array[:, None].astype(np.float64), question.norm, array.ndim - 1)
    counted = ~certificate.abstained[:, None] & (distance > 0.0) & (distance < radius[:, None])
    hits = _hits(_Trials(layers, question, counted.reshape(-1), frozen_std, work.decode_batch), array, shifted, work)
    hits = hits.reshape(counted.shape)
    upper = np.where(counted, upper_confidence_bound(hits, question.num_samples, question.alpha), np.nan)
    return SoundnessReport(
        distance=distance,
        counted=counted,
        probability=np.where(counted, hits / question.num_samples, np.nan),
        probability_upper=upper,
        violated=upper < question.risk,
        radius=radius,
        alpha=question.alpha,
        risk=question.risk,
        num_samples=question.num_samples,
        norm=question.norm,
        method=certificate.method,
        soundness=certificate.soundness,
        frozen_std=frozen_std,
    )


def _hits(
    drawn: _Trials, images: Float[ndarray, "n *image"], attacked: Float[ndarray, "n trial *image"], work: Work
) -> Int[ndarray, "trials"]:
    """How many draws of each trial stay in the ball; 0 where it is not counted."""
    counted, trials = np.asarray(drawn.counted), attacked.shape[1]
    found = np.zeros(counted.size, np.int64)
    if not counted.any():
        return found
    every = attacked.reshape(-1, *images.shape[1:])

    def fetch(index: Int[ndarray, "batch"]) -> Float[ndarray, "batch 2 *image"]:
        return np.stack([images[index // trials], every[index]], axis=1)

    work = dataclasses.replace(work, batch_size=64)
    for first, _, (clean, finite, hits) in map_images(drawn, Source(fetch, counted.size), work, "soundness"):
        for row in np.flatnonzero(counted[first : first + len(hits)]):
            of_row = jax.tree.map(lambda a, row=row: a[row, None], clean)
            drawn.layers.check_clean(of_row, finite[row, None], (first + row) // trials)
        found[first : first + len(hits)] = hits
    return found


def radii_of(certificate: Certificate, images: Float[ndarray, "n *image"]) -> Float[ndarray, "n"]:
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
