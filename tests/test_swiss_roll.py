"""The Swiss roll: its points by the closed form, its splits, and the figure from smoke-sized models."""

import csv
import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from configs import swiss_roll as config
from seatbelt_jax import data, plots
from seatbelt_jax.data import swiss_roll
from seatbelt_jax.studies.papers import swiss_roll as swiss_roll_paper

ROLL = {"name": "swiss_roll", "num_images": 1000}
RANGE = (-1.0, 1.0)


def points_of(dataset, image_range=RANGE):
    low, high = image_range
    images = np.asarray(dataset.images(jnp.arange(dataset.size)))
    assert images.shape == (dataset.size, 1, 1, 3) and images.dtype == np.float32
    return 2.0 * (images.reshape(-1, 3) - low) / (high - low) - 1.0


def test_points_lie_on_the_roll():
    coordinates = np.asarray(swiss_roll.coordinates_from_index(jnp.arange(500)), np.float64)
    x, y, z = np.asarray(swiss_roll.points(coordinates), np.float64).T
    angle = 1.5 * np.pi * (1.0 + 2.0 * coordinates[:, 0])
    np.testing.assert_allclose(np.hypot(x, z), angle / (4.5 * np.pi), atol=1e-6)
    # The same angle, modulo whole turns.
    np.testing.assert_allclose(np.exp(1j * np.arctan2(z, x)), np.exp(1j * angle), atol=1e-5)
    np.testing.assert_allclose(y, 21.0 * (coordinates[:, 1] - 0.5) / (4.5 * np.pi), atol=1e-6)


def test_coordinates_are_uniform_and_independent():
    coordinates = np.asarray(swiss_roll.coordinates_from_index(jnp.arange(4000)))
    assert coordinates.min() >= 0.0 and coordinates.max() < 1.0
    for column in coordinates.T:
        counts, _ = np.histogram(column, 10, (0.0, 1.0))
        # Ten bins of 400 with a standard deviation of 19 each.
        assert np.abs(counts - 400).max() < 5 * 19
    assert abs(np.corrcoef(coordinates.T)[0, 1]) < 5 / np.sqrt(4000)


@pytest.mark.parametrize("image_range", [RANGE, (0.0, 1.0)])
def test_points_are_in_range_and_each_a_function_of_its_number(image_range):
    splits = data.load(ROLL, image_range)
    images = np.asarray(splits.train.images(jnp.arange(splits.train.size)))
    assert images.min() >= image_range[0] and images.max() <= image_range[1]
    # The roll's outer end.
    assert images.max() > image_range[1] - 0.02
    some = jnp.array([7, 3, 700])
    np.testing.assert_allclose(jax.jit(splits.train.images)(some), images[some], atol=1e-6)
    longer = data.load({**ROLL, "num_images": 2000}, image_range).validation
    first = jnp.arange(splits.validation.size)
    np.testing.assert_allclose(longer.images(first), splits.validation.images(first), atol=1e-6)


def test_splits_are_disjoint_and_whole():
    splits = data.load(ROLL, RANGE)
    assert (splits.train.size, splits.validation.size) == (800, 200)
    assert splits.train.image_shape == (1, 1, 3) and splits.train.traceable
    together = np.concatenate([points_of(splits.train), points_of(splits.validation)])
    assert len(np.unique(together, axis=0)) == 1000
    everything = np.asarray(swiss_roll.points(swiss_roll.coordinates_from_index(jnp.arange(1000))))
    np.testing.assert_allclose(np.sort(together, axis=0), np.sort(everything, axis=0), atol=1e-6)


@pytest.mark.parametrize("image_range", [RANGE, (0.0, 1.0)])
def test_the_position_of_a_validation_point_is_that_of_its_number(image_range):
    points = points_of(data.load(ROLL, image_range).validation, image_range)
    along = np.asarray(swiss_roll.coordinates_from_index(jnp.arange(len(points))))[:, 0]
    np.testing.assert_allclose(np.hypot(points[:, 0], points[:, 2]), (1.0 + 2.0 * along) / 3.0, atol=1e-6)


@pytest.mark.parametrize("size", [9, 0, -5])
def test_bad_sizes_are_refused(size):
    with pytest.raises(ValueError, match=f"data.num_images must be at least 10, got {size}"):
        data.load({"name": "swiss_roll", "num_images": size}, RANGE)


@pytest.mark.parametrize("size", [12.5, "many"])
def test_sizes_of_another_type_are_refused(size):
    with pytest.raises(ValueError, match=f"data.num_images must be a whole number, got {size!r}"):
        data.load({"name": "swiss_roll", "num_images": size}, RANGE)


