"""The table of measures: what every number about a model is called, its unit, which direction is better, who shows it.

To add a measure to a page, add its row here; pages, summaries and charts read the rows of their place, in this order.
"""

from collections.abc import Iterator
from typing import Literal, NamedTuple

# Distances and distortions are L2 over the whole image.
_PIXELS = "pixel units"

Place = Literal["report", "sweep", "curves", "summary", "demo"]


class Measure(NamedTuple):
    """A number about a model.

    Attributes:
      name: in the summary of a sweep of attacks, or in sweep_measures.csv; different from all others.
      label: in words.
      short: as the head of a column.
      unit: in words; empty for shares and pure numbers. {unit} stands for the unit of the attacker's objective.
      how: what it was taken over, and how; {budget} stands for what a budget is called.
      direction: "higher" or "lower" is better; empty where neither is.
      places: the run's report, a sweep's table and its charts, a run's summary, and the demo's last lines.
      training: the column of metrics.jsonl, where it is one.
      evaluation: the path in evaluation.json, where it is one.
    """

    name: str
    label: str
    short: str
    unit: str
    how: str
    direction: Literal["higher", "lower", ""]
    places: tuple[Place, ...]
    training: str = ""
    evaluation: str = ""

    @property
    def is_share(self) -> bool:
        """Whether it reads best as a percentage."""
        return "share" in self.name

    @property
    def arrow(self) -> str:
        """Which direction is better, as a sign."""
        return {"higher": "↑", "lower": "↓", "": ""}[self.direction]

    @property
    def words(self) -> str:
        """The label with its unit."""
        return f"{self.label}, {self.unit}" if self.unit else self.label

    @property
    def head(self) -> str:
        """As the head of a column: short, with its unit but for distances, and with the direction."""
        unit = "" if self.unit in ("", _PIXELS) else f", {self.unit}"
        return f"{self.short}{unit} {self.arrow}".rstrip()

    def column(self, attack: str, unit: str) -> str:
        """Its name among a cell's numbers (`plots.CellData.numbers`), for one of the sweep's attacks.

        Args:
          attack: the attack's name in the sweep.
          unit: of the attacker's objective.
        """
        return f"{attack}_{self.name}".replace("median_objective", f"median_delta_{unit.replace(' ', '_')}")


# In the order in which pages show them.
OF_ATTACKS = (
    Measure("median_objective", "Attack objective Δ", "Δ", "{unit}", "median", "higher",
            ("report", "sweep", "curves", "summary", "demo")),
    Measure("median_excess_target_nll_nats", "Excess \N{MINUS SIGN}log p(xᵗ|z*)", "excess \N{MINUS SIGN}log p(xᵗ|z*)",
            "nats", "over the target’s own code, median", "higher", ("report",)),
    Measure("median_distortion_l2", "Distortion ‖d‖", "‖d‖", _PIXELS, "median", "higher", ("report",)),
    Measure("median_distortion_half_way_l2", "Distortion to go half way", "‖d‖ half way", _PIXELS,
            "median over pairs", "higher", ("report", "sweep", "curves", "summary", "demo")),
    Measure("median_distortion_nine_tenths_l2", "Distortion to go nine tenths", "‖d‖ nine tenths", _PIXELS,
            "median over pairs", "higher", ("report", "sweep", "curves", "summary", "demo")),
    Measure("share_reaching_half_way", "Pairs that went half way", "half way", "", "under any {budget}", "lower",
            ("report",)),
    Measure("share_reaching_nine_tenths", "Pairs that went nine tenths", "nine tenths", "", "under any {budget}",
            "lower", ("report",)),
    Measure("median_auddc", "AUDDC", "AUDDC", "", "area under the distortion-distortion curve; median over pairs",
            "higher", ("report",)),
    Measure("median_relative_likelihood_degradation", "Degradation of log p(x|z*)", "degradation of log p(x|z*)", "",
            "change relative to log p(x|z), median", "lower", ("report",)),
    Measure("share_suspicious", "Suspicious attacks", "suspicious", "", "the fewer, the more reliable the rows above",
            "", ("report", "sweep", "summary")),
)  # fmt: skip
OF_MODELS = (
    Measure("certified_margin", "Certified margin", "certified margin", _PIXELS,
            "median, an abstention counts 0", "higher", ("report", "sweep", "curves")),
    Measure("certified_share_abstained", "Images without a certificate", "abstained", "", "the method abstained",
            "lower", ("report",)),
    Measure("reconstruction_error_l2", "Reconstruction error", "reconstruction error", _PIXELS,
            "mean over validation images", "lower", ("report", "sweep", "curves", "summary", "demo"),
            training="reconstruction_error", evaluation="elbo/reconstruction_error_l2"),
    Measure("elbo_nats", "ELBO", "ELBO", "nats", "mean over images", "higher",
            ("sweep", "curves", "summary", "demo"), training="elbo", evaluation="elbo/elbo_nats"),
    Measure("total_correlation_nats", "Total correlation", "total correlation", "nats", "", "", ("summary",),
            evaluation="elbo/total_correlation_nats"),
    Measure("log_likelihood_nats", "log p(x)", "log p(x)", "nats", "importance-weighted bound", "higher",
            ("summary",), evaluation="importance_weighted/log_likelihood_nats"),
    Measure("mutual_information_gap", "Mutual information gap", "mutual information gap", "", "", "higher",
            ("summary",), evaluation="mig/all_layers/mig"),
    Measure("attacked_accuracy", "Accuracy under attack", "accuracy under attack", "", "", "higher", ("summary",),
            evaluation="downstream/mlp_reconstructions/accuracy_attacked"),
)  # fmt: skip
MEASURES = {measure.name: measure for measure in (*OF_ATTACKS, *OF_MODELS)}


def of_place(place: Place, measures: tuple[Measure, ...] = (*OF_ATTACKS, *OF_MODELS)) -> Iterator[Measure]:
    """The measures that a place shows, in order."""
    return (measure for measure in measures if place in measure.places)
