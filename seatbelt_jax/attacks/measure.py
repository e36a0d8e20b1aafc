"""Every measure of an attack, computed anew from the adversarial images and not from what a solver reports."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from seatbelt_jax import program
from seatbelt_jax.attacks import threat as threats
from seatbelt_jax.attacks.box import Box, inward_gradient
from seatbelt_jax.attacks.objective import Objective
from seatbelt_jax.attacks.problem import distance
from seatbelt_jax.attacks.threat import Threat
from seatbelt_jax.vae import VAE

# Images whose codes, gradients or reconstructions are computed at once, so that memory does not grow with the pairs.
_IMAGES_AT_ONCE = 64


def in_batches(function: Callable[..., Any], *arguments: Any, least: int = 1) -> Any:
    """Applies a function of images, and of trees with their leading axis, to a few images at a time.

    The last batch is filled up with the first image, so that the function compiles once; with calls for more images,
    too, where `least` is how many these have. `metrics.batches.map_images` needs a model and
    images; here every argument is a tree of arrays by pair, goals among them.
    """
    total = len(arguments[0])
    size = min(_IMAGES_AT_ONCE, max(total, least))
    batches = []
    for start in range(0, total, size):
        chosen = np.arange(start, start + size)
        chosen[chosen >= total] = 0
        found = function(*jax.tree.map(lambda leaf: leaf[chosen], arguments))  # noqa: B023
        batches.append(jax.tree.map(lambda leaf: np.asarray(leaf)[: total - start], found))  # noqa: B023
    return jax.tree.map(lambda *parts: np.concatenate(parts), *batches)


def prepare(objective: Objective, sources: np.ndarray, targets: np.ndarray) -> Any:
    """The objective's goals, of all pairs."""
    return in_batches(lambda *images: _goals(objective, *images), sources, targets)


def _goal_shape(objective: Objective, sources: np.ndarray, targets: np.ndarray) -> Any:
    found = jax.eval_shape(objective.prepare, sources[:1], targets[:1])
    if not all(leaf.ndim and leaf.shape[0] == 1 for leaf in jax.tree.leaves(found)):
        shapes = [leaf.shape for leaf in jax.tree.leaves(found)]
        raise ValueError(f"prepare must give arrays with leading axis [pair]; for one pair it gave shapes {shapes}")
    goal = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), found)
    distance = jax.eval_shape(objective.distance, sources[0], goal)
    if getattr(distance, "shape", None) != ():
        raise ValueError(f"distance must give one number for one image, got {distance}")
    return goal


def as_value(objective: Objective, sources: np.ndarray, targets: np.ndarray) -> Objective:
    """The objective with its functions as values, for batches of these images as `in_batches` makes them.

    Raises:
      ValueError: where goals have no leading axis [pair], or the distance of an image to its goal is not a number.
    """
    # Models of closures first, within the objectives that hold them.
    objective = jax.tree.map(
        lambda part: part.traced() if isinstance(part, VAE) else part,
        objective,
        is_leaf=lambda part: isinstance(part, VAE),
    )
    size = min(_IMAGES_AT_ONCE, len(sources))
    goal = _goal_shape(objective, sources, targets)
    return dataclasses.replace(
        objective,
        prepare=program.as_value(objective.prepare, sources[:size], targets[:size]),
        distance=program.as_value(objective.distance, sources[0], goal),
    )


@jax.jit
def _goals(objective: Objective, sources: Array, targets: Array) -> Any:
    return objective.prepare(sources, targets)


def allowed_descent(
    objective: Objective, sources: np.ndarray, goals: Any, box: tuple[float, float]
) -> Float[np.ndarray, "pair height width channels"]:
    """The part of -grad distance at the sources along which the image box can be kept."""
    return in_batches(lambda *pairs: _inward(objective, *pairs, box), sources, goals)


@functools.partial(jax.jit, static_argnums=3)
def _inward(objective: Objective, sources: Array, goals: Any, box: tuple[float, float]) -> Array:
    low, high = box

    def inward(source: Array, goal: Any) -> Array:
        gradient = jax.grad(distance, argnums=1)(objective, source, goal)
        return -inward_gradient(source, gradient, Box(jnp.asarray(low), jnp.asarray(high)))

    return jax.vmap(inward)(sources, goals)


