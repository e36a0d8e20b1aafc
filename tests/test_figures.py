"""launch/figures.py: the numbers of figures from planted tables, and what is said of those that cannot be drawn."""

import re

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from seatbelt_jax import plots, storage
from seatbelt_jax.plots import papers
from seatbelt_jax.studies.papers import figure_densities, figure_tables, figures_w21_images
from seatbelt_jax.studies.papers import figures as figures_paper
from tests import launchers, planted_sweep


@pytest.fixture(scope="module")
def figures():
    return figures_paper


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    return planted_sweep.write(tmp_path_factory.mktemp("planted"), data=("sprites",), sizes=(8, 32))


@pytest.fixture(scope="module")
def drawn(figures, planted):
    """All figures, drawn once."""
    return *figures.draw([planted], ["all"], planted / "figures"), planted / "figures"


def rows(drawn, name, **wanted):
    table = planted_sweep.table(drawn[2] / f"{name}.csv")
    return [row for row in table if all(row[column] == value for column, value in wanted.items())]


def read_tables(folders):
    return figure_tables.read(folders)


@pytest.mark.slow
def test_each_figure_has_a_picture_or_a_page_and_its_numbers(drawn):
    written, missing, folder = drawn
    names = {file.stem for file in written}
    assert {"w21_3", "w21_6"} <= names and not names & set(missing)
    for name in names:
        assert (folder / f"{name}.csv").exists()
        picture, page = folder / f"{name}.png", folder / f"{name}.md"
        assert (picture.exists() and planted_sweep.png_size(picture) > 5000) or len(page.read_text()) > 100


def test_delta_is_pooled_over_pairs_penalties_and_latent_sizes(drawn):
    (row,) = rows(drawn, "w21_3", data="sprites", measure="delta", beta=10.0)
    deltas = [planted_sweep.delta(10.0, 1, pair, penalty) for pair in range(3) for penalty in range(4)]
    assert row["mean"] == pytest.approx(np.mean(deltas), rel=1e-4)
    assert (row["attacks"], row["pairs"]) == (24, 3)  # two latent sizes
    assert row["low"] == pytest.approx(np.mean(deltas) - 2.0687 * np.std([*deltas] * 2, ddof=1) / 24**0.5, rel=1e-3)
    (half,) = rows(drawn, "w21_3", data="sprites", measure="distortion_half_way_l2", beta=10.0)
    assert half["median"] == planted_sweep.half_way(10.0, 1, 1) and half["high_over_pairs"] == 13.0
    # One of three pairs never gets there.
    (far,) = rows(drawn, "w21_3", data="sprites", measure="distortion_nine_tenths_l2", beta=10.0)
    assert far["median"] == 2.0 * planted_sweep.half_way(10.0, 1, 1) and far["high_over_pairs"] == np.inf


def test_a_curve_has_the_same_models_at_every_beta(figures, tmp_path):
    """With 8 latents Delta is a hundred times as large, and there is no other beta."""
    small = planted_sweep.write(tmp_path / "small", betas=(1.0,), sizes=(8,), scale=100.0)
    both = planted_sweep.write(tmp_path / "both", sizes=(24,))
    alone, pooled = (figures.FIGURES["w21_3"].draw(read_tables(parts)) for parts in ([both], [small, both]))
    assert pooled.rows == alone.rows
    assert (
        pooled.notes[-1]
        == "latent_kl_all: Left out, as others were trained under more β: 1 models, L 1; d_z 8; seeds 0."
    )
    for name in ("w21_5", "w21_d9", "w21_e10", "w19_5", "w19_7"):
        alone, pooled = (figures.FIGURES[name].draw(read_tables(parts)) for parts in ([both], [small, both]))
        assert pooled.rows == alone.rows and any("Left out" in note for note in pooled.notes), name
    of_elbo = figures.FIGURES["w21_6"].draw(read_tables([small, both]))
    assert {row["models"] for row in of_elbo.rows if row["model"] == "beta_tcvae"} == {1}


