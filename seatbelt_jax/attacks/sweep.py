"""A sweep of attacks: every pair of images under every penalty, as one batch of lanes."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from seatbelt_jax.attacks import lanes, objectives
from seatbelt_jax.attacks.lbfgsb import LBFGSB, Status
from seatbelt_jax.attacks.result import AttackResult
from seatbelt_jax.posterior import Posterior
from seatbelt_jax.vae import VAE

Images = Float[Array | np.ndarray, "batch height width channels"]

# Images whose codes, gradients or reconstructions are computed at once, so that memory does not grow with the pairs.
_IMAGES_AT_ONCE = 64


def penalty_grid(number: int = 50) -> Float[np.ndarray, " penalty"]:
    """lambda = 2^-20 .. 2^20, geometric (Willetts et al. 2021, Sec. 5)."""
    if number < 1:
        raise ValueError(f"a sweep needs at least one penalty, got {number}")
    return np.geomspace(2.0**-20, 2.0**20, number)


def sweep(
    vae: VAE,
    sources: Float[Array | np.ndarray, "pair height width channels"],
    targets: Float[Array | np.ndarray, "pair height width channels"],
    *,
    penalties: Float[np.ndarray, " penalty"] | None = None,
    divergence: objectives.Divergence = "kl",
    layers: objectives.Layers = "all",
    maxiter: int = 200,
    history_size: int = 10,
    lanes_at_once: int = 32,
    progress: bool = False,
) -> AttackResult:
    """Latent attacks on every pair under every penalty, by L-BFGS-B within the image box.

    Minimises sum_i r(q(z^i|x + d), q(z^i|x^t)) + lambda ||d||_2 over d with x + d in the image range
    (Willetts et al. 2021, Eq. 10), each attack starting at d = 0.

    Args:
      vae: the attacked model.
      sources, targets: images in the likelihood's range; row k of each is pair k.
      penalties: lambda, `penalty_grid()` by default.
      divergence: r, between the attacked posterior and the target's, in this order.
      layers: whose posteriors count.
      maxiter: accepted iterations per attack.
      history_size: of L-BFGS-B.
      lanes_at_once: attacks held on the device together. A CPU likes 16 to 64, a GPU all there are.
      progress: whether to show a bar over attacks.

    Raises:
      ValueError: for images of other shapes than the model's or out of range, no penalties or negative
        ones, or an unknown divergence or choice of layers.
    """
    penalties = penalty_grid() if penalties is None else np.asarray(penalties)
    sources, targets = _check(vae, sources, targets, penalties)
    distance = objectives.latent_divergence(vae, divergence=divergence, layers=layers)
    bounds = vae.likelihood.image_range
    target_posteriors = _in_batches(jax.jit(lambda images: objectives.posteriors(vae, images)), targets)

    num_pairs, num_penalties = len(sources), len(penalties)
    problem = objectives.Problem(
        source=_per_lane(sources, num_penalties),
        target=_per_lane(target_posteriors, num_penalties),
        penalty=jnp.tile(jnp.asarray(penalties, jnp.float32), num_pairs),
    )
    at_rest = _optimal_at_rest(distance, sources, target_posteriors, penalties, bounds).ravel()

    images = np.array(problem.source)
    statuses = np.full(images.shape[0], Status.CONVERGED, np.int32)
    iterations, evaluations = np.zeros_like(statuses), np.ones_like(statuses)
    moving = np.flatnonzero(~at_rest)
    if moving.size:
        # A box of width 2 and float32: a projected gradient of 1e-5 nats per pixel unit is noise.
        solver = LBFGSB(objectives.penalised(distance), maxiter=maxiter, tol=1e-5, history_size=history_size)
        found = lanes.solve(
            solver,
            images[moving],
            jax.tree.map(lambda leaf: leaf[moving], problem),
            bounds,
            lanes_at_once=lanes_at_once,
            progress=progress,
            already_solved=int(at_rest.sum()),
        )
        images[moving], statuses[moving] = found.images, found.status
        iterations[moving], evaluations[moving] = found.iterations, found.evaluations

    grid = (num_pairs, num_penalties)
    return _measure(
        vae,
        distance,
        penalties,
        (sources, targets),
        target_posteriors,
        images.reshape(*grid, *images.shape[1:]),
        {
            "status": statuses.reshape(grid),
            "iterations": iterations.reshape(grid),
            "evaluations": evaluations.reshape(grid),
        },
    )


def _in_batches(function: Callable[..., Any], *arguments: Any) -> Any:
    """A function of images, and of trees with their leading axis, over a few of them at a time."""
    starts = range(0, len(arguments[0]), _IMAGES_AT_ONCE)
    batches = [
        function(*jax.tree.map(lambda leaf: leaf[start : start + _IMAGES_AT_ONCE], arguments))  # noqa: B023
        for start in starts
    ]
    return jax.tree.map(lambda *parts: np.concatenate(parts), *batches)


def _per_lane(tree: Any, num_penalties: int) -> Any:
    """Repeats what belongs to a pair for each of its penalties: [pair, ...] -> [pair * penalty, ...]."""
    return jax.tree.map(lambda leaf: np.repeat(np.asarray(leaf), num_penalties, axis=0), tree)


def _check(vae: VAE, sources: Images, targets: Images, penalties: np.ndarray) -> tuple[Array, Array]:
    low, high = vae.likelihood.image_range
    if penalties.ndim != 1 or not penalties.size or not np.all(np.isfinite(penalties) & (penalties >= 0)):
        raise ValueError(f"penalties must be a list of finite numbers >= 0, got {penalties}")
    for name, images in (("sources", sources), ("targets", targets)):
        if images.shape[1:] != tuple(vae.image_shape) or not len(images):
            raise ValueError(
                f"{name} must be images of shape [pair, {', '.join(map(str, vae.image_shape))}], "
                f"got {tuple(images.shape)}"
            )
        if not np.all((np.asarray(images) >= low) & (np.asarray(images) <= high)):
            raise ValueError(f"{name} must lie in the model's image range [{low}, {high}]")
    if len(sources) != len(targets):
        raise ValueError(f"got {len(sources)} sources for {len(targets)} targets; give pairs")
    return jnp.asarray(sources, jnp.float32), jnp.asarray(targets, jnp.float32)


def _optimal_at_rest(
    distance: objectives.Distance,
    sources: Array,
    target_posteriors: tuple[Posterior, ...],
    penalties: np.ndarray,
    bounds: tuple[float, float],
) -> Bool[np.ndarray, "pair penalty"]:
    """Which attacks are stationary at d = 0, where lambda ||d|| has a kink.

    No feasible direction u descends when <-grad r, u> <= lambda ||u||, that is when the part of -grad r
    that the box allows is no longer than lambda.
    """
    low, high = bounds
    descent = -_in_batches(jax.jit(jax.vmap(jax.grad(distance))), sources, target_posteriors)
    blocked = ((sources <= low) & (descent < 0)) | ((sources >= high) & (descent > 0))
    allowed = jnp.where(blocked, 0.0, descent).reshape(sources.shape[0], -1)
    return np.asarray(jnp.linalg.norm(allowed, axis=-1))[:, None] <= penalties[None, :]


def _measure(
    vae: VAE,
    distance: objectives.Distance,
    penalties: np.ndarray,
    pairs: tuple[Array, Array],
    target_posteriors: tuple[Posterior, ...],
    adversarial: Float[np.ndarray, "pair penalty height width channels"],
    ended: dict[str, np.ndarray],
) -> AttackResult:
    """Every measure of an attack, from the adversarial images alone: no solver's word is taken."""

    @jax.jit
    def look(images: Array, posteriors: tuple[Posterior, ...], target: Array) -> tuple[Array, Array, Images]:
        parameters = vae.decode(vae.encode(images, vae.mean_path(images.shape[0])).latents)
        return (
            jax.vmap(distance)(images, posteriors),
            -vae.likelihood.log_prob(parameters, target),
            vae.likelihood.mean(parameters),
        )

    num_penalties = len(penalties)
    divergence, nll, reconstructions = _in_batches(
        look,
        adversarial.reshape(-1, *adversarial.shape[2:]),
        _per_lane(target_posteriors, num_penalties),
        _per_lane(pairs[1], num_penalties),
    )
    sources, targets = (np.asarray(images) for images in pairs)
    _, clean_nll, target_reconstructions = _in_batches(look, targets, target_posteriors, targets)
    _, _, source_reconstructions = _in_batches(look, sources, target_posteriors, targets)
    grid = adversarial.shape[:2]
    reconstructions = reconstructions.reshape(adversarial.shape)
    norms = _norm(adversarial - sources[:, None])
    return AttackResult(
        penalties=penalties,
        sources=sources,
        targets=targets,
        source_reconstructions=source_reconstructions,
        target_reconstructions=target_reconstructions,
        adversarial=adversarial,
        adversarial_reconstructions=reconstructions,
        objective=divergence.reshape(grid) + penalties * norms,
        divergence=divergence.reshape(grid),
        distortion_norm=norms,
        negative_log_likelihood=nll.reshape(grid),
        clean_negative_log_likelihood=clean_nll,
        adversarial_error=_norm(reconstructions - targets[:, None]),
        target_error=_norm(target_reconstructions - targets),
        distance_left=_norm(reconstructions - target_reconstructions[:, None]),
        distance_at_start=_norm(source_reconstructions - target_reconstructions),
        **ended,
    )


def _norm(images: np.ndarray) -> np.ndarray:
    """L2 over the last three axes."""
    return np.sqrt(np.sum(np.square(images, dtype=np.float64), axis=(-3, -2, -1)))
