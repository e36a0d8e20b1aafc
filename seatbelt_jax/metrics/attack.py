"""What a sweep of attacks says about a model, one attack or one pair at a time."""

import numpy as np
from jaxtyping import Float, Int

from seatbelt_jax.attacks import AttackResult


def distortion_to_reach(result: AttackResult, share: float) -> Float[np.ndarray, " pair"]:
    """The least ||d|| (L2, pixel units) in the sweep that moves the reconstruction `share` of the way to the target's.

    Counted as ||recon(x*) - recon(x^t)|| <= (1 - share) ||recon(x) - recon(x^t)||; infinite where no budget of the
    sweep got there, as one without finite numbers did not. Unlike Delta it does not change when a model rescales its
    latents.
    NaN for an attack without targets.

    Raises:
      ValueError: for a share outside (0, 1].
    """
    if not 0.0 < share <= 1.0:
        raise ValueError(f"share must lie in (0, 1], got {share}")
    if not result.targeted:
        return np.full(len(result.sources), np.nan)
    reached = result.distance_left <= (1.0 - share) * result.distance_at_start[:, None]
    return np.min(np.where(reached, result.distortion_norm, np.inf), axis=1)


def relative_likelihood_degradation(result: AttackResult) -> Float[np.ndarray, "pair budget"]:
    """How much the attack changes log p(x|z) of the source, relative to what it was (Camuto et al. 2021, Sec. 4.1).

    |log p(x|z*) - log p(x|z)| / |log p(x|z)|, with z the code of x and z* that of x + d. The paper divides by
    log p(x|z) itself, which is negative for every Bernoulli model; its plots show the magnitude. A Gaussian
    density's logarithm may pass through 0, and near there this measure says little; at 0, and
    where it is not finite, this is NaN.
    """
    clean = result.clean_source_log_likelihood[:, None]
    clean = np.where(np.isfinite(clean) & (clean != 0.0), clean, np.nan)
    return np.abs(result.source_log_likelihood - clean) / np.abs(clean)


def shown_budget(result: AttackResult) -> Int[np.ndarray, " pair"]:
    """The budget whose attack is shown for each pair, as an index.

    "Just better than the average objective" for the attacker (Willetts et al. 2019, Sec. 5), who minimises Delta: the
    largest Delta below the pair's mean. A tie goes to the largest budget. Where no Delta is below the mean, all are
    equal, which is a tie too. Attacks without a finite Delta are left out, unless a pair has no others.
    """
    finite = np.isfinite(result.objective)
    mean = np.sum(result.objective, axis=1, where=finite) / np.maximum(finite.sum(axis=1), 1)
    below = finite & (result.objective < mean[:, None])
    eligible = np.where(below.any(axis=1, keepdims=True), below, finite)
    candidates = np.where(eligible, result.objective, -np.inf)
    largest = candidates == candidates.max(axis=1, keepdims=True)
    return np.argmax(np.where(largest, result.budgets, -np.inf), axis=1)


def telling_budgets(
    budgets: Float[np.ndarray, " budget"], distortion_norm: Float[np.ndarray, "pair budget"], count: int
) -> Int[np.ndarray, " chosen"]:
    """At most so many budgets whose attacks tell most of what happens between doing nothing and doing all.

    As indices, the budgets rising: those whose median ||d|| over pairs is nearest to values spaced evenly from the
    least to the largest. Evenly spaced budgets would mostly show one or the other.

    Raises:
      ValueError: for a count below 1.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    norms = np.median(np.nan_to_num(distortion_norm, posinf=0.0), axis=0)
    wanted = np.linspace(norms.min(), norms.max(), min(count, len(norms)))
    chosen = np.unique(np.argmin(np.abs(norms[:, None] - wanted), axis=0))
    return chosen[np.argsort(budgets[chosen], kind="stable")]
