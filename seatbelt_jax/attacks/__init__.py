"""Attacks on any VAE, batched over image pairs and budgets."""

from seatbelt_jax.attacks.adam import Adam
from seatbelt_jax.attacks.box_lbfgs import BoxLBFGS
from seatbelt_jax.attacks.diagnose import diagnose
from seatbelt_jax.attacks.latent_objective import DIVERGENCES, Divergence, latent, sum_over_layers
from seatbelt_jax.attacks.lbfgsb import LBFGSB
from seatbelt_jax.attacks.objective import OBJECTIVES, Objective
from seatbelt_jax.attacks.objectives import Through, maximum_damage, output_elbo, output_l2
from seatbelt_jax.attacks.pairs import all_label_pairs, index_pairs, label_pairs, random_pairs
from seatbelt_jax.attacks.projected_gradient import ProjectedGradient
from seatbelt_jax.attacks.sigmoid_lbfgs import SigmoidLBFGS
from seatbelt_jax.attacks.solver import Solver
from seatbelt_jax.attacks.solvers import SOLVERS, default_solver
from seatbelt_jax.attacks.sweep import sweep
from seatbelt_jax.attacks.threat import Ball, Penalty, Threat, penalty_grid
from seatbelt_jax.results import AttackResult, Diagnosis, Status

__all__ = [
    "DIVERGENCES",
    "LBFGSB",
    "OBJECTIVES",
    "SOLVERS",
    "Adam",
    "AttackResult",
    "Ball",
    "BoxLBFGS",
    "Diagnosis",
    "Divergence",
    "Objective",
    "Penalty",
    "ProjectedGradient",
    "SigmoidLBFGS",
    "Solver",
    "Status",
    "Threat",
    "Through",
    "all_label_pairs",
    "default_solver",
    "diagnose",
    "index_pairs",
    "label_pairs",
    "latent",
    "maximum_damage",
    "output_elbo",
    "output_l2",
    "penalty_grid",
    "random_pairs",
    "sum_over_layers",
    "sweep",
]
