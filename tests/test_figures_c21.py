"""Figures of Camuto et al. 2021: their numbers from planted tables, and what is said of those that cannot be drawn."""

import itertools

import numpy as np
import pandas as pd
import pytest

from seatbelt_jax import storage
from seatbelt_jax.studies import details, schema
from seatbelt_jax.studies.papers import damage_numbers, figure_tables
from seatbelt_jax.studies.papers import figures as figures_paper
from tests import planted_sweep
from tests.reference.made_up_attacks import made_up_result

IMAGES = 6
POINTS = 5
SETTINGS = [(0.1, 0.0), (1.0, 0.0), (10.0, 0.0), (1.0, 0.1), (1.0, 0.5), (1.0, 1.0)]
# One attack in several balls, and attacks in one ball alone.
RADII = (2.0, 4.0, 12.0)
LARGEST = 8.0
NAMES = ("c21_4", "c21_5", "c21_6", "c21_7", "c21_8", "c21_9")


def damage(beta, tau, image, through):
    return {"mean": 10.0, "std": 1.0, "both": 11.0}[through] + image - beta / 10.0 - tau


def certified(beta, tau, image):
    return 0.1 * beta + tau + 0.01 * image


def likelihood(beta, tau, radius, image=None):
    """log p(x|z*) of an image, or the mean over images."""
    return 100.0 * beta + tau - radius**2 - (2.5 if image is None else image)


def write(folder, settings=SETTINGS, data=("mnist",), seeds=(0,)):
    """Tables in which the margin by attack is 3 camuto + 1 but that images 0 of beta = 10 have none."""
    tables = {name: [] for name in schema.TABLES}
    for name, (beta, tau), seed in itertools.product(data, settings, seeds):
        cell = f"{name}_beta{beta:g}_tau{tau:g}{f'_seed{seed}' if seed else ''}"
        place = {
            "cell": cell,
            "status": "done",
            "data": name,
            "model": "",
            "L": 1,
            "d_z": 4,
            "beta": beta,
            "penalty": "kl",
        }
        tables["cells"].append({**place, "tau": tau, "seed": seed, "step": 100})
        attacks = dict.fromkeys(("mean", "std", "both"), (LARGEST,)) | {"norms": RADII}
        pairs = [
            _pair(attack, len(radii), beta, tau, image) for attack, radii in attacks.items() for image in range(IMAGES)
        ]
        budgets = [_ball(attack, radius, beta, tau) for attack, radii in attacks.items() for radius in radii]
        found = {"pairs": pairs, "budgets": budgets, "densities": list(_densities(beta, tau, seed))}
        found["images"] = [_image(beta, tau, image) for image in range(IMAGES)]
        found["margins"] = [row for image in range(IMAGES) for row in _margins(beta, tau, image)]
        for table, rows in found.items():
            tables[table] += [{"cell": cell, **row} for row in rows]
    schema.write(folder / "sweep.csv", tables)
    return folder


def _attack(attack):
    through = "both" if attack == "norms" else attack
    return {"attack": attack, "objective": f"maximum_damage_{through}_8_draws", "threat": "l2_ball"}


def _pair(attack, balls, beta, tau, image):
    through = "both" if attack == "norms" else attack
    row = {**_attack(attack), "unit": "pixel_units", "pair": image, "source_index": image, "attacks": balls}
    row |= {"delta_mean": -damage(beta, tau, image, through), "distortion_l2_mean": LARGEST}
    row |= {"clean_source_log_likelihood_nats": likelihood(beta, tau, 0.0, image)}
    return {**row, "relative_likelihood_degradation_mean": 5.0 - certified(beta, tau, image)}


def _ball(attack, radius, beta, tau):
    row = {**_attack(attack), "unit": "pixel_units", "budget": radius, "attacks": IMAGES}
    mean, std = likelihood(beta, tau, radius), np.std(np.arange(IMAGES))
    return {**row, "source_log_likelihood_nats_mean": mean, "source_log_likelihood_nats_std": std}


def _image(beta, tau, image):
    jacobian = 1.0 / certified(beta, tau, image)
    return {
        "image": image,
        "reconstruction_radius_l2": 4.0,
        "encoder_jacobian_frobenius_latent_units_per_pixel_unit": jacobian,
    }


