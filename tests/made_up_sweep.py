"""The folder of a sweep that nobody has run: done cells and others, with the numbers of a table that is as made up."""

import dataclasses
import json
import pathlib

import numpy as np

from seatbelt_jax import storage
from seatbelt_jax.studies import table
from tests import made_up_runs

ALARM = "<script>alert(1)</script>"
# beta -> the certified margin, in the table's order.
MARGINS = {1.0: 0.3, 4.0: 0.1, 10.0: 0.2}


def write(folder: pathlib.Path) -> pathlib.Path:
    """Three done cells; one that failed, one unfinished, one damaged, one in no table."""
    rows = [_done(folder, beta, margin) for beta, margin in MARGINS.items()]
    place = {"data": "mock", "model": "seatbelt", "L": 1, "d_z": 4, "latent_sizes": "4", "tau": 0.0, "seed": 0}
    rows.append({"cell": "lost", "status": f"failed: train: {ALARM}: no such file", **place, "beta": 2.0})
    rows.append({"cell": "later", "status": "unfinished", **place, "beta": 6.0})
    rows.append({"cell": "cut", "status": "done", **place, "beta": 8.0})
    cut = made_up_runs.write(folder / "cut", "certificates") / "certificates" / "spectral.npz"
    cut.write_bytes(cut.read_bytes()[:80])
    made_up_runs.write(folder / "unlisted", beta=9.0)
    table.write(folder / "sweep.csv", rows)
    return folder


def _done(folder: pathlib.Path, beta: float, margin: float) -> dict[str, object]:
    name = f"seatbelt_beta{beta:g}"
    path = made_up_runs.write(folder / name, "certificates", beta=beta, extra=ALARM)
    rng = np.random.default_rng(int(beta))
    for attack, objective in (("all_layers", "latent_kl_all"), ("top_layer", "latent_kl_top")):
        found = dataclasses.replace(made_up_runs.attack(rng, made_up_runs.SHAPE), name=objective)
        arrays = {**found.to_arrays(), "options": json.dumps({"name": attack, "pairs": 3})}
        storage.write_npz(path / "attacks" / f"{objective}_{attack}.npz", arrays)
    numbers = {
        "all_layers_median_delta_nats": 10.0 + beta,
        "all_layers_median_delta_nats_low": 9.0 + beta,
        "all_layers_median_delta_nats_high": 12.0 + beta,
        "all_layers_median_distortion_half_way_l2": np.inf if beta == 10.0 else 2.0 * beta,
        "all_layers_median_distortion_nine_tenths_l2": np.inf,
        "all_layers_share_suspicious": 0.25,
        "top_layer_median_delta_nats": 5.0,
        "top_layer_share_suspicious": 0.05,
        "margin_spectral_median_l2": margin,
        "reconstruction_error_l2": 1.5,
        "elbo_nats": -100.0,
    }
    place = {
        "data": "mock",
        "model": "seatbelt",
        "L": 1,
        "d_z": 4,
        "latent_sizes": "4",
        "beta": beta,
        "tau": 0.0,
        "seed": 0,
    }
    return {"cell": name, "status": "done", **place, **numbers}
