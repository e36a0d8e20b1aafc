"""A VAE whose encoder and decoder are linear with one latent: its attacks have closed-form optima.

mu(x) = a . x with constant sigma, and g(z) = z a / ||a||^2. So whatever the attacker wants small depends on d only
by the code's shift u = a . d, and the shortest d with a given u is u a / ||a||^2, of norm |u| / ||a||. With the pair's
c = a . (x^t - x), m = a . x, eta_bar and v the draws' mean and variance, and likelihood standard deviation s:

    kl            (u - c)^2 / (2 sigma^2)
    symmetric_kl  (u - c)^2 / sigma^2
    w2, l2        |u - c|
    output_l2     [(u - c + sigma eta_bar)^2 + sigma^2 v] / ||a||^2 + ||x^t||^2 - (a . x^t)^2 / ||a||^2
    output_elbo   output_l2 / (2 s^2) + n log(s sqrt(2 pi)) + [sigma^2 + (m + u)^2 - 1] / 2 - log sigma
    damage        -mean_k |u + sigma eta_k| / ||a||, through the mean or both; constant through the std

All but the last are h/2 (u - b)^2 + k or |u - b|, and convex. `optimum` adds the price of distortion, lambda |u| /
||a|| or its square, or holds |u| below what a ball allows; the image box is taken to be out of reach.
"""

import jax.numpy as jnp
import numpy as np

from seatbelt_jax.gaussian import DiagonalGaussian, standard_normal
from seatbelt_jax.likelihood import GaussianLikelihood
from seatbelt_jax.vae import VAE, Encoding

SHAPE = (4, 4, 1)
SIGMA = 0.5
LIKELIHOOD_STD = 0.1
WEIGHTS = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)


def vae():
    def encode(images, noise):
        mean = jnp.sum(images * WEIGHTS, axis=(1, 2, 3))[:, None]
        posterior = DiagonalGaussian(mean, jnp.full_like(mean, np.log(SIGMA)))
        return Encoding((posterior,), (mean + SIGMA * noise[0],))

    def decode(latents):
        return latents[0][:, None, None] * (WEIGHTS / np.sum(WEIGHTS**2))

    return VAE(encode, decode, lambda z: (standard_normal(z[0]),), GaussianLikelihood(LIKELIHOOD_STD), (1,), SHAPE)


def optimum(source, target, budget, *, objective="kl", threat="penalty", noise=None):
    """(objective, ||d||) of the best attack whose image box is not active.

    Args:
      source, target: images of SHAPE; maximum damage ignores the target.
      budget: lambda for the threats "penalty" (lambda ||d||) and "squared_penalty" (lambda ||d||^2), whose price is
        part of the objective; the radius for "l2_ball" and "linf_ball".
      objective: "kl", "symmetric_kl", "w2", "l2" (and "joint_l2", the same), "output_l2", "output_elbo",
        "maximum_damage" (through the mean or both). The last is not convex and has a ball for its threat.
      noise: the draws eta, any shape, for the outputs and maximum damage; None is eta = 0.

    Returns:
      the objective's value, price included, and ||d||: NaN where attacks of several norms are equally good, that is
      inside a ball that is not used up.
    """
    a = WEIGHTS.astype(np.float64)
    length = np.sqrt(np.sum(a**2))
    if threat == "linf_ball":
        reach, longest = budget * np.sum(np.abs(a)), budget * np.sqrt(a.size)
    else:
        reach, longest = length * budget, budget
    if objective == "maximum_damage":
        if threat not in ("l2_ball", "linf_ball"):
            raise ValueError(f"maximum damage has no optimum under {threat}; give l2_ball or linf_ball")
        eta = np.zeros(1) if noise is None else np.ravel(noise).astype(np.float64)
        return min(-np.mean(np.abs(u + SIGMA * eta)) / length for u in (-reach, reach)), longest
    if objective in ("w2", "l2", "joint_l2"):
        c = abs(np.sum(a * (target - source)))
        u = {
            "penalty": c if budget < length else 0.0,
            "squared_penalty": min(c, length**2 / (2 * budget)) if budget else c,
            "l2_ball": min(c, reach),
            "linf_ball": min(c, reach),
        }[threat]
        value, inside = abs(u - c), c < reach
    else:
        curvature, b, constant = _parabola(a, source, target, objective, noise)
        u = {
            "penalty": max(0.0, abs(b) - budget / (length * curvature)),
            "squared_penalty": curvature * abs(b) / (curvature + 2 * budget / length**2),
            "l2_ball": min(abs(b), reach),
            "linf_ball": min(abs(b), reach),
        }[threat]
        value, inside = curvature / 2 * (u - abs(b)) ** 2 + constant, abs(b) < reach
    distance = u / length
    if threat == "penalty":
        return value + budget * distance, distance
    if threat == "squared_penalty":
        return value + budget * distance**2, distance
    return value, np.nan if inside else longest


def _parabola(a, source, target, objective, noise):
    """h, b and k of an objective h/2 (u - b)^2 + k."""
    source, target = np.asarray(source, np.float64), np.asarray(target, np.float64)
    c, squared_length = np.sum(a * (target - source)), np.sum(a**2)
    if objective == "kl":
        return 1 / SIGMA**2, c, 0.0
    if objective == "symmetric_kl":
        return 2 / SIGMA**2, c, 0.0
    eta = np.zeros(1) if noise is None else np.ravel(noise).astype(np.float64)
    unseen = np.sum(target**2) - np.sum(a * target) ** 2 / squared_length + SIGMA**2 * np.var(eta) / squared_length
    near, h = c - SIGMA * np.mean(eta), 2 / squared_length
    if objective == "output_l2":
        return h, near, unseen
    if objective != "output_elbo":
        raise ValueError(f"no closed form for {objective}")
    # The sum of the parabolas of the likelihood, around `near`, and of the divergence, around -m.
    h, m = h / (2 * LIKELIHOOD_STD**2), np.sum(a * source)
    total, b = h + 1, (h * near - m) / (h + 1)
    constant = unseen / (2 * LIKELIHOOD_STD**2) + a.size * np.log(LIKELIHOOD_STD * np.sqrt(2 * np.pi))
    constant += (SIGMA**2 - 1) / 2 - np.log(SIGMA) + h / 2 * (b - near) ** 2 + (b + m) ** 2 / 2
    return total, b, constant