def _margins(beta, tau, image):
    camuto = certified(beta, tau, image)
    lost = beta == 10.0 and image == 0
    place = {"image": image, "norm": "l2"}
    yield {**place, "method": "camuto", "margin": camuto}
    yield {**place, "method": "lipschitz", "margin": 10.0 if image == 1 else 0.5 * camuto}
    by_attack = {"margin": np.inf if lost else 3.0 * camuto + 1.0, "frozen_std": 1}
    curve = np.linspace(1.0, 0.0, POINTS)
    yield {**place, "method": "attack", **by_attack, "curve_last": 6.0 * camuto + 2.0, "curve": curve}


def _densities(beta, tau, seed):
    for part in (
        {"measure": "posterior_std", "layer": "1"},
        {"measure": "noise_robustness", "noise": "0"},
        {"measure": "noise_robustness", "noise": "0.5"},
    ):
        place = {"unit": "nats", "mean": beta + tau + seed, "std": 0.25, "first": -1.0, "last": 3.0}
        yield {**part, **place, "density": np.full(details.POINTS, 0.25 + seed)}


@pytest.fixture(scope="module")
def figures():
    return figures_paper


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    folder = write(tmp_path_factory.mktemp("c21"))
    for beta in (0.1, 1.0, 10.0):
        run = folder / f"mnist_beta{beta:g}_tau0"
        storage.write_json(run / "config.json", {})
        images = np.full((IMAGES, 1, 4, 4, 1), 0.5)
        given = ("sources", "targets", "source_reconstructions", "target_reconstructions")
        attacked = {"adversarial": images, "adversarial_reconstructions": images}
        result = made_up_result(**attacked, **dict.fromkeys(given, images[:, 0]))
        storage.write_npz(run / "attacks" / "maximum_damage_both_8_draws_l2_ball_both.npz", result.to_arrays())
    return folder


@pytest.fixture(scope="module")
def drawn(figures, planted):
    """All of them, drawn once."""
    figures.draw([planted], NAMES, planted / "figures")
    return planted / "figures"


def rows(drawn, name, **wanted):
    table = planted_sweep.table(drawn / f"{name}.csv")
    return [row for row in table if all(row.get(column) == value for column, value in wanted.items())]


def test_each_has_a_picture(drawn):
    assert all(planted_sweep.png_size(drawn / f"{name}.png") > 5000 for name in NAMES)


def test_damage_is_of_the_attacks_that_have_one_ball(drawn):
    for through, name in (("mean", "through μ"), ("std", "through σ"), ("both", "through both")):
        values = [damage(*setting, image, through) for setting in SETTINGS for image in range(IMAGES)]
        found = {
            row["statistic"]: row["value"] for row in rows(drawn, "c21_4", group=name) if row["statistic"] != "density"
        }
        expected = {"images": len(values), "mean": np.mean(values), "std": np.std(values), "median": np.median(values)}
        assert found == pytest.approx(expected, rel=1e-4)
        density = rows(drawn, "c21_4", group=name, statistic="density")
        places, heights = ([row[column] for row in density] for column in ("place", "value"))
        # A little of the kernels is below 0.
        assert np.trapezoid(heights, places) == pytest.approx(1.0, abs=0.1) and min(places) >= 0.0


def test_four_models_from_the_least_margin_to_the_largest_at_one_image(drawn):
    found = rows(drawn, "c21_5")
    # Image 0 has no margin for all models.
    assert {row["image"] for row in found} == {1.0}
    cells = list(dict.fromkeys(row["cell"] for row in found))
    assert [cell.removeprefix("mnist_") for cell in cells] == [
        "beta0.1_tau0", "beta1_tau0.1", "beta1_tau0.5", "beta1_tau1"
    ]  # fmt: skip
    first = [row for row in found if row["cell"] == cells[0]]
    end = 6.0 * certified(0.1, 0.0, 1) + 2.0
    assert [row["distortion_l2"] for row in first] == pytest.approx(np.linspace(0.0, end, POINTS), rel=1e-5)
    assert [row["probability_within_r"] for row in first] == [1.0, 0.75, 0.5, 0.25, 0.0]


