"""Training: state, one pure step, evaluation, and the loop around them."""

from seatbelt_jax.training.classify import TrainedClassifier, train_classifier
from seatbelt_jax.training.divergence import DivergenceError
from seatbelt_jax.training.evaluation import Evaluation, evaluate
from seatbelt_jax.training.grid import train_grid
from seatbelt_jax.training.joining import joined
from seatbelt_jax.training.loop import train
from seatbelt_jax.training.objective import check_layers, unreachable_capacities
from seatbelt_jax.training.parallel import check_divisible
from seatbelt_jax.training.settings import Settings, parse_settings
from seatbelt_jax.training.writers import read_metrics

__all__ = [
    "DivergenceError",
    "Evaluation",
    "Settings",
    "TrainedClassifier",
    "check_divisible",
    "check_layers",
    "evaluate",
    "joined",
    "parse_settings",
    "read_metrics",
    "train",
    "train_classifier",
    "train_grid",
    "unreachable_capacities",
]
