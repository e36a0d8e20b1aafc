"""The figures of the papers that launch/figures.py can draw, by name."""

import figures_c21
import figures_claims
import figures_s18
import figures_w19
import figures_w21
import figures_w21_appendix
import figures_w21_images
from drawing import Figure

FIGURES: dict[str, Figure] = {
    **figures_w21.FIGURES,
    **figures_w21_images.FIGURES,
    **figures_w21_appendix.FIGURES,
    **figures_w19.FIGURES,
    **figures_claims.FIGURES,
    **figures_s18.FIGURES,
    **figures_c21.FIGURES,
}