def test_margins_are_put_beside_their_bounds(drawn):
    (fit,) = rows(drawn, "c21_6", measure="margin_camuto_l2", cell=None)
    count = len(SETTINGS) * IMAGES - 1
    assert (fit["slope"], fit["offset"], fit["correlation"]) == pytest.approx((3.0, 1.0, 1.0), rel=1e-4)
    assert (fit["points"], fit["share_below_bound"], fit["soundness"]) == (count, 0.0, "first_order")
    one = [row for row in rows(drawn, "c21_6", measure="margin_camuto_l2", cell="mnist_beta1_tau0") if row["points"]]
    assert [(row["correlation"], row["rank_correlation"], row["points"]) for row in one] == [
        (pytest.approx(1.0), pytest.approx(1.0), IMAGES)
    ]
    (sound,) = rows(drawn, "c21_6", measure="margin_lipschitz_l2", cell=None)
    assert sound["share_below_bound"] == pytest.approx(len(SETTINGS) / count) and sound["soundness"] == "sound"
    # Degradation is 5 - camuto, of the same image and model.
    (fit,) = rows(drawn, "c21_6", measure="relative_likelihood_degradation", cell=None)
    assert (fit["slope"], fit["correlation"]) == pytest.approx((-1.0 / 3.0, -1.0), rel=1e-4)


@pytest.mark.parametrize("name", ["c21_5", "c21_6", "c21_7", "c21_9"])
def test_the_sigma_of_margins_by_attack_is_named(figures, planted, name):
    tables = figure_tables.read([planted])
    moving = tables.margins.assign(frozen_std=0.0)
    for margins, words in (
        (tables.margins, "sigma is frozen at x, as in"),
        (moving, "sigma is that of x + d; the paper"),
    ):
        notes = " ".join(figures.FIGURES[name].draw(tables._replace(margins=margins)).notes)
        assert words in notes and notes.count("sigma is") == 1


def test_over_tau(drawn):
    found = rows(drawn, "c21_7", measure="probability_within_r", tau=0.0)
    ends = np.array([6.0 * certified(1.0, 0.0, image) + 2.0 for image in range(IMAGES)])
    for row in (found[0], found[20], found[-1]):
        values = np.maximum(1.0 - row["distortion_l2"] / ends, 0.0)
        assert (row["mean"], row["std"]) == pytest.approx((values.mean(), values.std()), abs=1e-5)
    noise = rows(drawn, "c21_7", measure="noise_log_likelihood_nats", tau=0.5)
    assert [(row["scale"], row["mean"], row["std"]) for row in noise] == [(0.0, 1.5, 0.25), (0.5, 1.5, 0.25)]
    (median,) = rows(drawn, "c21_7", measure="median_margin_camuto_l2", tau=1.0)
    assert median["mean"] == pytest.approx(certified(1.0, 1.0, 2.5))
    assert not rows(drawn, "c21_7", measure="median_margin_spectral_l2")


@pytest.mark.parametrize(("name", "axis", "beta", "tau"), [("c21_7", "tau", 1.0, 0.5), ("c21_9", "beta", 10.0, 0.0)])
def test_the_likelihood_under_attack_begins_without_one(drawn, name, axis, beta, tau):
    wanted = {axis: {"tau": tau, "beta": beta}[axis]}
    found = rows(drawn, name, measure="source_log_likelihood_nats", **wanted)
    assert [row["radius_l2"] for row in found] == sorted((0.0, *RADII, LARGEST))
    assert [row["mean"] for row in found] == pytest.approx([likelihood(beta, tau, row["radius_l2"]) for row in found])
    assert [row["std"] for row in found] == pytest.approx([np.std(np.arange(IMAGES))] * len(found), rel=1e-5)


def test_over_beta(drawn):
    for measure, value in (
        ("margin_camuto_l2", certified(10.0, 0.0, 2.5)),
        ("empirical_margin_l2", 3.0 * certified(10.0, 0.0, 3.0) + 1.0),
        ("encoder_jacobian_frobenius_latent_units_per_pixel_unit", 1.0 / certified(10.0, 0.0, 2.5)),
    ):
        (median,) = rows(drawn, "c21_9", measure=measure, group="β = 10", statistic="median")
        assert median["value"] == pytest.approx(value, rel=1e-3)
    sigma = rows(drawn, "c21_9", measure="posterior_std_norm_latent_units", group="β = 0.1", statistic="density")
    assert min(row["place"] for row in sigma) >= 0.0 and {row["value"] for row in sigma} == {0.25}


