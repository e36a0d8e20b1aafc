"""A folder with the tables of a sweep that nobody has run: its numbers follow formulas, so figures have known ones."""

import itertools

import numpy as np

from seatbelt_jax import storage
from seatbelt_jax.studies import details, schema

PAIRS, PENALTIES = 3, 4
# Kind -> the penalty, what the decoder reads, and depths.
MODELS = {
    "beta_vae": ("kl", "all", (1,)),
    "beta_tcvae": ("total_correlation", "all", (1,)),
    "seatbelt": ("total_correlation", "all", (2, 4)),
    "beta_tcdlgm": ("total_correlation", "bottom", (4,)),
}
ATTACKS = {"all": "latent_kl_all", "w2": "latent_w2_all", "output": "output_elbo"}
OF_LAYERS = {"top": "latent_kl_top", "bottom": "latent_kl_bottom"}


def delta(beta, depth, pair, penalty):
    """Delta of one attack: it grows with beta and depth, and differs by pair and penalty."""
    return beta * depth * 10.0 ** (pair + penalty)


def half_way(beta, depth, pair):
    return beta + depth + pair


def write(folder, *, data=("sprites",), betas=(1.0, 10.0), models=MODELS, sizes=(24,), attacks=ATTACKS, measures=True,
          scale=1.0):  # fmt: skip
    """Writes the tables of a sweep, Delta `scale` times as large; returns the folder."""
    tables = {name: [] for name in schema.TABLES}
    for name, kind, beta, d_z in itertools.product(data, models, betas, sizes):
        penalty, reads, depths = MODELS[kind]
        for depth in depths:
            cell = f"{name}_{kind}_L{depth}_dz{d_z}_beta{beta:g}"
            row = {"cell": cell, "status": "done", "data": name, "model": kind, "L": depth, "d_z": d_z, "beta": beta}
            row |= {"penalty": penalty, "decoder_reads": reads, "seed": 0, "step": 100}
            tables["cells"].append(row)
            done = {**attacks, **(OF_LAYERS if depth > 1 and "all" in attacks else {})}
            rows = [_pair(attack, done[attack], beta, depth, pair, scale) for attack in done for pair in range(PAIRS)]
            found = {"pairs": rows}
            if measures:
                found |= {"measures": _measures(beta, depth, d_z), "densities": _densities(beta)}
            for table, part in found.items():
                tables[table] += [{"cell": cell, **row} for row in part]
    schema.write(folder / "sweep.csv", tables)
    return folder


def _pair(attack, objective, beta, depth, pair, scale):
    deltas = scale * np.array([delta(beta, depth, pair, penalty) for penalty in range(PENALTIES)])
    row = {
        "attack": attack,
        "objective": objective,
        "threat": "penalty",
        "pairs_by": "seed",
        "unit": "nats",
        "pair": pair,
    }
    row |= {"source_index": 10 + pair, "target_index": 20 + pair, "target_error_l2": 5.0 + 0.1 * beta}
    row |= {"distortion_half_way_l2": half_way(beta, depth, pair)}
    row |= {"distortion_nine_tenths_l2": np.inf if pair == 2 else 2.0 * half_way(beta, depth, pair)}
    row |= {"attacks": PENALTIES, "delta_mean": deltas.mean(), "delta_std": deltas.std()}
    means = {"target_nll_nats": 100.0 * depth + beta, "distance_to_target_l2": 3.0 * beta, "adversarial_error_l2": 4.0}
    for name, value in means.items():
        row |= {f"{name}_mean": value + pair, f"{name}_std": 0.5}
    return row


def _measures(beta, depth, d_z):
    found = {"elbo_nats": 100.0 - beta / depth + d_z, "log_likelihood_nats": 120.0 - beta}
    found |= {"encoder_weight_norm": 10.0 + beta, "decoder_weight_norm": 40.0 - beta}
    found |= {"downstream_median_distortion_l2": 5.0, "downstream_share_suspicious": 0.25}
    for number, task in enumerate(("mlp_reconstructions", "conv_reconstructions", "mlp_codes")):
        found[f"downstream_{task}_accuracy_attacked"] = 0.2 + 0.01 * beta + 0.1 * number
        found[f"downstream_{task}_accuracy_change"] = -0.3
    rows = [{"measure": name, "value": value} for name, value in found.items()]
    return [*rows, {"measure": "mig", "layer": "1", "value": 0.01 * beta}]


def _densities(beta):
    """Gaussians around beta, of standard deviation 1."""
    places = np.linspace(beta - 4.0, beta + 4.0, details.POINTS)
    density = np.exp(-0.5 * (places - beta) ** 2) / np.sqrt(2.0 * np.pi)
    parts = [{"measure": "posterior_std", "layer": "1", "unit": "latent_units"}]
    parts += [{"measure": "noise_robustness", "noise": scale, "unit": "nats"} for scale in ("0.1", "0.5", "1")]
    return [{**part, "mean": beta, "first": places[0], "last": places[-1], "density": density} for part in parts]


def table(file):
    """The rows of a figure's table."""
    return [{name: _value(text) for name, text in row.items()} for row in storage.read_csv(file)]


def _value(text):
    """A number where it is one; None where there is nothing."""
    try:
        return float(text) if text and text != "nan" else None
    except ValueError:
        return text


def png_size(file):
    content = file.read_bytes()
    assert content.startswith(b"\x89PNG")
    return len(content)


def copy_without_runs(folder, target):
    """The tables of a sweep alone."""
    for file in folder.glob("*.csv"):
        storage.write_bytes(target / file.name, file.read_bytes())
    return target
