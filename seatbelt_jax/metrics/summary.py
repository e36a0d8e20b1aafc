"""A sweep of attacks in a few numbers, for a table."""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from seatbelt_jax.attacks import AttackResult, diagnose
from seatbelt_jax.metrics.attack import distortion_to_reach, relative_likelihood_degradation
from seatbelt_jax.metrics.bootstrap import bootstrap_interval
from seatbelt_jax.metrics.distortion_curve import auddc


def summarise(result: AttackResult, *, level: float = 0.95, resamples: int = 2000, seed: int = 0) -> dict[str, float]:
    """Medians over a sweep's attacks, or over its pairs for a measure that has one number per pair.

    Units are in the names; `median_objective` is in the result's unit.

    Each headline number NAME comes with NAME_low and NAME_high, the bounds of its confidence interval over pairs:
    by `bootstrap_interval` for a median (NaN with fewer than two pairs), by Clopper and Pearson's exact interval for
    the shares of pairs that went half way and nine tenths. `share_suspicious`, of the attacks that `diagnose` flags,
    says how far to trust the rest, and has no bounds.

    Attacks whose objective is not finite are left out, and so are pairs without any other attack. `share_non_finite` is
    their share of all `attacks`, without bounds. Medians leave out undefined values, and are NaN where no value is
    left. Measures that need a target are missing for untargeted attacks, and `median_auddc` where no pair has an
    AUDDC.

    Args:
      result: the result of a sweep.
      level, resamples, seed: as `bootstrap_interval` takes them.
    """
    finite = np.isfinite(result.objective)
    counted = finite.any(axis=1)
    found = _only(finite, result)
    per_attack_or_pair = {
        "median_objective": found.objective,
        "median_distortion_l2": found.distortion_norm,
        "median_relative_likelihood_degradation": relative_likelihood_degradation(found),
    }
    shares = {}
    if result.targeted:
        half_way, nine_tenths = distortion_to_reach(found, 0.5), distortion_to_reach(found, 0.9)
        per_attack_or_pair |= {
            "median_excess_target_nll_nats": found.excess_negative_log_likelihood,
            "median_distortion_half_way_l2": half_way[counted],
            "median_distortion_nine_tenths_l2": nine_tenths[counted],
        }
        shares = {
            "share_reaching_half_way": np.isfinite(half_way[counted]),
            "share_reaching_nine_tenths": np.isfinite(nine_tenths[counted]),
        }
        areas = auddc(found)
        if not np.isnan(areas).all():
            per_attack_or_pair["median_auddc"] = areas
    summary = {"attacks": float(result.objective.size)}
    for name, values in per_attack_or_pair.items():
        summary |= _median(name, values, level=level, resamples=resamples, seed=seed)
    for name, reached in shares.items():
        summary |= _share(name, reached, level)
    summary["share_suspicious"] = float(np.mean(diagnose(result).suspicious))
    summary["share_non_finite"] = float(np.mean(~finite))
    return summary


def _only(kept: Bool[np.ndarray, "pair budget"], result: AttackResult) -> AttackResult:
    """The result with NaN, which every measure leaves out, in place of the other attacks' values."""
    measured = ("objective", "distortion_norm", "negative_log_likelihood", "source_log_likelihood", "distance_left")
    masked: dict[str, Any] = {name: np.where(kept, getattr(result, name), np.nan) for name in measured}
    return dataclasses.replace(result, **masked)


def _median(name: str, values: Float[np.ndarray, "pair *budget"], **settings: Any) -> dict[str, float]:
    """The median of what is defined, with its bounds over the pairs that have any of it."""
    defined = values[~np.isnan(values).all(axis=tuple(range(1, values.ndim)))]
    summary = dict.fromkeys((name, f"{name}_low", f"{name}_high"), np.nan)
    if len(defined):
        summary[name] = float(np.nanmedian(defined))
    if len(defined) > 1:
        low, high = bootstrap_interval(lambda pairs: np.nanmedian(defined[pairs]), len(defined), **settings)
        summary |= {f"{name}_low": float(low), f"{name}_high": float(high)}
    return summary


def _share(name: str, reached: Bool[np.ndarray, " pair"], level: float) -> dict[str, float]:
    if not reached.size:
        return dict.fromkeys((name, f"{name}_low", f"{name}_high"), np.nan)
    from scipy import stats  # takes a third of a second, which only those who use it should pay

    interval = stats.binomtest(int(reached.sum()), reached.size).proportion_ci(level)
    return {name: float(reached.mean()), f"{name}_low": float(interval.low), f"{name}_high": float(interval.high)}
