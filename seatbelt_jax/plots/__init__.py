"""Pictures of results and the report. The only room that imports matplotlib; it computes nothing else.

Results come in as plain arrays (`ModelResults` and what it holds); out come PNG bytes and one HTML page.
"""

from seatbelt_jax.plots.cells import CellAttack, CellData, SweepData
from seatbelt_jax.plots.certificates import NORMS
from seatbelt_jax.plots.charts import SERIES
from seatbelt_jax.plots.gallery import gallery_of
from seatbelt_jax.plots.images import distortion_image, image_grid
from seatbelt_jax.plots.margins import certification_figures
from seatbelt_jax.plots.papers import Curves, Line, NumberMap, Panel, Tiles, paper_figure
from seatbelt_jax.plots.report import Report, build
from seatbelt_jax.plots.results import (
    AttackData,
    CertificateData,
    CertifiedModel,
    EmpiricalData,
    Flag,
    MinimalRadiusData,
    ModelResults,
    Samples,
)
from seatbelt_jax.plots.sweep_report import LARGEST, build_sweep
from seatbelt_jax.plots.swiss_roll import RollModel, swiss_roll_figure

__all__ = [
    "LARGEST",
    "NORMS",
    "SERIES",
    "AttackData",
    "CellAttack",
    "CellData",
    "CertificateData",
    "CertifiedModel",
    "Curves",
    "EmpiricalData",
    "Flag",
    "Line",
    "MinimalRadiusData",
    "ModelResults",
    "NumberMap",
    "Panel",
    "Report",
    "RollModel",
    "Samples",
    "SweepData",
    "Tiles",
    "build",
    "build_sweep",
    "certification_figures",
    "distortion_image",
    "gallery_of",
    "image_grid",
    "paper_figure",
    "swiss_roll_figure",
]
