"""What a sweep's companions say of certified images and of attack success, from planted results."""

import types

import numpy as np
import pytest

from seatbelt_jax import storage
from seatbelt_jax.studies import companions as companions_study


@pytest.fixture(scope="module")
def companions():
    return companions_study


def test_images_have_their_curves_and_jacobians(companions, tmp_path):
    certificate = {"norm": "l2", "radius": [0.1, 0.2, 0.3], "p_lower": [0.9] * 3, "norm_bound": [2.0] * 3}
    certificate |= {"reconstruction_radius": 8.0, "norms_frobenius": [4.0, 5.0, 6.0], "step": 7}
    # For the first two images alone.
    attacked = {"norm": "l2", "upper": [1.5, np.inf], "p_clean": [1.0, 0.9], "step": 7}
    attacked |= {
        "curve_norms": [[0.0, 1.0, 2.0], [0.0, 2.0, 4.0]],
        "curve_probability": [[1.0, 0.6, 0.2], [0.9, 0.8, 0.7]],
    }
    files = []
    for name, arrays in (("camuto", certificate), ("empirical_margin", attacked)):
        files.append(tmp_path / f"{name}.npz")
        storage.write_npz(files[-1], {key: np.asarray(value) for key, value in arrays.items()})
    first, second, third = companions._images(types.SimpleNamespace(latest_step=7), files)
    assert (first["margin_camuto_l2"], first["empirical_margin_l2"], first["curve_last_l2"]) == (0.1, 1.5, 2.0)
    # Files without the field are of a sigma that moves.
    assert first["empirical_margin_l2_frozen_std"] == 0
    storage.write_npz(files[1], {key: np.asarray(value) for key, value in {**attacked, "frozen_std": True}.items()})
    frozen, *_ = companions._images(types.SimpleNamespace(latest_step=7), files)
    assert frozen["empirical_margin_l2_frozen_std"] == 1
    assert [second[f"curve_probability_{point}"] for point in range(3)] == [0.9, 0.8, 0.7]
    assert second["encoder_jacobian_frobenius_latent_units_per_pixel_unit"] == 5.0
    assert third["reconstruction_radius_l2"] == 8.0 and third["empirical_margin_l2"] == third["curve_last_l2"] == ""
    assert not companions._images(types.SimpleNamespace(latest_step=8), files)


def test_success_is_by_pair_of_labels_under_one_budget(companions):
    one = {"budgets": [1.0], "counted_pairs": 5, "ignore_target": [[None, 0.5], [1.0, None]]}
    one["target"] = [[None, 0.25], [0.0, None]]
    found = {
        "classifier": "mlp",
        "latent_digits": one,
        "latent_grid": {"budgets": [0.1, 1.0], "ignore_target": [0.2, 0.3]},
    }
    attacked = {"latent_digits": "digits", "latent_grid": "grid", "latent_other": "other"}
    assert list(companions._success(found, attacked)) == [
        {"attack": "digits", "source_label": source, "target_label": target, "counted_pairs": 5}
        | {"ignore_target": ignore, "target": hit}
        for source, target, ignore, hit in ((0, 1, 0.5, 0.25), (1, 0, 1.0, 0.0))
    ]
