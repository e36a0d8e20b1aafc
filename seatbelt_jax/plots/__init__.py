"""Pictures of results and the report. The only room that imports matplotlib; it computes nothing else.

Results come in as plain arrays (`ModelResults` and what it holds); out come PNG bytes and one HTML page.
"""

from seatbelt_jax.plots.certificates import NORMS
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
from seatbelt_jax.plots.swiss_roll import RollModel, swiss_roll_figure

__all__ = [
    "NORMS",
    "AttackData",
    "CertificateData",
    "CertifiedModel",
    "EmpiricalData",
    "Flag",
    "MinimalRadiusData",
    "ModelResults",
    "Report",
    "RollModel",
    "Samples",
    "build",
    "certification_figures",
    "image_grid",
    "swiss_roll_figure",
]
