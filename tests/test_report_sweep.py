"""The report on a sweep: no cell is hidden, numbers are those of the table, names are no HTML, pages stay small."""

import dataclasses
import json
import os
import re
import types

import numpy as np
import pytest
from absl import flags
from matplotlib.figure import Figure
from ml_collections import config_flags

from seatbelt_jax import metrics, plots, storage
from seatbelt_jax.cli import start
from seatbelt_jax.plots import cell_curves
from seatbelt_jax.report import build, cell_table, gallery, sweep_page
from seatbelt_jax.report import sweep as sweep_report
from seatbelt_jax.results import Diagnosis
from tests import launchers, made_up_runs, made_up_sweep
from tests.html_page import Page, read, section
from tests.made_up_sweep import ALARM

SECTIONS = ["answers", "introduction", "cells", "curves", "attacks", "trust", "certificates", "not-certified",
            "not-done", "settings"]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return made_up_sweep.write(tmp_path_factory.mktemp("sweeps") / "<i>small")


@pytest.fixture(scope="module")
def reported(folder):
    written = build.report_of_sweep(folder, command="seatbelt report --sweep=x")
    assert written == folder / "report.html"
    return read(written)


@pytest.fixture(scope="module")
def page(reported) -> Page:
    return reported[1]


def rows_of(source: str, name: str) -> dict[str, list[str]]:
    """The cells of a section's table as text, by the first of each row."""
    (body,) = re.findall(rf'<section id="{name}">.*?<tbody>(.*?)</tbody>', source, re.DOTALL)[:1]
    rows = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in re.findall("<tr.*?</tr>", body)]
    plain = [[re.sub("<[^>]+>", "", cell) for cell in row] for row in rows]
    return {row[0]: row[1:] for row in plain}


def test_every_section_and_every_cell_is_there(reported, page):
    source, _ = reported
    assert [name for name in page.ids if name in SECTIONS] == SECTIONS
    assert page.open == [] and len(page.ids) == len(set(page.ids))
    assert "7 cells 3 done, 1 failed, 1 unfinished, 1 damaged, 1 in no table" in section(page, "answers")
    rows = rows_of(source, "cells")
    assert list(rows) == ["seatbelt_beta1", "seatbelt_beta4", "seatbelt_beta10", "lost", "later", "cut", "unlisted"]
    why = section(page, "not-done")
    assert f"train: {ALARM}: no such file" in why and "still to be done" in why
    assert "certificates/spectral.npz is not a readable npz archive" in why
    assert "called again without --shard, gathers all" in why


def test_numbers_are_those_of_the_table(reported, page):
    source, _ = reported
    (row,) = [cells for name, cells in rows_of(source, "cells").items() if name == "seatbelt_beta10"]
    # Where it is, status, two attacks of four numbers, margin, error and ELBO.
    expected = ["10", "done", "20.0", "∞", "∞", "25 %", "5.00", "–", "–", "5 %", "0.200spectral", "1.50", "−100"]  # noqa: RUF001
    assert row[-len(expected) :] == expected
    assert 'data-value="inf"' in source and 'data-value="20.0"' in source
    # Delta, half way, margin, error, ELBO; nobody went nine tenths. One data set, all along beta.
    assert page.svgs == 5
    trust = section(page, "trust")
    assert "in 3 of 6 sweeps of attacks, more than 10 % of the attacks show a sign of weakness" in trust
    certificates = rows_of(source, "certificates")["seatbelt_beta4"]
    assert certificates[:5] == ["spectral", "first order", "L2", "4.00", "4 validation"]
    assert "4 of 7 cells have no certificate" in section(page, "not-certified")


def cells_of(*sets, **numbers):
    return plots.SweepData(
        "small",
        "runs/sweeps/small",
        [
            plots.CellData(f"{data}_beta{beta:g}", "done", "", {"data": data, "beta": beta}, numbers)
            for data in sets
            for beta in (1.0, 2.0)
        ],
        {"latent": "nats"},
    )


def test_charts_of_one_data_set_stand_together_and_of_several_by_measure():
    numbers = {"latent_median_delta_nats": 1.0, "elbo_nats": -2.0}
    delta, elbo = "Attack objective Δ, nats; attack latent", "ELBO, nats"

    def headings(sweep):
        return {heading: list(charts) for heading, charts in cell_curves.curves(sweep).charts.items()}

    assert headings(cells_of("mnist", **numbers)) == {"mnist": [delta, elbo]}
    both = cells_of("mnist", "sprites", **numbers)
    assert headings(both) == {delta: ["mnist", "sprites"], elbo: ["mnist", "sprites"]}


