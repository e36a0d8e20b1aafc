"""The folder of a sweep that nobody has run: done cells and others, with the numbers of a table that is as made up."""

import dataclasses
import json
import pathlib

import numpy as np

from seatbelt_jax import storage
from seatbelt_jax.studies import schema
from tests import made_up_runs

ALARM = "<script>alert(1)</script>"
# beta -> the certified margin, in the table's order.
MARGINS = {1.0: 0.3, 4.0: 0.1, 10.0: 0.2}


def write(folder: pathlib.Path) -> pathlib.Path:
    """Three done cells; one that failed, one unfinished, one damaged, one in no table."""
    rows, measures = [], []
    for beta, margin in MARGINS.items():
        row, of_cell = _done(folder, beta, margin)
        rows.append(row)
        measures += of_cell
    place = {"data": "mock", "model": "seatbelt", "L": 1, "d_z": 4, "latent_sizes": "4", "tau": 0.0, "seed": 0}
    rows.append({"cell": "lost", "status": f"failed: train: {ALARM}: no such file", **place, "beta": 2.0})
    rows.append({"cell": "later", "status": "unfinished", **place, "beta": 6.0})
    rows.append({"cell": "cut", "status": "done", **place, "beta": 8.0})
    cut = made_up_runs.write(folder / "cut", "certificates") / "certificates" / "spectral.npz"
    cut.write_bytes(cut.read_bytes()[:80])
    made_up_runs.write(folder / "unlisted", beta=9.0)
    schema.write(folder / "sweep.csv", {"cells": rows, "measures": measures})
    return folder


def _done(folder: pathlib.Path, beta: float, margin: float) -> tuple[dict[str, object], list[dict[str, object]]]:
    name = f"seatbelt_beta{beta:g}"
    path = made_up_runs.write(folder / name, "certificates", beta=beta, extra=ALARM)
    rng = np.random.default_rng(int(beta))
    for attack, objective in (("all_layers", "latent_kl_all"), ("top_layer", "latent_kl_top")):
        found = dataclasses.replace(made_up_runs.attack(rng, made_up_runs.SHAPE), name=objective)
        arrays = {**found.to_arrays(), "options": json.dumps({"name": attack, "pairs": 3})}
        storage.write_npz(path / "attacks" / f"{objective}_{attack}.npz", arrays)
    never = {"attack": "all_layers", "value": np.inf}
    measures = [
        {"measure": "median_delta", "attack": "all_layers", "unit": "nats", "value": 10.0 + beta, "low": 9.0 + beta,
         "high": 12.0 + beta},
        {"measure": "median_distortion_half_way_l2", **never, **({} if beta == 10.0 else {"value": 2.0 * beta})},
        {"measure": "median_distortion_nine_tenths_l2", **never},
        {"measure": "share_suspicious", "attack": "all_layers", "value": 0.25},
        {"measure": "median_delta", "attack": "top_layer", "unit": "nats", "value": 5.0},
        {"measure": "share_suspicious", "attack": "top_layer", "value": 0.05},
        {"measure": "margin_median_l2", "method": "spectral", "value": margin},
        {"measure": "reconstruction_error_l2", "value": 1.5},
        {"measure": "elbo_nats", "value": -100.0},
    ]  # fmt: skip
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
    return {"cell": name, "status": "done", **place}, [{"cell": name, **row} for row in measures]