def test_the_elbo_is_averaged_over_depths_and_sizes(drawn):
    (row,) = rows(drawn, "w21_6", data="sprites", model="seatbelt", beta=10.0)
    values = [100.0 - 10.0 / depth + d_z for depth in (2, 4) for d_z in (8, 32)]
    assert row["mean"] == pytest.approx(np.mean(values)) and row["models"] == 4
    assert row["low"] == pytest.approx(np.mean(values) - 3.1824 * np.std(values, ddof=1) / 2.0, rel=1e-3)


def test_densities_are_those_of_the_largest_model(drawn):
    found = rows(drawn, "w21_f12", model="seatbelt", beta=10.0, noise=0.5)
    assert {(row["L"], row["d_z"]) for row in found} == {(4.0, 32.0)} and len(found) == 51
    highest = max(found, key=lambda row: row["density_per_nats"])
    assert highest["place_nats"] == highest["mean_nats"] == 10.0
    norms = rows(drawn, "w21_2", layer=1.0)
    assert {(row["model"], row["beta"]) for row in norms} == {
        ("beta_vae", 1.0),
        ("beta_vae", 10.0),
        ("beta_tcvae", 10.0),
    }


def test_of_models_alike_the_deepest_and_largest_with_the_first_seed_stands_for_all():
    settings = [(10.0, 2, 8, 0), (10.0, 4, 8, 0), (10.0, 4, 24, 1), (10.0, 4, 24, 0), (4.0, 4, 24, 0)]
    cells = pd.DataFrame(settings, columns=["beta", "L", "d_z", "seed"]).assign(data="sprites", kind="seatbelt")
    model_of = figure_densities.model_of
    assert model_of(cells, "sprites", "seatbelt").name == 3
    assert model_of(cells, "sprites", "seatbelt", least=True).name == 4
    assert model_of(cells, "sprites", "seatbelt", 2.0) is None


def test_maps_have_depths_from_the_beta_tcvae_up(drawn):
    found = {(row["L"], row["beta"]): row["mean"] for row in rows(drawn, "w21_d9", measure="target_nll_nats")}
    # 100 L + beta, and 0, 1, 2 for the three pairs.
    assert found == {(depth, beta): 100 * depth + beta + 1 for depth in (1.0, 2.0, 4.0) for beta in (1.0, 10.0)}
    layers = {(row["L"], row["attack"]) for row in rows(drawn, "w21_d8")}
    assert layers == {(depth, f"latent_kl_{layer}") for depth in (2.0, 4.0) for layer in ("bottom", "top", "all")}
    assert {row["model"] for row in rows(drawn, "w19_7", L=4.0)} == {"beta_tcdlgm", "seatbelt"}
    half = rows(drawn, "w19_7", measure="distortion_half_way_l2", model="seatbelt", L=4.0, beta=10.0)
    assert {row["median"] for row in half} == {planted_sweep.half_way(10.0, 4, 1)}


def test_distances_of_pairs_are_means_over_pairs(drawn):
    (error,) = rows(drawn, "w21_e10", measure="target_error_l2", beta=10.0)
    assert error["mean"] == pytest.approx(6.0) and error["attacks"] == 6  # three pairs on two models
    found = rows(drawn, "w21_e10", measure="distance_to_target_l2", beta=10.0)
    assert [(row["attack"], row["mean"]) for row in found] == [("latent_kl_all", 31.0), ("output_elbo", 31.0)]


def test_points_of_disentanglement_are_models(drawn):
    found = rows(drawn, "w21_e11", measure="delta")
    assert {(row["d_z"], row["beta"], row["mig"]) for row in found} == {
        (z, b, 0.01 * b) for z in (8, 32) for b in (1, 10)
    }


