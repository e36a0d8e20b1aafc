"""Pictures of results and the report. The only room that imports matplotlib; it computes nothing else.

Results come in as plain arrays (`ModelResults` and what it holds); out come PNG bytes and one HTML page.
"""

from seatbelt_jax.plots.images import image_grid
from seatbelt_jax.plots.report import Report, build
from seatbelt_jax.plots.results import AttackData, CertificateData, Flag, ModelResults, Samples
from seatbelt_jax.plots.swiss_roll import RollModel, swiss_roll_figure

__all__ = [
    "AttackData",
    "CertificateData",
    "Flag",
    "ModelResults",
    "Report",
    "RollModel",
    "Samples",
    "build",
    "image_grid",
    "swiss_roll_figure",
]
