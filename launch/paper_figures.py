"""The figures of the papers that launch/figures.py can draw, by name."""

import figures_w21
from drawing import Figure

FIGURES: dict[str, Figure] = {**figures_w21.FIGURES}