@pytest.mark.parametrize(("methods", "named"), [(("spectral", "hierarchical"), True), (("hybrid", "hybrid"), False)])
def test_a_curve_of_margins_by_different_methods_names_them(methods, named):
    cells = [
        plots.CellData(
            f"{model}{beta}", "done", "", {"model": model, "beta": beta}, {f"margin_{method}_median_l2": beta}
        )
        for model, method in zip("ab", methods, strict=True)
        for beta in (1.0, 2.0)
    ]
    (charts,) = cell_curves.curves(plots.SweepData("small", "x", cells, {})).charts.values()
    axes = Figure().add_subplot()
    charts["Certified margin, pixel units"](axes)
    assert [words.get_text() for words in axes.texts] == (list(methods) if named else [])


def test_what_no_cell_has_is_no_column():
    def heads(**numbers):
        table = cell_table.cell_table(cells_of("mnist", **numbers), [False, False])
        return [head if isinstance(head, str) else head.words for head in table.header]

    assert heads()[-1] == "suspicious"
    assert heads(elbo_nats=-2.0)[-2:] == ["suspicious", "ELBO, nats ↑"]
    assert heads(margin_spectral_median_l2=0.1)[-2:] == ["suspicious", "certified margin ↑"]


def test_settings_say_what_differs(page):
    settings = section(page, "settings")
    assert re.search(r"objective.beta 8.0 1 1.0 1 4.0 1 10.0 1 9.0 1|objective.beta .*10.0 1", settings)
    assert "attack all_layers: pairs" in settings and "jax 9.9.9" in settings


def test_nothing_of_a_file_is_taken_for_html(reported, page):
    source, _ = reported
    assert ALARM not in source and "<i>small" not in source
    assert ALARM in page.text["settings"] and "<i>small" in page.text[None]
    assert [script.get("type") for script in page.scripts] == ["application/json"] * 3 + [None]
    assert not re.search(r"https?:|@import", source)
    # The folder's name is in the paths of commands.
    assert "&lt;i&gt;small/CELL" in source


def test_the_gallery_holds_each_done_cell(reported):
    source, _ = reported
    packed = re.findall(r'<script type="application/json" id="pictures-(\d)">(.*?)</script>', source, re.DOTALL)
    assert [index for index, _ in packed] == ["0", "1", "2"]
    for _, text in packed:
        attacks = json.loads(text)
        assert [attack["name"] for attack in attacks] == ["all_layers", "top_layer"]
        assert attacks[1]["title"] == "latent attack, KL divergence, top layer; penalty λ ‖d‖"
        for attack in attacks:
            assert attack["two"] == 2 * 8 + 1 and attack["three"] == 3 * 8 + 2
            assert all(len(frame["captions"]) == 3 for frame in attack["frames"])
            assert len({frame["source"] for frame in attack["frames"]}) == len(attack["frames"]) > 1
    assert source.count("disabled>") == 4 and "lost (no attacks, failed)" in source


def test_budgets_are_chosen_by_what_their_attacks_do():
    budgets = np.array([8.0, 1.0, 2.0, 4.0, 16.0])
    # Medians over pairs: 1, 10, 9.9, 5, 0.9.
    norms = np.array([[1.0, 10.0, 9.9, 5.0, 0.9], [0.0, 10.0, 9.9, 4.0, 0.9], [2.0, 10.0, 9.9, 6.0, 0.9]])
    assert budgets[metrics.telling_budgets(budgets, norms, 3)].tolist() == [1.0, 4.0, 16.0]
    assert budgets[metrics.telling_budgets(budgets, norms, 9)].tolist() == [1.0, 2.0, 4.0, 16.0]
    with pytest.raises(ValueError, match="count must be at least 1, got 0"):
        metrics.telling_budgets(budgets, norms, 0)


@pytest.fixture(scope="module")
def large() -> plots.SweepData:
    """126 cells, two attacks on each, of noise, which no compression makes small."""
    rng = np.random.default_rng(0)

    def noise(*shape):
        return rng.integers(0, 256, (*shape, 16, 16, 3), dtype=np.uint8)

    labels = [f"λ = {budget}" for budget in range(7)]
    shown = gallery.Gallery(
        title="an attack", kind="penalty", given=noise(3, 2), target=noise(3, 2), moving=noise(3, 7, 3),
        labels=labels, captions=[["caption"] * 3] * 7, norms=[1.0] * 7, pairs=10, budgets=20,
    )  # fmt: skip
    attacks = {name: plots.CellAttack(shown, Diagnosis({}, ())) for name in ("first", "second")}
    cells = [
        plots.CellData(f"cell_{number}", "done", "", {"beta": float(number)}, {"first_share_suspicious": 0.0}, attacks)
        for number in range(126)
    ]
    return plots.SweepData("large", "runs/sweeps/large", cells, {"first": "nats", "second": "nats"})