def test_tables_in_words_have_the_papers_layout(drawn):
    page = (drawn[2] / "w21_table1.md").read_text()
    assert "| sprites |  | β = 1, L = 1 | β = 10, L = 1 | β = 10, L = 4 |" in page
    assert "| median \\|\\|d\\|\\| | 5 | 5 | 5 |" in page and "| suspicious attacks | 25% | 25% | 25% |" in page
    assert r"| sprites | p_MLP(y\|z) | 0.41 (-0.30) | 0.50 (-0.30) | 0.50 (-0.30) |" in page
    (row,) = rows(drawn, "w19_table1", model="seatbelt", network="decoder")
    # From 39 to 30.
    assert row["relative_change_percent"] == pytest.approx(100.0 * (30.0 - 39.0) / 39.0)


def test_tables_without_runs_and_several_sweeps_are_enough(figures, planted, tmp_path):
    tables = planted_sweep.copy_without_runs(planted, tmp_path / "tables")
    other = planted_sweep.write(tmp_path, data=("faces",), sizes=(8,))
    written, _ = figures.draw([tables, other], ["w21_3"], tmp_path / "figures", "pdf")
    assert written[0].name == "w21_3.pdf" and written[0].read_bytes().startswith(b"%PDF")
    found = planted_sweep.table(written[1])
    assert {row["data"] for row in found} == {"sprites", "faces"}


def test_the_same_cell_twice_must_say_the_same(figures, planted, tmp_path):
    once, twice = (figure_tables.read(folders) for folders in ([planted], [planted, planted]))
    for name in once._fields[:-1]:
        pd.testing.assert_frame_equal(getattr(twice, name), getattr(once, name))
    other = planted_sweep.write(tmp_path, measures=False, sizes=(8,), attacks={"all": "latent_kl_all"})
    table = other / "sweep.csv"
    changed = table.read_text().replace(",100\n", ",90\n")
    assert changed != table.read_text()
    table.write_text(changed)
    with pytest.raises(ValueError, match=r"sweep.csv has step = 90.0 for sprites_.*these are two trainings"):
        figures.draw([planted, other], ["w21_3"], tmp_path / "figures")


@pytest.mark.parametrize(
    ("table", "column", "value", "message"),
    [
        ("sweep", "L", "two", r"sweep\.csv is damaged: the column 'L' must hold numbers, got 'two'"),
        ("sweep", "L", "", r"sweep\.csv is damaged: the column 'L' must hold a finite .* got nothing for sprites_"),
        ("sweep", "beta", "inf", r"sweep\.csv is damaged: the column 'beta' must hold a finite .* got inf for "),
        (
            "sweep_measures",
            "value",
            "high",
            r"measures\.csv is damaged: the column 'value' must hold numbers, got 'high'",
        ),
        ("sweep_densities", "density", "1 2 x", r"densities\.csv is damaged: the column 'density' must hold numbers"),
        ("sweep", "elbo_nats", "1", r"sweep\.csv has the column 'elbo_nats', which is none of a sweep's table cells"),
        ("sweep_pairs", "delta_mean", "x", r"sweep_pairs\.csv is damaged: the column 'delta_mean' .* got 'x'"),
    ],
)
def test_a_column_of_numbers_holds_numbers(figures, planted, tmp_path, table, column, value, message):
    folder = planted_sweep.copy_without_runs(planted, tmp_path / "tables")
    file = folder / f"{table}.csv"
    first, *others = storage.read_csv(file)
    storage.write_csv(file, [{column: "", **row} for row in (first | {column: value}, *others)])
    with pytest.raises(ValueError, match=message):
        figures.draw([folder], ["all"], tmp_path / "figures")


def test_measures_may_be_empty(figures, planted, tmp_path):
    folder = planted_sweep.copy_without_runs(planted, tmp_path / "tables")
    file = folder / "sweep_measures.csv"
    rows = storage.read_csv(file)
    storage.write_csv(file, [row | ({"value": ""} if row["measure"] == "elbo_nats" else {}) for row in rows])
    with pytest.raises(ValueError, match="the measure elbo of beta_tcvae or seatbelt"):
        figures.draw([folder], ["w21_6"], tmp_path)


