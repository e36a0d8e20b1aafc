"""Figures of runs: beside their page, and in other formats for papers."""

import re
from collections.abc import Mapping, Sequence
from typing import get_args

from seatbelt_jax import metrics
from seatbelt_jax.plots import attacks, charts, cost, curves, margins, papers
from seatbelt_jax.plots.results import ModelResults
from seatbelt_jax.plots.sweeps import sweeps

FORMATS = get_args(charts.Format)


def charts_of(models: Sequence[ModelResults]) -> dict[str, Mapping[str, charts.Draw]]:
    """Charts by the names of the figures that hold them; empty where nothing is to be drawn."""
    drawn: dict[str, Mapping[str, charts.Draw]] = {"learning_curves": curves.learning_charts(models)}
    for sweep in sweeps(models):
        of_attack = attacks.attack_charts(sweep)
        if sweep.first.targeted:
            costs = [[metrics.distortion_to_reach(one, way) for way in cost.WAYS] for _, _, one in sweep.swept]
            of_attack = {"cost": cost.cost_chart(sweep, costs)} | of_attack
        drawn[f"attack_{sweep.key}"] = of_attack
    drawn["certified_margins"] = margins.certificate_charts(models)
    return drawn


def files(
    models: Sequence[ModelResults], drawn: Mapping[str, Mapping[str, charts.Draw]], kind: charts.Format = "png"
) -> dict[str, bytes]:
    """All figures by file name: the charts, and pictures of the attacks on each model at distortions of one size."""
    found = {f"{name}.{kind}": charts.figure(list(entry.values()), kind) for name, entry in drawn.items() if entry}
    for sweep in sweeps(models):
        size = attacks.common_size(sweep)
        for position, (_, model, _) in enumerate(sweep.swept):
            name = re.sub(r"[^\w.-]+", "_", model.name)
            picture = papers.paper_figure([cost.attack_tiles(sweep, position, size)], sweep.heading + ".", kind=kind)
            found[f"attacked_images_{sweep.key}_{name}.{kind}"] = picture
    return found
