"""What a sweep's tables say of certified images and of attack success, from planted results."""

import dataclasses
import types

import numpy as np

from seatbelt_jax.jobs import certify
from seatbelt_jax.results import Certificate, EmpiricalMargin, JacobianNorms, files
from seatbelt_jax.studies import details


def test_images_have_their_curves_and_jacobians(tmp_path):
    norms = JacobianNorms(*(np.arange(4.0, 7.0) for _ in range(6)))
    certificate = Certificate(
        np.array([0.1, 0.2, 0.3]), np.full(3, 0.9), np.full(3, 9), np.zeros(3, bool), np.full(3, 2.0), norms,
        "camuto", "first_order", (), 1e-3, 0.5, 8.0, 10,
    )  # fmt: skip
    # For the first two images alone.
    curves = np.array([[0.0, 1.0, 2.0], [0.0, 2.0, 4.0]]), np.array([[1.0, 0.6, 0.2], [0.9, 0.8, 0.7]])
    attacked = EmpiricalMargin(
        np.array([1.5, np.inf]), np.zeros((2, 1, 1, 1)), np.zeros(2), np.array([1.0, 0.9]), *curves,
        1e-3, 0.5, 8.0, 10, 5, "l2",
    )  # fmt: skip
    made = [tmp_path / "camuto.npz", tmp_path / "empirical_margin.npz"]
    for file, record in zip(made, (certificate, attacked), strict=True):
        files.write(file, record, 7, certify.Options())
    opened = types.SimpleNamespace(latest_step=7)
    images, margins = details.images_of(opened, made)
    of = {(row["method"], row["image"]): row for row in margins}
    assert len(of) == 5 and of["camuto", 0]["margin"] == 0.1 and of["attack", 0]["curve_last"] == 2.0
    assert of["attack", 0]["margin"] == 1.5 and of["attack", 0]["frozen_std"] == 0
    assert of["attack", 1]["curve"].tolist() == [0.9, 0.8, 0.7]
    jacobian = "encoder_jacobian_frobenius_latent_units_per_pixel_unit"
    assert images[1] == {"image": 1, "reconstruction_radius_l2": 8.0, jacobian: 5.0, "probability_clean": 0.9}
    assert images[2] == {"image": 2, "reconstruction_radius_l2": 8.0, jacobian: 6.0}
    files.write(made[1], dataclasses.replace(attacked, frozen_std=True), 7, certify.Options())
    assert details.images_of(opened, made)[1][3]["frozen_std"] == 1
    assert details.images_of(types.SimpleNamespace(latest_step=8), made) == ([], [])


def test_success_is_by_pair_of_labels_under_one_budget():
    one = {"budgets": [1.0], "counted_pairs": 5, "ignore_target": [[None, 0.5], [1.0, None]]}
    one["target"] = [[None, 0.25], [0.0, None]]
    found = {
        "classifier": "mlp",
        "latent_digits": one,
        "latent_grid": {"budgets": [0.1, 1.0], "ignore_target": [0.2, 0.3]},
    }
    attacked = {"latent_digits": "digits", "latent_grid": "grid", "latent_other": "other"}
    assert list(details.success_of(found, attacked)) == [
        {"attack": "digits", "source_label": source, "target_label": target, "counted_pairs": 5}
        | {"ignore_target": ignore, "target": hit}
        for source, target, ignore, hit in ((0, 1, 0.5, 0.25), (1, 0, 1.0, 0.0))
    ]