def test_a_cell_of_two_sweeps_has_both_their_runs(tmp_path):
    folders = [tmp_path / "one", tmp_path / "other"]
    for folder, attack in zip(folders, planted_sweep.ATTACKS.items(), strict=False):
        planted_sweep.write(folder, models=("beta_tcvae",), attacks=dict([attack]), measures=False)
        (folder / "sprites_beta_tcvae_L1_dz24_beta1").mkdir()
        (folder / "sprites_beta_tcvae_L1_dz24_beta1" / "config.json").write_text("{}")
    tables = figure_tables.read([*folders, folders[0]])
    assert tables.runs == {
        "sprites_beta_tcvae_L1_dz24_beta1": [folder / name for folder in folders for name in tables.runs]
    }
    assert len(tables.cells) == 2 and set(tables.pairs["objective"]) == {"latent_kl_all", "latent_w2_all"}


def test_attacks_of_one_kind_are_not_mixed(figures, planted, tmp_path):
    tables = figure_tables.read([planted])
    cells = tables.of_kind("beta_tcvae")
    found = tables.attacks(cells, "latent_kl_all")
    again = tables.pairs.assign(attack="again", delta_mean=0.0)
    turned = tables.pairs.assign(attack="a rotation", pairs_by="factor:orientation")
    mixed = tables._replace(pairs=pd.concat([turned, tables.pairs, again], ignore_index=True))
    pd.testing.assert_frame_equal(mixed.attacks(cells, "latent_kl_all"), found)
    assert not len(tables._replace(pairs=turned).attacks(cells, "latent_kl_all"))


def test_what_is_missing_is_named(figures, tmp_path):
    planted_sweep.write(tmp_path, models=("beta_vae",), measures=False)
    with pytest.raises(
        ValueError, match=r"--figure=w21_3: Willetts et al. 2021, Fig. 3 needs trained cells of beta_tcvae"
    ):
        figures.draw([tmp_path], ["w21_3"], tmp_path / "figures")
    written, missing = figures.draw([tmp_path], ["all"], tmp_path / "figures")
    assert not written and "configs/sweeps/w21_small.py" in missing["w21_3"]
    with pytest.raises(ValueError, match=r"there is no figure w21_33; there are all, w21_"):
        figures.draw([tmp_path], ["w21_33"], tmp_path)
    with pytest.raises(FileNotFoundError, match=r"has no sweep.csv; seatbelt sweep"):
        figures.draw([tmp_path / "nowhere"], ["all"], tmp_path)


def test_a_caption_says_whose_figure_and_which_data(figures, drawn, planted):
    tables = figure_tables.read([planted])
    figure = figures.FIGURES["w21_3"]
    caption = figures._caption(figure, figure.draw(tables))
    assert caption.startswith("Willetts et al. 2021, Fig. 3: ")
    assert "Data: sprites (the paper's are dsprites, chairs, faces; for these: seatbelt sweep" in caption


def test_a_caption_says_where_something_is_never_reached(figures, planted):
    figure = figures.FIGURES["w21_3"]
    drawn = figure.draw(figure_tables.read([planted]))
    # One of three pairs never gets nine tenths of the way: the median is finite, its upper bound is not.
    caption = figures._caption(figure, drawn)
    assert "never reach" not in caption and "Bars with an arrow" in caption
    finite = [row for row in drawn.rows if np.inf not in row.values()]
    assert finite and "arrow" not in figures._caption(figure, drawn._replace(rows=finite))
    never = [row | {"median": np.inf} for row in finite]
    assert "what most pairs never reach" in figures._caption(figure, drawn._replace(rows=never))


def test_lines_have_gaps_and_bars_without_an_end_reach_the_frame():
    axes = Figure().add_subplot()
    line = plots.Line(
        "a", [1.0, 4.0, 10.0], [8.0, np.inf, 9.0], bar_low=[7.0, 8.0, 8.5], bar_high=[9.0, np.inf, np.inf]
    )
    papers._draw_curves(axes, plots.Curves("||d||", "beta", [line]))
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), [8.0, np.nan, 9.0])
    bars = [segment.tolist() for bars in axes.collections[:2] for segment in bars.get_segments()]
    assert bars == [[[1.0, 7.0], [1.0, 9.0]], [[10.0, 8.5], [10.0, axes.get_ylim()[1]]]]
    assert axes.collections[2].get_offsets().tolist() == [[10.0, axes.get_ylim()[1]]]


