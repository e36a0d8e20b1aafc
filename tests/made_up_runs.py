"""Run directories that no launcher has made: results with known numbers, and none that took time."""

import dataclasses
import json
import pathlib

import numpy as np

from seatbelt_jax import bounds, storage
from seatbelt_jax.attacks import AttackResult, Status
from tests.reference.made_up_attacks import made_up_result

SHAPE = (8, 8, 1)


def write(
    path: pathlib.Path,
    *kinds: str,
    latent_sizes: tuple[int, ...] = (4,),
    shape: tuple[int, int, int] = SHAPE,
    extra: str = "x",
    seed: int = 0,
    beta: float = 8.0,
) -> pathlib.Path:
    """A run with results of the kinds that are asked for."""
    config = {
        "data": {"name": extra, "image_size": shape[0]},
        "model": {"latent_sizes": list(latent_sizes), "likelihood": "gaussian", "network": "mlp"},
        "objective": {"beta": beta, "penalty": "total_correlation"},
    }
    provenance = {"git_revision": "abc123", "device": "1 x cpu", "versions": {"jax": "9.9.9"}}
    record = {"config": config, "image_shape": list(shape), "provenance": provenance}
    storage.write_json(path / "config.json", record)
    rng = np.random.default_rng(seed)
    if "metrics" in kinds:
        write_metrics(path, len(latent_sizes))
    if "samples" in kinds:
        look = {key: rng.uniform(-1, 1, (16, *shape)) for key in ("images", "reconstructions", "samples")}
        storage.write_npz(path / "samples.npz", {**look, "step": 20, "image_low": -1.0, "image_high": 1.0})
    if "attacks" in kinds:
        storage.write_npz(path / "attacks" / "latent_kl.npz", attack(rng, shape).to_arrays())
    if "damage" in kinds:
        storage.write_npz(path / "attacks" / "maximum_damage_mean.npz", damage(rng, shape).to_arrays())
    if "certificates" in kinds:
        storage.write_npz(path / "certificates" / "spectral.npz", certificate().to_arrays())
    if "evaluation" in kinds:
        measures = {
            "active_units": {"images": 20, "active_1": 3, "activity_1": [0.5, 0.0], "options": {"images": 20}},
            "elbo": {"elbo_nats": -12.5, "reconstruction_error_l2": 1.25, "options": {"images": 20}},
        }
        storage.write_json(path / "evaluation.json", {"step": None, "measures": measures, "skipped": {}})
    return path


def write_metrics(path: pathlib.Path, layers: int) -> None:
    rows = []
    for step in (10, 20):
        shared = {"elbo": -100.0 / step, "log_likelihood": -50.0 / step}
        shared |= {f"kl_{layer}": float(step) for layer in range(1, layers + 1)}
        rows.append({"step": step, "split": "train", **shared, "total_correlation_mws": 3.0})
        last = {"total_correlation_mss": 1.0, "reconstruction_error": 100.0 + step}
        rows.append({"step": step, "split": "validation", **shared, **last})
    storage.write_bytes(path / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())


def attack(rng: np.random.Generator, shape: tuple[int, ...], pairs: int = 3, budgets: int = 5) -> AttackResult:
    """A penalty sweep over distances c (1 - ||d||)^2, solved; but the first pair's attacks ran out of iterations."""
    penalties, c = np.geomspace(2.0**-20, 2.0**20, budgets), rng.uniform(5.0, 9.0, (pairs, 1))
    norm = np.maximum(0.0, 1.0 - penalties / (2.0 * c))
    status = np.full((pairs, budgets), Status.CONVERGED)
    status[0] = Status.MAX_ITERATIONS
    images = ("sources", "targets", "source_reconstructions", "target_reconstructions")
    attacked = ("adversarial", "adversarial_reconstructions")
    return made_up_result(
        objective=c * (1.0 - norm) ** 2 + penalties * norm,
        distance=c * (1.0 - norm) ** 2,
        distortion_norm=norm,
        budgets=penalties,
        status=status,
        **{name: rng.uniform(-1, 1, (pairs, *shape)) for name in images},
        **{name: rng.uniform(-1, 1, (pairs, budgets, *shape)) for name in attacked},
        **{name: rng.uniform(1, 9, (pairs, budgets)) for name in ("negative_log_likelihood", "distance_left")},
        source_log_likelihood=np.full((pairs, budgets), -2.0),
        clean_negative_log_likelihood=np.ones(pairs),
        distance_at_start=rng.uniform(1, 9, pairs),
    )


def damage(rng: np.random.Generator, shape: tuple[int, ...]) -> AttackResult:
    """Maximum damage in L2 balls, radii not in order; three times the radius, but that the last attack found half."""
    radii = np.array([2.0, 0.5, 1.0, 1.5])
    objective = np.tile(-3.0 * radii, (3, 1))
    objective[2, 3] *= 0.5
    nothing = np.full(objective.shape, np.nan)
    return dataclasses.replace(
        attack(rng, shape, budgets=4),
        name="maximum_damage_mean",
        unit="pixel units",
        targeted=False,
        threat="l2_ball",
        budgets=radii,
        objective=objective,
        distance=objective,
        start_objectives=objective[..., None],
        repeated_objective=objective,
        distortion_norm=np.tile(radii, (3, 1)),
        status=np.full(objective.shape, Status.CONVERGED),
        negative_log_likelihood=nothing,
        distance_left=nothing,
    )


def certificate() -> bounds.Certificate:
    radius = np.array([0.0, 0.25, 0.5, 0.75])
    return bounds.Certificate(
        radius=radius,
        p_lower=np.array([0.4, 0.9, 0.9, 0.9]),
        hits=np.array([4, 9, 9, 9]),
        abstained=radius == 0.0,
        norm_bound=np.ones(4),
        norms=None,
        method="spectral",
        soundness="first_order",
        assumptions=("frozen <sigma>",),
        alpha=1e-3,
        risk=0.5,
        reconstruction_radius=4.0,
        num_samples=10,
    )
