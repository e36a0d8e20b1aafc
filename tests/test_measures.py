"""The table of measures: its names are those of the results, and each place shows exactly its rows, in order."""

import numpy as np
import pytest

from seatbelt_jax import metrics, plots, runs
from seatbelt_jax.jobs import evaluate
from seatbelt_jax.plots import cell_curves
from seatbelt_jax.report import cell_table, results, summary
from seatbelt_jax.report.page import formula
from seatbelt_jax.results.measures import MEASURES, OF_ATTACKS, OF_MODELS, Measure, of_place
from tests import made_up_runs


def test_names_and_labels_are_unique():
    assert len(MEASURES) == len(OF_ATTACKS) + len(OF_MODELS)
    for labels in ([one.label for one in MEASURES.values()], [one.short for one in MEASURES.values()]):
        assert len(set(labels)) == len(labels)


def test_every_number_of_a_summary_of_attacks_has_a_row_and_the_other_way_round():
    found = metrics.summarise(made_up_runs.attack(np.random.default_rng(0), (4, 4, 1)))
    names = {name for name in found if not name.endswith(("_low", "_high"))}
    # How many there were, and the share that is in no median, are no measures of the model.
    assert names - {"attacks", "share_non_finite"} == {one.name for one in OF_ATTACKS}


def test_paths_of_evaluations_begin_with_a_measure_that_is_made():
    paths = [one.evaluation for one in OF_MODELS if one.evaluation]
    assert paths and {path.split("/")[0] for path in paths} <= set(evaluate.MEASURES)


def cells():
    numbers = {one.column("latent", "pixel units"): 1.0 for one in of_place("sweep", OF_ATTACKS)}
    numbers |= {one.name: 1.0 for one in of_place("sweep", OF_MODELS)} | {"margin_spectral_median_l2": 1.0}
    return plots.SweepData(
        "small", "x",
        [plots.CellData(f"{beta}", "done", "", {"beta": beta}, numbers) for beta in (1.0, 2.0)],
        {"latent": "pixel_units"},
    )  # fmt: skip


def test_the_table_and_the_charts_of_a_sweep_show_their_rows():
    header = [
        head if isinstance(head, str) else head.words for head in cell_table.cell_table(cells(), [False] * 2).header
    ]
    heads = [formula(one.head).format(unit="pixel units") for one in of_place("sweep")]
    assert header[-len(heads) :] == heads and "suspicious" in heads and "‖<i>d</i>‖ half way ↑" in heads
    (charts,) = cell_curves.curves(cells()).charts.values()
    assert [title.split(";")[0] for title in charts] == [
        one.words.format(unit="pixel units") for one in of_place("curves")
    ]


def test_the_report_and_the_summary_of_a_run_show_their_rows(tmp_path):
    path = made_up_runs.write(tmp_path / "run", "metrics", "attacks", "certificates")
    rows = summary.summary([results.of_run(runs.open(path), "run")]).table.rows
    assert [row[0].words for row in rows if len(row) > 1] == [formula(one.label) for one in of_place("report")]


@pytest.mark.parametrize("place", ["report", "sweep", "curves", "summary", "demo"])
def test_every_place_has_rows_with_a_unit_or_a_pure_number(place):
    found = list(of_place(place))
    assert found and all(one.unit in ("", "{unit}", "nats", "pixel units") for one in found)


def test_a_measure_that_is_added_to_the_table_is_shown(monkeypatch):
    added = Measure("median_cost", "Cost", "cost", "nats", "median", "higher", ("curves",))
    monkeypatch.setattr(cell_curves, "OF_MODELS", (added,))
    sweep = cells()
    for cell in sweep.cells:
        cell.numbers["median_cost"] = 2.0
    (charts,) = cell_curves.curves(sweep).charts.values()
    assert list(charts)[-1] == "Cost, nats"
