"""What attacks show of margins: upper bounds, and the distortions that prove them."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from seatbelt_jax.fields import check_fields


@dataclasses.dataclass(frozen=True, eq=False)
class EmpiricalMargin:
    """Distortions that show n images' margins of r-robustness to be no larger than their norms.

    For each image on its own, with probability at least 1 - alpha: the probability that a draw of the encoder at
    x + distortion decodes to within reconstruction_radius of the unperturbed image's reconstruction is below risk,
    hence R(x) <= upper. Such a draw has the sigma of x + distortion, or that of x where `frozen_std`.

    Attributes:
      upper: [n], ||distortion|| in the norm, pixel units; infinite where nothing was confirmed, 0 where the
        unperturbed image is shown not to be r-robust.
      distortion: [n, *image] float64, exactly what the encoder was given less the image; 0 where upper is infinite.
      p_upper: [n], the upper confidence bound of the probability at x + distortion.
      p_clean: [n], the estimated probability at x.
      curve_norms: [n, k], norms along the direction found (the most promising one where nothing was confirmed).
      curve_probability: [n, k], estimated probabilities there, by the search's draws; Camuto et al. 2021, Fig. 5.
      alpha: probability of a wrong upper, for each image.
      risk: m.
      reconstruction_radius: r, L2 in pixel units.
      num_samples: fresh draws for each distortion tried.
      num_tried: distortions tried on them for each image, d = 0 included; each has alpha / num_tried.
      norm: "l2" or "linf".
      frozen_std: whether draws at x + distortion had the sigma of x (Camuto et al. 2021, Eq. 3).
      image_range: that x + d kept to; None for any d, which is what a certificate speaks of.
    """

    upper: Float[ndarray, "n"]
    distortion: Float[ndarray, "n *image"]
    p_upper: Float[ndarray, "n"]
    p_clean: Float[ndarray, "n"]
    curve_norms: Float[ndarray, "n k"]
    curve_probability: Float[ndarray, "n k"]
    alpha: float
    risk: float
    reconstruction_radius: float
    num_samples: int
    num_tried: int
    norm: str
    frozen_std: bool
    image_range: tuple[float, float] | None

    def to_arrays(self) -> dict[str, ndarray]:
        """The fields by name, for an npz that loads with allow_pickle=False; without image_range where it is None."""
        names = [field.name for field in dataclasses.fields(self)]
        return {name: np.asarray(getattr(self, name)) for name in names if getattr(self, name) is not None}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, ndarray]) -> "EmpiricalMargin":
        """Undoes `to_arrays`; raises ValueError where a field is missing, or of another shape or type.

        Files of versions without `frozen_std` hold margins of a moving sigma.
        """
        arrays = {"frozen_std": np.asarray(False), **arrays}
        names = [field.name for field in dataclasses.fields(cls) if field.name != "image_range"]
        if missing := [name for name in names if name not in arrays]:
            raise ValueError(f"this is not an empirical margin: {', '.join(missing)} missing")
        check_fields(cls, arrays)
        if "image_range" in arrays and arrays["image_range"].shape != (2,):
            raise ValueError("image_range must be two numbers")
        # The 0-d arrays become the Python texts and numbers that they were made of.
        values: dict[str, Any] = {n: arrays[n].item() if arrays[n].ndim == 0 else arrays[n] for n in names}
        image_range = tuple(arrays["image_range"].tolist()) if "image_range" in arrays else None
        return cls(**values, image_range=image_range)

    def rows(self) -> list[dict[str, Any]]:
        """One row per image, for a tidy CSV, units in the names."""
        return [
            {
                "image": image,
                "norm": self.norm,
                "upper_margin_pixel_units": self.upper[image],
                "found": bool(np.isfinite(self.upper[image])),
                "probability_upper_bound": self.p_upper[image],
                "clean_probability": self.p_clean[image],
                "num_samples": self.num_samples,
                "num_tried": self.num_tried,
                "reconstruction_radius_l2": self.reconstruction_radius,
                "risk": self.risk,
                "frozen_std": self.frozen_std,
                "alpha": self.alpha,
            }
            for image in range(len(self.upper))
        ]