def test_a_page_of_126_cells_is_smaller_than_10_mb_and_says_what_it_left_out(large):
    html = sweep_page.build_sweep(large, command="x").html
    assert 5_000_000 < len(html.encode()) < 10_000_000
    assert html.count('id="pictures-') == 126
    told = re.findall(r'<p class="note">Shown for each attack.*?</p>', html, re.DOTALL)[0]
    assert re.search(r"Shown for each attack: \d of 10 pairs, under at most \d of 20 budgets", " ".join(told.split()))
    assert "More would make this page larger than 10 MB." in " ".join(told.split())


def test_with_no_room_for_all_cells_the_first_have_pictures(large):
    few = dataclasses.replace(large, cells=large.cells[:6])
    of_one = len(gallery.pack([few.cells[0].attacks], 10**9).texts[0].encode())
    done = gallery.pack([cell.attacks for cell in few.cells], 6 * of_one)
    assert done.level == gallery.LEVELS[0] and done.left_out == 0 and None not in done.texts
    poorest = len(gallery._encoded(few.cells[0].attacks, gallery.LEVELS[-1]).encode())
    done = gallery.pack([cell.attacks for cell in few.cells], int(2.5 * poorest))
    assert done.level == gallery.LEVELS[-1] and done.left_out == 4
    assert [text is not None for text in done.texts] == [True, True, False, False, False, False]
    found = gallery.shown(few, done)
    assert found["left_out"] == 4 and found["only"] == "first"
    assert [index for index, _, _ in found["cells"]] == [0, 1, None, None, None, None]
    assert {why for _, _, why in found["cells"][2:]} == {"left out for size"}


def test_of_several_tables_the_newest_row_of_a_cell_counts(tmp_path):
    folder = tmp_path / "sweep"
    made_up_runs.write(folder / "a")
    for age, (name, status) in enumerate([("sweep_1_of_2", "unfinished"), ("sweep", "done"), ("sweep_2_of_2", "done")]):
        file = folder / f"{name}.csv"
        cell = "b" if name == "sweep_2_of_2" else "a"
        storage.write_csv(file, [{"cell": cell, "status": status, "beta": 1.0}])
        beside = folder / f"{name.replace('sweep', 'sweep_measures')}.csv"
        storage.write_csv(beside, [{"cell": cell, "measure": "elbo_nats", "value": float(age)}])
        os.utime(file, (age, age))
    found = sweep_report.of_folder(folder)
    assert [(cell.name, cell.status, cell.numbers) for cell in found.cells] == [
        ("a", "done", {"elbo_nats": 1.0}), ("b", "done", {"elbo_nats": 2.0}),
    ]  # fmt: skip
    _, page = read(build.report_of_sweep(folder))
    assert "There are no attack results of this sweep yet" in section(page, "attacks")
    assert f"seatbelt certify --run={folder}/a" in section(page, "certificates")
    assert "so there are no curves" in section(page, "curves") and "Every cell is done." in section(page, "not-done")


def test_what_is_no_sweep(tmp_path):
    report = build
    with pytest.raises(FileNotFoundError, match="nowhere is no folder; sweeps are made by"):
        report.report_of_sweep(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"has no sweep\.csv"):
        report.report_of_sweep(tmp_path)
    storage.write_csv(tmp_path / "sweep.csv", [{"name": "a"}])
    with pytest.raises(ValueError, match=r"sweep\.csv is no table of a sweep: it lacks the column cell or status"):
        report.report_of_sweep(tmp_path)
    storage.write_csv(tmp_path / "sweep.csv", [{"cell": "a", "status": "done", "beta": 1.0, "elbo_nats": -2.0}])
    with pytest.raises(ValueError, match=r"sweep_measures\.csv is missing; the same `seatbelt sweep` writes tables of"):
        report.report_of_sweep(tmp_path)
    with pytest.raises(ValueError, match="is a directory; name the file"):
        report.report_of_sweep(tmp_path, tmp_path)


@pytest.mark.parametrize("arguments", [(), ("--run=a", "--sweep=b")])
def test_the_command_takes_runs_or_one_sweep(arguments):
    message = "give runs, as --run=runs/NAME, or one sweep, as --sweep=runs/sweeps/NAME"
    assert message in launchers.refusal("report", *arguments)


def test_a_folder_of_a_sweep_is_no_configuration_that_is_missing(monkeypatch):
    values = flags.FlagValues()
    monkeypatch.setattr(start, "flags", types.SimpleNamespace(FLAGS=values))
    with pytest.raises(FileNotFoundError):
        start._with_paths(["--sweep=runs/sweeps/x"])
    flags.DEFINE_string("sweep", None, "A folder.", flag_values=values)
    start._with_paths(["--sweep=runs/sweeps/x"])
    # For launch/sweep.py the flag names a configuration.
    values = flags.FlagValues()
    monkeypatch.setattr(start, "flags", types.SimpleNamespace(FLAGS=values))
    config_flags.DEFINE_config_file("sweep", None, "A file.", flag_values=values)
    with pytest.raises(FileNotFoundError):
        start._with_paths(["--sweep=runs/sweeps/x"])
