"""Charts and pictures of results. The only room that imports matplotlib; it computes nothing else.

Results come in as records (`ModelResults`, `SweepData` and what they hold); out come PNG and SVG.
"""

from seatbelt_jax.plots.cells import CellAttack, CellData, SweepData
from seatbelt_jax.plots.charts import SERIES, Format
from seatbelt_jax.plots.images import distortion_image, image_grid
from seatbelt_jax.plots.margins import certification_figures
from seatbelt_jax.plots.papers import Curves, Line, NumberMap, Panel, Tiles, paper_figure
from seatbelt_jax.plots.results import CertifiedModel, MeasuredAttack, ModelResults, Samples
from seatbelt_jax.plots.swiss_roll import RollModel, swiss_roll_figure

__all__ = [
    "SERIES",
    "CellAttack",
    "CellData",
    "CertifiedModel",
    "Curves",
    "Format",
    "Line",
    "MeasuredAttack",
    "ModelResults",
    "NumberMap",
    "Panel",
    "RollModel",
    "Samples",
    "SweepData",
    "Tiles",
    "certification_figures",
    "distortion_image",
    "image_grid",
    "paper_figure",
    "swiss_roll_figure",
]
