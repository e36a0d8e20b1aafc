"""3D Chairs (Aubry et al. 2014): 1,393 chairs, each rendered from 31 sides at 2 elevations, 600 x 600, on white.

The pictures leave much room around the chairs. Which part of them the papers took is not known: their authors lost it.
The middle 400 x 400 pixels, `crop=(100, 100, 400, 400)`, let most chairs fill the frame.
"""

import pathlib
import re

import numpy as np
from jaxtyping import Int

from seatbelt_jax.data import picture_files
from seatbelt_jax.data.dataset import Splits
from seatbelt_jax.data.fitting import Fitting
from seatbelt_jax.data.held_out import hold_out
from seatbelt_jax.data.inside import Inside
from seatbelt_jax.data.local_path import existing, printable
from seatbelt_jax.data.picture_files import OnCorrupt

# As the archive unpacks.
_FOLDER = "rendered_chairs"
# image_001_p020_t011_r096.png: p is the elevation and t the azimuth, in degrees.
_NAME = re.compile(r"image_\d+_p(?P<elevation>\d+)_t(?P<azimuth>\d+)_.*\.png")


def load(path: str, fitting: Fitting, held_out: float, *, channels: int | None = None, on_corrupt: OnCorrupt) -> Splits:
    """Opens rendered_chairs/ID/renders/image_*_pNNN_tNNN_*.png, given that folder or the one it is in.

    Grey unless `channels` is 3. Factors are (identity, azimuth, elevation), each counted from 0 in the order of the
    folders' names or of the degrees; labels are the identities.

    Raises:
      FileNotFoundError: where there is no such folder.
      ValueError: where it holds no such pictures, and as `picture_files.survey`.
    """
    root = existing(path, "folder", "chairs")
    if (root / _FOLDER).is_dir():
        root = root / _FOLDER
    inside = Inside(root)
    named = (file for file in root.glob("*/renders/*.png") if _NAME.fullmatch(file.name))
    paths = sorted(file for file in named if inside.holds(file) and file.is_file())
    inside.warn_of_links()
    if not paths:
        raise ValueError(
            f"{printable(path)} holds no rendered chairs; there must be "
            f"{_FOLDER}/ID/renders/image_*_pNNN_tNNN_*.png in it"
        )
    found = picture_files.survey(paths, fitting, channels=channels or 1, on_corrupt=on_corrupt)
    kept = [paths[place] for place in found.kept]
    factors = _factors(kept)
    everything = picture_files.dataset(
        f"chairs:{printable(path)}",
        root,
        kept,
        fitting,
        channels=found.channels,
        labels=factors[:, 0],
        factors=factors,
        orientations=found.orientations,
    )
    return hold_out(everything, held_out)


def _factors(paths: list[pathlib.Path]) -> Int[np.ndarray, "size 3"]:
    names = [_NAME.fullmatch(path.name) for path in paths]
    values = (
        [path.parents[1].name for path in paths],
        [int(name["azimuth"]) for name in names if name],
        [int(name["elevation"]) for name in names if name],
    )
    return np.stack([np.unique(levels, return_inverse=True)[1] for levels in values], axis=-1).astype(np.int32)