def distances(
    objective: Objective, goals: Any, images: Float[np.ndarray, "pair budget *image"], *, least: int = 1
) -> Float[np.ndarray, "pair budget"]:
    """The attacker's distance at every image, in the unit of the objective; `least` as of `in_batches`."""

    def of_lanes(images: np.ndarray, pair: np.ndarray) -> Array:
        return _distances(objective, images, jax.tree.map(lambda leaf: leaf[pair], goals))

    return in_batches(of_lanes, *_lanes(images), least=least).reshape(images.shape[:2])


@jax.jit
def _distances(objective: Objective, images: Array, goals: Any) -> Array:
    return jax.vmap(distance, in_axes=(None, 0, 0))(objective, images, goals)


def l2_norms(images: np.ndarray) -> np.ndarray:
    """L2 over the last three axes, in float64."""
    return np.sqrt(np.sum(np.square(images, dtype=np.float64), axis=(-3, -2, -1)))


def l2_distances(
    images: Float[np.ndarray, "pair budget height width channels"],
    others: Float[np.ndarray, "pair height width channels"],
) -> Float[np.ndarray, "pair budget"]:
    """||image - other||_2 of every attack and its pair's image; pair by pair, to save memory."""
    return np.stack([l2_norms(mine - other) for mine, other in zip(images, others, strict=True)])


def largest_changes(
    images: Float[np.ndarray, "pair budget height width channels"],
    others: Float[np.ndarray, "pair height width channels"],
) -> Float[np.ndarray, "pair budget"]:
    """The largest |image - other| of a pixel, in the same way."""
    return np.stack(
        [np.max(np.abs(mine - other), axis=(-3, -2, -1)) for mine, other in zip(images, others, strict=True)]
    )


def measures(
    vae: VAE,
    threat: Threat,
    sources: np.ndarray,
    targets: np.ndarray,
    attacked: Float[np.ndarray, "pair budget"],
    again: Float[np.ndarray, "pair budget"],
    adversarial: Float[np.ndarray, "pair budget height width channels"],
) -> dict[str, np.ndarray]:
    """The fields of an `AttackResult` that follow from the images; `again` is `distances` compiled a second time."""

    lanes, pair = _lanes(adversarial)
    images, pair = np.concatenate([lanes, sources, targets]), np.concatenate([pair, *[np.arange(len(sources))] * 2])
    found = in_batches(lambda images, pair: _look(vae, images, sources[pair], targets[pair]), images, pair)
    of_source, of_target, seen = (np.split(part, [len(lanes), len(lanes) + len(sources)]) for part in found)
    source_log_prob, target_log_prob, reconstructions = (
        part[0].reshape(*adversarial.shape[:2], *part[0].shape[1:]) for part in (of_source, of_target, seen)
    )
    clean_source, source_reconstructions = of_source[1], seen[1]
    clean_target, target_reconstructions = of_target[2], seen[2]

    norm = l2_distances(adversarial, sources)
    cost = threats.cost(threat.name, norm, threat.budgets)
    return {
        "source_reconstructions": source_reconstructions,
        "target_reconstructions": target_reconstructions,
        "adversarial_reconstructions": reconstructions,
        "objective": attacked + cost,
        "repeated_objective": again + cost,
        "distance": attacked,
        "cost": cost,
        "distortion_norm": norm,
        "distortion_max": largest_changes(adversarial, sources),
        "negative_log_likelihood": -target_log_prob,
        "clean_negative_log_likelihood": -clean_target,
        "source_log_likelihood": source_log_prob,
        "clean_source_log_likelihood": clean_source,
        "adversarial_error": l2_distances(reconstructions, targets),
        "source_error": l2_norms(source_reconstructions - targets),
        "target_error": l2_norms(target_reconstructions - targets),
        "distance_to_target": l2_distances(adversarial, targets),
        "distance_left": l2_distances(reconstructions, target_reconstructions),
        "distance_at_start": l2_norms(source_reconstructions - target_reconstructions),
    }


@jax.jit
def _look(vae: VAE, images: Array, sources: Array, targets: Array) -> tuple[Array, Array, Array]:
    parameters = vae.decode(vae.encode(images, vae.mean_path(images.shape[0])).latents)
    log_prob = vae.likelihood.log_prob
    return log_prob(parameters, sources), log_prob(parameters, targets), vae.likelihood.mean(parameters)


def _lanes(images: Float[np.ndarray, "pair budget *image"]) -> tuple[np.ndarray, np.ndarray]:
    """[pair, budget, ...] as lanes, and each lane's pair."""
    pairs, budgets = images.shape[:2]
    return images.reshape(-1, *images.shape[2:]), np.repeat(np.arange(pairs), budgets)
