"""The figures of the papers that `seatbelt figures` can draw, by name."""

from seatbelt_jax.studies.papers import (
    figures_c21,
    figures_claims,
    figures_s18,
    figures_w19,
    figures_w21,
    figures_w21_images,
)
from seatbelt_jax.studies.papers.drawing import Figure

FIGURES: dict[str, Figure] = {
    **figures_w21.FIGURES,
    **figures_w21_images.FIGURES,
    **figures_w19.FIGURES,
    **figures_claims.FIGURES,
    **figures_s18.FIGURES,
    **figures_c21.FIGURES,
}
