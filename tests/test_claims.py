"""The page of claims, from planted tables whose ratios are known."""

import numpy as np
import pytest

from seatbelt_jax.studies.papers import figures, figures_claims
from tests import planted_sweep


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = planted_sweep.write(tmp_path_factory.mktemp("claims"), betas=(1.0, 4.0, 10.0))
    figures.draw([folder], ["claims"], folder)
    return planted_sweep.table(folder / "claims.csv"), (folder / "claims.md").read_text()


def rows(drawn, claim, **wanted):
    return [row for row in drawn[0] if claim in row["claim"] and all(row[name] == wanted[name] for name in wanted)]


def test_delta_is_compared_with_beta_one(drawn):
    for beta in (4.0, 10.0):
        (row,) = rows(drawn, "penalty raises Delta", measure="mean Delta", model=f"β-TCVAE, β = {beta:g}")
        assert (row["ratio"], row["ratio_low"], row["ratio_high"]) == pytest.approx((beta,) * 3)
        assert row["held_up"] == "yes" and row["pairs"] == 3 and row["against"] == "β-TCVAE, β = 1"


def test_depth_and_penalty_are_compared_with_a_plain_vae(drawn):
    of_all = rows(drawn, "together resist most", measure="median ||d|| half of the way")
    found = [row for row in of_all if row["against"] == "β-TCVAE, β = 1"]
    assert [row["model"] for row in found] == [
        "β-TCVAE, β = 10",
        "Seatbelt-VAE, L = 4, β = 1",
        "Seatbelt-VAE, L = 4, β = 10",
    ]
    expected = [planted_sweep.half_way(*of, 1) / planted_sweep.half_way(1.0, 1, 1) for of in ((10, 1), (1, 4), (10, 4))]
    assert [row["ratio"] for row in found] == pytest.approx(expected)


def test_both_together_are_compared_with_the_penalty_alone(drawn):
    (row,) = rows(drawn, "together resist most", measure="median ||d|| half of the way", against="β-TCVAE, β = 10")
    assert row["model"] == "Seatbelt-VAE, L = 4, β = 10"
    assert row["ratio"] == pytest.approx(planted_sweep.half_way(10, 4, 1) / planted_sweep.half_way(10, 1, 1))


def test_a_likelihood_that_reads_the_bottom_alone_is_compared_with_one_that_reads_all(drawn):
    found = rows(drawn, "resists less than the Seatbelt-VAE")
    assert len(found) == 3 and {row["model"] for row in found} == {"β-TCDLGM, L = 4, β = 10"}
    assert {(row["against"], row["ratio"]) for row in found} == {("Seatbelt-VAE, L = 4, β = 10", 1.0)}


def test_what_gains_nothing_gained_here(drawn):
    (row,) = rows(drawn, "gains nothing", measure="mean Delta", model="β-TCDLGM, L = 4, β = 10")
    assert row["held_up"] == "no"


def test_attacks_on_single_layers_that_need_as_much_leave_it_open(drawn):
    found = rows(drawn, "all layers need less", measure="median ||d|| half of the way")
    assert (
        len(found) == 8 and {row["ratio"] for row in found} == {1.0} and {row["held_up"] for row in found} == {"open"}
    )


def test_a_verdict_needs_the_whole_interval():
    claims, interval = figures_claims, figures_claims.metrics.Interval
    verdicts = {
        ("larger", (2.0, 1.1, 3.0)): "yes",
        ("larger", (2.0, 0.9, 3.0)): "open",
        ("larger", (0.5, 0.4, 0.6)): "no",
        ("smaller", (0.5, 0.4, 0.6)): "yes",
        ("smaller", (2.0, 1.1, 3.0)): "no",
        ("not larger", (0.8, 0.7, 0.9)): "yes",
        ("not larger", (1.0, 0.5, 3.0)): "open",
        ("not larger", (1.1, 1.05, 1.2)): "no",
        ("larger", (1.2, np.nan, np.nan)): "yes",
        ("larger", (1.005, np.nan, np.nan)): "open",
        ("larger", (np.nan, np.nan, np.nan)): "open",
    }
    assert {key: claims._verdict(key[0], interval(*key[1])) for key in verdicts} == verdicts


def test_models_are_compared_where_both_have_latents_of_one_size(tmp_path):
    """With 8 latents Delta is a hundred times as large, and there is no other beta."""
    small = planted_sweep.write(tmp_path / "small", betas=(1.0,), sizes=(8,), scale=100.0)
    both = planted_sweep.write(tmp_path / "both", sizes=(24,))
    figures.draw([small, both], ["claims"], tmp_path)
    (row,) = rows((planted_sweep.table(tmp_path / "claims.csv"),), "penalty raises Delta", measure="mean Delta")
    assert row["ratio"] == pytest.approx(10.0)


def test_the_page_is_a_table_for_each_claim(drawn):
    lines = [line for line in drawn[1].splitlines() if line.startswith("| sprites")]
    assert len(lines) == len(drawn[0]) and all(line.replace(r"\|", "").count("|") == 10 for line in lines)
