"""launch/figures.py: the numbers of figures from planted tables, and what is said of those that cannot be drawn."""

import numpy as np
import pytest

from tests import launchers, planted_sweep


@pytest.fixture(scope="module")
def figures():
    return launchers.load("figures")


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    return planted_sweep.write(tmp_path_factory.mktemp("planted"), data=("sprites", "chairs"), sizes=(8, 32))


@pytest.fixture(scope="module")
def drawn(figures, planted):
    """All figures, drawn once."""
    return *figures.draw([planted], ["all"], planted / "figures"), planted / "figures"


def rows(drawn, name, **wanted):
    table = planted_sweep.table(drawn[2] / f"{name}.csv")
    return [row for row in table if all(row[column] == value for column, value in wanted.items())]


def test_each_figure_has_a_picture_or_a_page_and_its_numbers(drawn):
    written, missing, folder = drawn
    names = {file.stem for file in written}
    assert {"w21_3", "w21_6"} <= names and not names & set(missing)
    for name in names:
        assert (folder / f"{name}.csv").exists()
        picture, page = folder / f"{name}.png", folder / f"{name}.md"
        assert (picture.exists() and planted_sweep.png_size(picture) > 5000) or len(page.read_text()) > 100


def test_delta_is_pooled_over_pairs_penalties_and_latent_sizes(drawn):
    (row,) = rows(drawn, "w21_3", data="chairs", measure="delta", beta=10.0)
    deltas = [planted_sweep.delta(10.0, 1, pair, penalty) for pair in range(3) for penalty in range(4)]
    assert row["mean"] == pytest.approx(np.mean(deltas), rel=1e-4)
    assert (row["attacks"], row["pairs"]) == (24, 3)  # two latent sizes
    assert row["low"] == pytest.approx(np.mean(deltas) - 2.0687 * np.std([*deltas] * 2, ddof=1) / 24**0.5, rel=1e-3)
    (half,) = rows(drawn, "w21_3", data="chairs", measure="median_distortion_half_way_l2", beta=10.0)
    assert half["mean"] == planted_sweep.half_way(10.0, 1, 1) and half["high_over_pairs"] == 13.0
    # One of three pairs never gets there.
    (far,) = rows(drawn, "w21_3", data="chairs", measure="median_distortion_nine_tenths_l2", beta=10.0)
    assert far["mean"] == 2.0 * planted_sweep.half_way(10.0, 1, 1) and far["high_over_pairs"] == np.inf


def test_the_elbo_is_averaged_over_depths_and_sizes(drawn):
    (row,) = rows(drawn, "w21_6", data="sprites", model="seatbelt", beta=10.0)
    values = [100.0 - 10.0 / depth + d_z for depth in (2, 4) for d_z in (8, 32)]
    assert row["mean"] == pytest.approx(np.mean(values)) and row["models"] == 4
    assert row["low"] == pytest.approx(np.mean(values) - 3.1824 * np.std(values, ddof=1) / 2.0, rel=1e-3)


def test_tables_without_runs_and_several_sweeps_are_enough(figures, planted, tmp_path):
    tables = planted_sweep.copy_without_runs(planted, tmp_path / "tables")
    other = planted_sweep.write(tmp_path, data=("faces",), sizes=(8,))
    written, _ = figures.draw([tables, other], ["w21_3"], tmp_path / "figures")
    found = planted_sweep.table(written[1])
    assert {row["data"] for row in found} == {"sprites", "chairs", "faces"}


def test_the_same_cell_twice_must_say_the_same(figures, planted, tmp_path):
    read = launchers.load("figure_tables").read
    assert read([planted, planted]) == read([planted])
    other = planted_sweep.write(tmp_path, measures=False, sizes=(8,), attacks={"all": "latent_kl_all"})
    table = other / "sweep.csv"
    changed = table.read_text().replace(",100\n", ",90\n")
    assert changed != table.read_text()
    table.write_text(changed)
    with pytest.raises(ValueError, match=r"sweep.csv has step = 90.0 for sprites_.*these are two trainings"):
        figures.draw([planted, other], ["w21_3"], tmp_path / "figures")


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
    with pytest.raises(FileNotFoundError, match=r"has no sweep.csv; python launch/sweep.py"):
        figures.draw([tmp_path / "nowhere"], ["all"], tmp_path)


def test_a_caption_says_whose_figure_and_which_data(figures, drawn, planted):
    tables = launchers.load("figure_tables").read([planted])
    figure = figures.FIGURES["w21_3"]
    caption = figures._caption(figure, figure.draw(tables))
    assert caption.startswith("Willetts et al. 2021, Fig. 3: ")
    assert "Data: sprites, chairs (the paper's are dsprites, chairs, faces)." in caption


def test_every_figure_names_a_sweep_that_exists(figures):
    for figure in figures.FIGURES.values():
        assert (launchers.ROOT / figure.sweep).is_file(), figure.source
