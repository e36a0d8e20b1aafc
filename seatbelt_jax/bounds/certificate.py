"""What a certificate states, with the conditions under which it holds."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import jax
import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from seatbelt_jax.bounds.checks import Norm
from seatbelt_jax.bounds.jacobian import JacobianNorms
from seatbelt_jax.fields import check_fields

Soundness = Literal["first_order", "locally_exact", "sound"]

_NORMS_PREFIX = "norms_"


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["radius", "p_lower", "hits", "abstained", "norm_bound", "norms"],
    meta_fields=[
        "method",
        "soundness",
        "assumptions",
        "alpha",
        "risk",
        "reconstruction_radius",
        "num_samples",
        "norm",
        "centre",
    ],
)
@dataclasses.dataclass(frozen=True, eq=False)
class Certificate:
    """r-robustness of n images, each with its margin; a pytree, what holds for all images being static.

    For each image on its own, with probability at least `confidence` over the draws and under `assumptions`:
    every perturbation d with ||d|| < radius leaves P(||g(z) - c||_2 <= reconstruction_radius) > risk, z drawn
    by the encoder at x + d (all latent layers, in turn) and c the reconstruction of the unperturbed x.

    Attributes:
      radius: [n], the certified margin, in pixel units, in the norm of perturbations; 0 where abstained.
      p_lower: [n], the lower confidence bound of the probability of the event at d = 0.
      hits: [n], draws in the event: within the reconstruction radius (for "hybrid" a smaller one, chosen for each
        image by draws of its own) and, for "hierarchical", with whitened Jacobians of norm at most kappa.
      abstained: [n], the image carries no claim (not: it is not robust).
      norm_bound: [n], how fast a perturbation moves the draw at most, standard deviations per pixel unit: ||J||_F /
        min_i sigma_i for "camuto", the whitened Jacobian's norm at the image for the other methods of first order, a
        bound of it over the certified ball for "lipschitz" and "hybrid", kappa for "hierarchical"; NaN for margins by
        "pathwise" and "pathwise_first_order", which ask how far draws move the reconstruction.
      norms: norms of the encoder's Jacobian and its smallest sigma, each [n]; None in a hierarchy, where they
        depend on the draw.
      method: a name of `METHODS`, or "hierarchical" or "hierarchical_sup".
      soundness: "first_order" (exact only for an affine mean), "locally_exact" (inside a region that ends no later
        than the margin) or "sound" (without linearising the model).
      assumptions: the conditions, one sentence each.
      alpha: probability, for each image, that its p_lower is above the truth.
      risk: the probability m that must be exceeded.
      reconstruction_radius: r, L2 in pixel units.
      num_samples: draws for each image, not counting pilot draws; of "antithetic" pairs of draws. For "best_sound"
        those of "hybrid", the first of which "pathwise" bounds.
      norm: of perturbations, "l2" or "linf".
      centre: where the ball of reconstructions is centred: the decoded "mean" of the clean image.
    """

    radius: Float[ndarray, "n"]
    p_lower: Float[ndarray, "n"]
    hits: Int[ndarray, "n"]
    abstained: Bool[ndarray, "n"]
    norm_bound: Float[ndarray, "n"]
    norms: JacobianNorms | None
    method: str
    soundness: Soundness
    assumptions: tuple[str, ...]
    alpha: float
    risk: float
    reconstruction_radius: float
    num_samples: int
    norm: Norm = "l2"
    centre: str = "mean"

    @property
    def n(self) -> int:
        """How many images."""
        return len(self.radius)

    @property
    def units(self) -> str:
        """Units of radius and reconstruction_radius, in words."""
        of_radius = {"l2": "L2 distance over the whole image", "linf": "largest change of a pixel"}[self.norm]
        return f"radius: {of_radius}, in pixel units; reconstruction_radius: L2 over the whole image, in pixel units"

    @property
    def confidence(self) -> float:
        """1 - alpha, for each image on its own."""
        return 1.0 - self.alpha

    @property
    def expected_failures(self) -> float:
        """n * alpha: at most so many images are expected to have a p_lower above the truth.

        To hold for all n images at once with probability 1 - alpha, certify with alpha / n.
        """
        return self.n * self.alpha

    @property
    def mean_margin(self) -> float:
        """E_x[R(x)] over the images, abstentions counted as 0, in pixel units (Camuto et al. 2021, Sec. 3.2.2).

        Infinite margins, of images whose latents nothing moves, make it infinite.
        """
        return float(np.mean(self.radius))

    def certified_fraction(self, radii: Float[ndarray, "*radius"] | float) -> Float[ndarray, "*radius"]:
        """The share of all images whose margin is at least each radius, abstentions counted as not certified."""
        held = (self.radius >= np.asarray(radii, np.float64)[..., None]) & ~self.abstained
        return np.mean(held, axis=-1)

    @classmethod
    def concatenate(cls, parts: Sequence["Certificate"]) -> "Certificate":
        """One certificate of the images of several that were made with the same settings.

        Raises:
          ValueError: no parts, or parts of different settings.
        """
        if not parts:
            raise ValueError("there is no certificate to concatenate")
        first = parts[0]
        per_image = [field for field in _names(cls) if isinstance(getattr(first, field), np.ndarray)]
        same = [field for field in _names(cls) if field not in (*per_image, "norms")]
        for part in parts[1:]:
            if differing := [field for field in same if getattr(part, field) != getattr(first, field)]:
                raise ValueError(f"certificates of different {', '.join(differing)} do not make one")
        joined: dict[str, Any] = {
            field: np.concatenate([getattr(part, field) for part in parts]) for field in per_image
        }
        all_norms = [part.norms for part in parts if part.norms is not None]
        if all_norms:
            joined["norms"] = JacobianNorms(
                **{
                    name: np.concatenate([getattr(norms, name) for norms in all_norms])
                    for name in _names(JacobianNorms)
                }
            )
        return dataclasses.replace(first, **joined)

    def to_arrays(self) -> dict[str, ndarray]:
        """The fields by name, for an npz that loads with allow_pickle=False.

        Texts and numbers are 0-d arrays, the assumptions an array of strings, and the norms one array each, named
        "norms_spectral" and so on; they are left out where `norms` is None.
        """
        arrays = {name: np.asarray(getattr(self, name)) for name in _names(type(self)) if name != "norms"}
        if self.norms is not None:
            norms = self.norms
            arrays |= {_NORMS_PREFIX + name: np.asarray(getattr(norms, name)) for name in _names(JacobianNorms)}
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, ndarray]) -> "Certificate":
        """Undoes `to_arrays`; raises ValueError where a field is missing, or of another shape or type."""
        norm_names = {name: _NORMS_PREFIX + name for name in _names(JacobianNorms)}
        required = [name for name in _names(cls) if name != "norms"]
        has_norms = any(name in arrays for name in norm_names.values())
        if has_norms:
            required += norm_names.values()
        if missing := [name for name in required if name not in arrays]:
            raise ValueError(f"this is not a certificate: {', '.join(missing)} missing")
        check_fields(cls, arrays)
        norms = JacobianNorms(**{name: arrays[key] for name, key in norm_names.items()}) if has_norms else None
        values: dict[str, Any] = {name: arrays[name] for name in required if name in _names(cls)}
        # The 0-d arrays become the Python texts and numbers that they were made of.
        values = {name: value.item() if value.ndim == 0 else value for name, value in values.items()}
        if not isinstance(values["assumptions"], ndarray) or values["assumptions"].ndim != 1:
            raise ValueError("assumptions must be a list of texts")
        values["assumptions"] = tuple(values["assumptions"].tolist())
        return cls(**values, norms=norms)

    def rows(self) -> list[dict[str, Any]]:
        """One row per image, for a tidy CSV, units in the names; the same columns for every method."""
        return [
            {
                "image": image,
                "method": self.method,
                "soundness": self.soundness,
                "norm": self.norm,
                "certified_radius_pixel_units": self.radius[image],
                "abstained": self.abstained[image],
                "probability_lower_bound": self.p_lower[image],
                "hits": self.hits[image],
                "num_samples": self.num_samples,
                "norm_bound_stds_per_pixel_unit": self.norm_bound[image],
                "reconstruction_radius_l2": self.reconstruction_radius,
                "risk": self.risk,
                "alpha": self.alpha,
            }
            for image in range(self.n)
        ]


def _names(record: type) -> list[str]:
    return [field.name for field in dataclasses.fields(record)]
