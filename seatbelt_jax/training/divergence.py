"""Steps that are not finite: which of its terms is to blame, and what is kept to see it happen again."""

import collections
import dataclasses
import functools
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PRNGKeyArray

from seatbelt_jax import storage
from seatbelt_jax.runs.checkpoint import Checkpoints
from seatbelt_jax.training import distributed
from seatbelt_jax.training.recipe import Recipe
from seatbelt_jax.training.state import TrainState
from seatbelt_jax.training.step import Images, loss
from seatbelt_jax.vae import sample_noise

# What the names of an objective's terms begin with, each after those that it is made of.
_TERMS = ("log_likelihood", "kl_", "mutual_information", "total_correlation", "dimension_wise_kl", "elbo", "loss")


class DivergenceError(ArithmeticError):
    """Too many steps in a row were not finite."""


def first_non_finite(state: TrainState, images: Images, key: PRNGKeyArray, recipe: Recipe) -> str | None:
    """The first thing a step computes that is NaN or infinite, by name; None where all is finite.

    In order: the images, the parameters, each layer's posterior and latents, what is decoded, BatchNorm's next running
    averages, the terms of the objective, the loss, the gradient of each parameter, its norm, the discriminator's step.
    """
    found = jax.jit(functools.partial(_flags, recipe=recipe))(state, images, key)
    for name, tree in found.items():
        for path, is_finite in jax.tree_util.tree_leaves_with_path(tree):
            if not is_finite:
                return f"{name} {jax.tree_util.keystr(path, simple=True, separator='.')}".strip()
    return None


def _flags(state: TrainState, images: Images, key: PRNGKeyArray, *, recipe: Recipe) -> dict[str, Any]:
    """Whether each array that a step computes is finite, in the order of the computation."""
    step_key = jax.random.fold_in(key, state.step)
    noise = sample_noise(step_key, recipe.model.latent_sizes, images.shape[0])
    params = state.variables["params"]
    forward, _ = recipe.model.forward_train(state.variables, images, noise)
    (_, aside), gradient = jax.value_and_grad(loss, has_aux=True)(params, state, images, noise, recipe)
    layers = list(zip(forward.encoding.posteriors, forward.encoding.latents, strict=True))
    computed: list[tuple[str, Any]] = [("images", images), ("parameter", params)]
    for layer, (posterior, latents) in enumerate(layers, 1):
        computed += [(f"posterior of layer {layer}", posterior), (f"latents of layer {layer}", latents)]
    terms = sorted(aside.metrics.items(), key=lambda term: (_order(term[0]), term[0]))
    computed += [("decoded images", forward.decoded), ("next", aside.updated), *terms]
    computed += [("gradient of", gradient), ("norm of the gradient", optax.tree.norm(gradient))]
    if recipe.density_ratio is not None and state.discriminator is not None:
        stepped, value = recipe.density_ratio.step(
            state.discriminator, aside.latents[-1], jax.random.fold_in(step_key, len(noise))
        )
        computed += [("discriminator_loss", value), ("next parameter of the discriminator", stepped.parameters)]
    # Jit would sort the names of a plain dictionary.
    return collections.OrderedDict(
        (name, jax.tree.map(lambda leaf: jnp.all(jnp.isfinite(leaf)), tree)) for name, tree in computed
    )


def _order(term: str) -> int:
    """The place of a term of the objective: each comes after the terms that it is made of."""
    return next((place for place, name in enumerate(_TERMS) if term.startswith(name)), 0)


def keep_for_reproduction(
    directory: pathlib.Path, state: TrainState, images: Array, key: PRNGKeyArray, recipe: Recipe, *, steps: int
) -> str:
    """Saves what the first of a row of non-finite steps started from, and says what went wrong.

    Args:
      directory: a checkpoint of the state before that step and its batch, batch_STEP.npz, are written there.
      state: before that step: those that are not applied change nothing.
      images: the batch of that step, as the model is given it.
      key, recipe: as `training.step.train_step` takes them.
      steps: how many were not finite, at least.
    """
    step = int(state.step)
    term = first_non_finite(state, images, key, recipe) or "nothing, when it is computed once more,"
    with Checkpoints(directory, clean=True) as checkpoints:
        if step not in checkpoints.steps:
            checkpoints.save(step, variables=state.variables, training=state.training)
    if distributed.is_first():
        storage.write_npz(directory / f"batch_{step}.npz", {"images": images})
    return (
        f"training diverged: {steps} steps in a row were not finite and not applied. In the first of them, step "
        f"{step + 1}, {term} is the first term that is not finite; its batch and the state before it are in {directory}"
    )


def before_row(state: TrainState) -> TrainState:
    """The state before the newest row of steps that were not applied."""
    row = state.skipped_in_a_row
    return dataclasses.replace(
        state, step=state.step - row, skipped=state.skipped - row, skipped_in_a_row=jnp.zeros_like(row)
    )
