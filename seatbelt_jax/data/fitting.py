"""How stored images of any size become those that a model reads: one account of it for all sources."""

import dataclasses

import numpy as np
from jaxtyping import UInt8

from seatbelt_jax.data.transforms import Crop, Fit, prepare


@dataclasses.dataclass(frozen=True)
class Fitting:
    """The arguments of `transforms.prepare`, and the range beside them.

    Attributes:
      image_size: height and width of the result, in pixels.
      crop: (top, left, height, width) cut out first, in pixels of the original; None takes all.
      fit: "resize" or "pad".
      image_range: what black and white become.
    """

    image_size: int
    crop: Crop | None = None
    fit: Fit = "resize"
    image_range: tuple[float, float] = (0.0, 1.0)

    def __call__(self, image: UInt8[np.ndarray, "height width channels"]) -> UInt8[np.ndarray, "size size channels"]:
        return prepare(image, self.image_size, self.crop, self.fit)

    def keeps(self, height: int, width: int) -> bool:
        """Whether images of this size are left as they are."""
        return self.crop is None and (height, width) == (self.image_size, self.image_size)

    def check(self, height: int, width: int, what: str) -> None:
        """Raises ValueError, naming `what`, where an image of this size cannot be prepared."""
        if self.crop is None and self.fit == "resize":
            return
        try:
            # Black; it takes no memory before it is cut.
            self(np.broadcast_to(np.uint8(0), (height, width, 1)))
        except ValueError as error:
            raise ValueError(f"{what}: {error}") from None