def test_what_are_no_numbers_and_no_coordinates_is_refused():
    with pytest.raises(TypeError, match="index must hold integers, got float32"):
        swiss_roll.coordinates_from_index(jnp.ones(3))
    with pytest.raises(ValueError, match=r"\(u, v\) each, got \(4, 3\)"):
        swiss_roll.points(jnp.ones((4, 3)))


def test_an_unknown_variant_is_refused():
    with pytest.raises(ValueError, match="unknown variant 'demo'; there are beta_vae, beta_tcvae, smoke"):
        config.get_config("demo")


@pytest.fixture
def launcher():
    return swiss_roll_paper


def test_the_launcher_s_models_are_those_of_the_paper(launcher):
    found = launcher.experiments(launcher.BETAS)
    objectives = {name: (c["objective"]["penalty"], c["objective"]["beta"]) for name, c in found.items()}
    assert objectives.pop("vae")[1] == 1.0
    assert objectives == {
        **{f"beta_vae_{beta}": ("kl", float(beta)) for beta in (8, 32, 128)},
        **{f"beta_tcvae_{beta}": ("total_correlation", float(beta)) for beta in (8, 32, 128)},
    }


@pytest.mark.slow
def test_smoke_models_are_trained_measured_and_drawn(launcher, tmp_path):
    smoke = config.get_config("smoke").to_dict()
    experiments = {
        name: {**smoke, "objective": full["objective"]} for name, full in launcher.experiments([8.0]).items()
    }
    rows = launcher.reproduce(experiments, tmp_path)
    assert [(row["model"], row["beta"]) for row in rows] == [
        ("vae", 1.0),
        ("beta_vae_8", 8.0),
        ("beta_tcvae_8", 8.0),
    ]
    for row in rows:
        assert all(np.isfinite(value) for name, value in row.items() if name != "model")
        # Mutual information with one of 80 numbers; the two others are divergences, here of one sample each.
        assert -0.1 < row["mutual_information_nats"] < np.log(80) + 0.1
        assert row["total_correlation_nats"] > -0.1 and row["dimension_wise_kl_nats"] > -0.1
    with (tmp_path / "measures.csv").open() as file:
        written = list(csv.DictReader(file))
    assert [float(row["elbo_nats"]) for row in written] == [row["elbo_nats"] for row in rows]
    picture = (tmp_path / "swiss_roll.png").read_bytes()
    assert coloured_pixels(picture).min() > 100


def model_of(points, latents=None):
    return plots.RollModel(
        latents=points[:, :2] if latents is None else latents,
        reconstructions=points,
        elbo=-1.0,
        error=0.1,
        total_correlation=0.0,
        mutual_information=3.0,
    )


def coloured_pixels(picture):
    """Pixels per quarter of the picture that are far from grey."""
    pixels = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"), int)
    coloured = np.ptp(pixels, axis=-1) > 60
    rows, columns = (size // 2 for size in coloured.shape)
    return np.array([[part.sum() for part in np.hsplit(half, [columns])] for half in np.vsplit(coloured, [rows])])


def test_the_figure_shows_the_points_it_is_given():
    coordinates = swiss_roll.coordinates_from_index(jnp.arange(300))
    points, along = np.asarray(swiss_roll.points(coordinates)), np.asarray(coordinates[:, 0])
    nowhere = np.zeros_like(points)
    whole = model_of(points)
    healthy = coloured_pixels(plots.swiss_roll_figure(points, along, whole, {8.0: (whole, whole)}))
    assert healthy.min() > 1000
    for collapsed in (model_of(points, nowhere[:, :2]), model_of(nowhere, points[:, :2])):
        fallen = coloured_pixels(plots.swiss_roll_figure(points, along, whole, {8.0: (collapsed, whole)}))
        # Below at the left stands the beta-VAE: three hundred points upon each other.
        assert fallen[1, 0] < 0.9 * healthy[1, 0]
        # All else is as it was, but for the shades of the picture's palette.
        np.testing.assert_allclose(fallen.ravel()[[0, 1, 3]], healthy.ravel()[[0, 1, 3]], rtol=0.05)


def test_a_figure_of_nothing_or_of_other_points_is_refused():
    points = np.zeros((5, 3))
    with pytest.raises(ValueError, match="penalised names no model"):
        plots.swiss_roll_figure(points, np.zeros(5), model_of(points), {})
    with pytest.raises(ValueError, match="must show all 5 points, got 4 latents and 4 reconstructions"):
        plots.swiss_roll_figure(points, np.zeros(5), model_of(points), {8.0: (model_of(points[:4]), model_of(points))})
