"""Pictures of results and the report. The only room that imports matplotlib; it computes nothing else.

Results come in as plain arrays (`ModelResults` and what it holds); out come PNG bytes and one HTML page.
"""

from seatbelt_jax.plots.cells import CellAttack, CellData, SweepData
from seatbelt_jax.plots.certificates import NORMS
from seatbelt_jax.plots.gallery import gallery_of
from seatbelt_jax.plots.images import image_grid
from seatbelt_jax.plots.margins import certification_figures
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
    "AttackData",
    "CellAttack",
    "CellData",
    "CertificateData",
    "CertifiedModel",
    "EmpiricalData",
    "Flag",
    "MinimalRadiusData",
    "ModelResults",
    "Report",
    "RollModel",
    "Samples",
    "SweepData",
    "build",
    "build_sweep",
    "certification_figures",
    "gallery_of",
    "image_grid",
    "swiss_roll_figure",
]
