"""What a sweep of attacks says about a model, one attack or one pair at a time."""

import numpy as np
from jaxtyping import Float, Int

from seatbelt_jax.attacks import AttackResult


def distortion_to_reach(result: AttackResult, share: float) -> Float[np.ndarray, " pair"]:
    """The least ||d|| (L2, pixel units) in the sweep that moves the reconstruction `share` of the way to the target's.

    An attack gets there if ||recon(x*) - recon(x^t)|| <= (1 - share) ||recon(x) - recon(x^t)||. The answer is infinite
    where no attack of the sweep gets there; one without finite numbers does not. Unlike Delta, it does not change when
    a model rescales its latents. NaN for an attack without targets.

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

    |log p(x|z*) - log p(x|z)| / |log p(x|z)|, with z the code of x and z* the code of x + d. The paper divides by
    log p(x|z) itself, which is negative for every Bernoulli model; its plots show the magnitude. A Gaussian density's
    logarithm may be near 0, where this measure says little. NaN where it is 0 or not finite.
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
    """At most `count` budgets whose distortions span the range from none to the largest in even steps.

    Returns their indices, the budgets rising. Chosen are the budgets whose median ||d|| over pairs is nearest to evenly
    spaced values. Evenly spaced budgets would mostly show no distortion or the largest.

    Raises:
      ValueError: for a count below 1.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    norms = np.median(np.nan_to_num(distortion_norm, posinf=0.0), axis=0)
    wanted = np.linspace(norms.min(), norms.max(), min(count, len(norms)))
    chosen = np.unique(np.argmin(np.abs(norms[:, None] - wanted), axis=0))
    return chosen[np.argsort(budgets[chosen], kind="stable")]
