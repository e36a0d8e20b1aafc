"""Measures of models and of what was done to them."""

from seatbelt_jax.metrics.active_units import ActiveUnits, active_units
from seatbelt_jax.metrics.attack import (
    distortion_to_reach,
    relative_likelihood_degradation,
    shown_budget,
    telling_budgets,
)
from seatbelt_jax.metrics.attack_success import AttackSuccess, attack_success
from seatbelt_jax.metrics.bootstrap import bootstrap_interval
from seatbelt_jax.metrics.density import KernelDensity, kernel_density
from seatbelt_jax.metrics.distortion_curve import auddc, distortion_curve
from seatbelt_jax.metrics.downstream import DownstreamAccuracy, downstream_accuracy
from seatbelt_jax.metrics.elbo_decomposition import Bracket, Brackets, ElboDecomposition, elbo_decomposition
from seatbelt_jax.metrics.importance_weighted import ImportanceWeightedBound, importance_weighted_bound
from seatbelt_jax.metrics.line_fit import LineFit, line_fit
from seatbelt_jax.metrics.mean_curve import MeanCurve, mean_curve
from seatbelt_jax.metrics.mutual_information_gap import MutualInformationGap, mutual_information_gap
from seatbelt_jax.metrics.noise_robustness import noise_robustness
from seatbelt_jax.metrics.pooling import (
    Interval,
    PooledMean,
    mean_over_models,
    median_over_pairs,
    pooled_mean,
    ratio_over_pairs,
)
from seatbelt_jax.metrics.posterior_scale import posterior_std_norms
from seatbelt_jax.metrics.summary import summarise
from seatbelt_jax.metrics.traversal import latent_traversal, traversal_from_image, traversal_noise
from seatbelt_jax.metrics.weight_norms import relative_changes, total_norm, weight_norms

__all__ = [
    "ActiveUnits",
    "AttackSuccess",
    "Bracket",
    "Brackets",
    "DownstreamAccuracy",
    "ElboDecomposition",
    "ImportanceWeightedBound",
    "Interval",
    "KernelDensity",
    "LineFit",
    "MeanCurve",
    "MutualInformationGap",
    "PooledMean",
    "active_units",
    "attack_success",
    "auddc",
    "bootstrap_interval",
    "distortion_curve",
    "distortion_to_reach",
    "downstream_accuracy",
    "elbo_decomposition",
    "importance_weighted_bound",
    "kernel_density",
    "latent_traversal",
    "line_fit",
    "mean_curve",
    "mean_over_models",
    "median_over_pairs",
    "mutual_information_gap",
    "noise_robustness",
    "pooled_mean",
    "posterior_std_norms",
    "ratio_over_pairs",
    "relative_changes",
    "relative_likelihood_degradation",
    "shown_budget",
    "summarise",
    "telling_budgets",
    "total_norm",
    "traversal_from_image",
    "traversal_noise",
    "weight_norms",
]