def test_lines_with_bars_stand_a_little_apart():
    axes, x = Figure().add_subplot(), [1.0, 11.0]
    lines = [plots.Line("", x, [1.0, 2.0], bar_low=[0.0, 1.0], bar_high=[2.0, 3.0]) for _ in range(2)]
    papers._draw_curves(axes, plots.Curves("||d||", "beta", [*lines, plots.Line("", x, [1.0, 1.0])]))
    first, second, without = (line.get_xdata() for line in axes.lines)
    np.testing.assert_allclose([*first, *second], [1.0 - 0.06, 11.0 - 0.06, 1.0 + 0.06, 11.0 + 0.06])
    assert without.tolist() == x
    assert [bars.get_segments()[0][0][0] for bars in axes.collections[:2]] == [first[0], second[0]]


def test_maps_of_one_measure_share_their_shades(figures, planted):
    tables = read_tables([planted])
    # Planted, all attacks reach the same; now those on the top layer reach less.
    shift = tables.pairs["objective"].map({"latent_kl_top": 1000.0}).fillna(0.0)
    pairs = tables.pairs.assign(target_nll_nats_mean=tables.pairs["target_nll_nats_mean"] + shift)
    drawn = figures.FIGURES["w21_d8"].draw(tables._replace(pairs=pairs))
    values = [row["mean"] for row in drawn.rows]
    assert len(drawn.panels) == 3
    for panel in drawn.panels:
        axes = Figure().add_subplot()
        papers._draw_map(axes, panel)
        assert axes.images[0].get_clim() == (min(values), max(values))


def test_an_attack_that_one_data_set_lacks_leaves_its_place_empty(figures, planted, tmp_path):
    other = planted_sweep.write(tmp_path, data=("faces",), attacks={"all": "latent_kl_all"})
    drawn = figures.FIGURES["w19_6"].draw(read_tables([planted, other]))
    assert drawn.columns == 2
    assert [panel and panel.title.split(":")[1].split(",")[0].strip() for panel in drawn.panels] == [
        *["sprites", "sprites", "faces", None],
        *["sprites", "sprites", "faces", None],
    ]
    assert len(plots.paper_figure(drawn.panels, "", columns=2)) > 5000


def test_a_caption_says_which_models_are_missing(figures, planted, tmp_path):
    figure = figures.FIGURES["w21_2"]
    read = figure_tables.read
    assert "sprites: no" not in " ".join(figure.draw(read([planted])).notes)
    drawn = figure.draw(read([planted_sweep.write(tmp_path, models=("beta_tcvae", "seatbelt"))]))
    assert drawn.notes[-2:] == ("sprites: no β-VAE.", "sprites: no VAE, that is, β-VAE under β = 1.")


def test_every_figure_names_a_sweep_that_exists(figures):
    for figure in figures.FIGURES.values():
        for file in filter(None, (figure.sweep, *re.findall(r"configs/[\w/]+\.py", figure.paper))):
            assert (launchers.ROOT / file).is_file(), figure.source


def test_the_swiss_roll_is_drawn_when_asked_for(figures, monkeypatch, tmp_path):
    module = figures_w21_images
    (tmp_path / "swiss_roll.png").write_bytes(b"the picture")
    monkeypatch.setattr(module, "_ROLL", tmp_path)
    monkeypatch.setattr(module.swiss_roll, "reproduce", lambda experiments, root: [{"models": len(experiments)}])
    (picture, table), _ = figures.draw([], ["w21_a7"], tmp_path / "figures")
    assert picture.read_bytes() == b"the picture"
    assert planted_sweep.table(table) == [{"data": "swiss_roll", "models": 7.0}]
    # Not among all figures, unless it is asked for.
    assert "ask for it by its name" in figures.draw([], ["all"], tmp_path)[1]["w21_a7"]