def test_models_of_several_seeds_are_one_line(figures, tmp_path):
    folder = write(tmp_path, seeds=(0, 1))
    figures.draw([folder], ["c21_7", "c21_9"], tmp_path / "figures")
    noise = rows(tmp_path / "figures", "c21_7", measure="noise_log_likelihood_nats", tau=0.5)
    expected = [2.0, (0.25**2 + 0.5**2) ** 0.5]
    assert [[row["scale"], row["mean"], row["std"]] for row in noise] == [
        [0.0, *map(pytest.approx, expected)],
        [0.5, *map(pytest.approx, expected)],
    ]
    wanted = {"measure": "posterior_std_norm_latent_units", "group": "β = 10"}
    sigma = rows(tmp_path / "figures", "c21_9", **wanted, statistic="density")
    assert len({row["place"] for row in sigma}) == len(sigma) and {row["value"] for row in sigma} == {0.75}
    (mean,) = rows(tmp_path / "figures", "c21_9", **wanted, statistic="mean")
    assert mean["value"] == 10.5


def test_the_mean_probability_ends_with_what_was_attacked(figures, planted, tmp_path):
    """Where an attack ends within r, nobody knows what is beyond; where it does not, the last value is a good guess."""
    tables = figure_tables.read([planted])
    rows = tables.margins
    shortest = rows.index[(rows["cell"] == "mnist_beta1_tau0") & (rows["image"] == 0) & (rows["method"] == "attack")][0]
    margins = rows.assign(curve=rows["curve"].where(rows.index != shortest, rows["curve"].map(np.ones_like)))
    found = figures.FIGURES["c21_7"].draw(tables._replace(margins=margins)).rows
    ends = {
        tau: max(row["distortion_l2"] for row in found if (row["measure"], row["tau"]) == ("probability_within_r", tau))
        for tau in (0.0, 1.0)
    }
    assert ends[0.0] <= rows.loc[shortest, "curve_last"] < ends[1.0]


def test_a_gallery_shows_every_beta_and_needs_runs(figures, drawn, planted, tmp_path):
    found = rows(drawn, "c21_8", beta=10.0)
    assert [row["damage_l2"] for row in found] == [damage(10.0, 0.0, image, "both") for image in range(IMAGES)]
    tables = planted_sweep.copy_without_runs(planted, tmp_path / "tables")
    with pytest.raises(ValueError, match=r"--figure=c21_8: .* needs the run directory of mnist_beta0.1_tau0"):
        figures.draw([tables], ["c21_8"], tmp_path)
    written, _ = figures.draw([tables], ["c21_4", "c21_9"], tmp_path)
    assert len(written) == 4


def test_what_is_missing_is_named(figures, tmp_path):
    one = write(tmp_path / "one", [(1.0, 0.0)], data=("fashion_mnist",))
    _, missing = figures.draw([one], ["all"], tmp_path / "figures")
    assert "several tau" in missing["c21_7"] and "several beta" in missing["c21_9"] and "c21_6" not in missing
    for name in ("images", "pairs"):
        (one / f"sweep_{name}.csv").unlink()
    _, missing = figures.draw([one], ["all"], tmp_path / "figures")
    assert "maximum damage through μ in one ball (--through=mean)" in missing["c21_4"]
    assert "certified images (the section certify)" in missing["c21_6"]


def test_groups_of_attacks_are_pooled_as_if_they_were_one():
    groups = np.array([1.0, 2.0, 4.0]), np.array([10.0, 30.0])
    rows = pd.DataFrame([{"attacks": len(group), "x_mean": group.mean(), "x_std": group.std()} for group in groups])
    everything = np.concatenate(groups)
    expected = {"mean": everything.mean(), "std": everything.std(), "images": 5}
    assert damage_numbers.pooled(rows, "x") == pytest.approx(expected)
