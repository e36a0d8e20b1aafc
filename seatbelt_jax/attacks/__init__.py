"""Attacks on any VAE, batched over image pairs and budgets."""

from seatbelt_jax.attacks.diagnose import Diagnosis, diagnose
from seatbelt_jax.attacks.lbfgsb import LBFGSB, Status
from seatbelt_jax.attacks.objectives import (
    Divergence,
    Objective,
    Through,
    latent,
    maximum_damage,
    output_elbo,
    output_l2,
)
from seatbelt_jax.attacks.pairs import all_label_pairs, index_pairs, label_pairs, random_pairs
from seatbelt_jax.attacks.result import AttackResult
from seatbelt_jax.attacks.solvers import MakeSolver, adam, default_solver, lbfgsb, projected_gradient, sigmoid_lbfgs
from seatbelt_jax.attacks.sweep import sweep
from seatbelt_jax.attacks.threat import Ball, Penalty, Threat, penalty_grid

__all__ = [
    "LBFGSB",
    "AttackResult",
    "Ball",
    "Diagnosis",
    "Divergence",
    "MakeSolver",
    "Objective",
    "Penalty",
    "Status",
    "Threat",
    "Through",
    "adam",
    "all_label_pairs",
    "default_solver",
    "diagnose",
    "index_pairs",
    "label_pairs",
    "latent",
    "lbfgsb",
    "maximum_damage",
    "output_elbo",
    "output_l2",
    "penalty_grid",
    "projected_gradient",
    "random_pairs",
    "sigmoid_lbfgs",
    "sweep",
]
