"""Attacks on any VAE, batched over image pairs and penalties."""

from seatbelt_jax.attacks.lbfgsb import LBFGSB, Status
from seatbelt_jax.attacks.pairs import random_pairs
from seatbelt_jax.attacks.result import AttackResult
from seatbelt_jax.attacks.sweep import penalty_grid, sweep

__all__ = ["LBFGSB", "AttackResult", "Status", "penalty_grid", "random_pairs", "sweep"]
