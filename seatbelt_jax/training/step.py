"""One optimiser step, pure: (state, images, key) -> (state, metrics)."""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from seatbelt_jax import elbo
from seatbelt_jax.total_correlation import Estimator
from seatbelt_jax.training.objective import beta_at, capacity_at
from seatbelt_jax.training.recipe import Recipe
from seatbelt_jax.training.state import TrainState
from seatbelt_jax.vae import Latents, sample_noise

Images = Float[Array, "batch height width channels"]
Metrics = dict[str, Array]


class Aside(NamedTuple):
    """What a step wants of the loss beside its value.

    Attributes:
      metrics: batch means in nats.
      latents: samples of every layer.
      updated: BatchNorm's running averages.
    """

    metrics: Metrics
    latents: Latents
    updated: Any


def train_step(state: TrainState, images: Images, key: PRNGKeyArray, *, recipe: Recipe) -> tuple[TrainState, Metrics]:
    """Takes one step up the objective.

    A step whose loss, gradient, running averages or discriminator's step are not finite is counted and not applied, nor
    is any after `recipe.max_skipped_in_a_row` of them in a row.

    Args:
      state: before the step.
      images: one batch in the likelihood's range. Sharded over devices, it is still one batch: means,
        BatchNorm's statistics and the aggregate posterior are over all of it.
      key: of the run; the step's own noise comes from it and the step's number, so that a resumed run
        draws what an uninterrupted one would.
      recipe: the model, its optimisers and the objective.
    """
    step_key = jax.random.fold_in(key, state.step)
    noise = sample_noise(step_key, recipe.model.latent_sizes, images.shape[0])
    params = state.variables["params"]
    (value, aside), gradient = jax.value_and_grad(loss, has_aux=True)(params, state, images, noise, recipe)
    updates, optimizer = recipe.optimizer.update(gradient, state.optimizer, params)
    variables = {**state.variables, **aside.updated, "params": optax.apply_updates(params, updates)}
    metrics = {**aside.metrics, "gradient_norm": optax.tree.norm(gradient)}
    watched = [value, metrics["gradient_norm"], aside.updated]
    discriminator = state.discriminator
    if recipe.density_ratio is not None and discriminator is not None:
        # The discriminator learns from the latents that it has just judged. The keys of the layers' noise are those
        # of step_key's split, which fold_in(step_key, 0), 1, .. repeats.
        discriminator, metrics["discriminator_loss"] = recipe.density_ratio.step(
            discriminator, aside.latents[-1], jax.random.fold_in(step_key, len(noise))
        )
        watched += [metrics["discriminator_loss"], discriminator.parameters]
    # After too many in a row the state stays what it is, until the host looks: a chunk may go on for a while.
    is_taken = _all_finite(watched) & (state.skipped_in_a_row < recipe.max_skipped_in_a_row)
    taken = TrainState(state.step, variables, optimizer, discriminator, state.skipped, jnp.zeros_like(state.skipped))
    passed_over = dataclasses.replace(state, skipped=state.skipped + 1, skipped_in_a_row=state.skipped_in_a_row + 1)
    kept = jax.tree.map(functools.partial(jnp.where, is_taken), taken, passed_over)
    metrics |= {"skipped_steps": kept.skipped, "skipped_in_a_row": kept.skipped_in_a_row}
    return dataclasses.replace(kept, step=state.step + 1), metrics


def _all_finite(tree: Any) -> Bool[Array, ""]:
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)]))


def loss(
    params: Any, state: TrainState, images: Images, noise: Latents, recipe: Recipe
) -> tuple[Float[Array, ""], Aside]:
    """The negative objective's mean over the batch, in nats, at `params` in place of the state's."""
    model, objective = recipe.model, recipe.objective
    forward, updated = model.forward_train({**state.variables, "params": params}, images, noise)
    # A discriminator's estimate is watched beside that of the minibatch.
    estimator: Estimator = "mss" if objective.estimator == "density_ratio" else objective.estimator
    terms = elbo.decompose(
        model.likelihood.log_prob(forward.decoded, images),
        forward.encoding,
        forward.prior,
        dataset_size=recipe.dataset_size,
        estimator=estimator,
    )
    metrics = term_means(terms, estimator)
    density_ratio = None
    if recipe.density_ratio is not None and state.discriminator is not None:
        density_ratio = recipe.density_ratio.discriminator.log_ratio(
            state.discriminator.parameters, forward.encoding.latents[-1]
        )
        metrics["total_correlation_density_ratio"] = jnp.mean(density_ratio)
    beta = beta_at(objective, state.step, recipe.beta)
    capacity = list(capacity_at(objective, state.step, model.largest_kl)) if objective.capacity else []
    value = jnp.mean(
        elbo.objective(
            terms,
            beta=beta,
            penalty=objective.penalty,
            free_bits=objective.free_bits,
            capacity=jnp.stack(capacity) if capacity else 0.0,
            total_correlation=density_ratio,
        )
    )
    weights = {"beta": beta, **{f"capacity_{layer}": nats for layer, nats in enumerate(capacity, 1)}}
    return -value, Aside({"loss": -value, **weights, **metrics}, forward.encoding.latents, updated)


def term_means(terms: elbo.ElboTerms, estimator: Estimator) -> Metrics:
    """Batch means of every term in nats, named for the metrics file."""
    per_layer = jnp.mean(terms.kl, axis=0)
    return {
        "elbo": jnp.mean(terms.elbo),
        "log_likelihood": jnp.mean(terms.log_likelihood),
        **{f"kl_{layer + 1}": per_layer[layer] for layer in range(per_layer.shape[0])},
        # The estimator is part of the name: their values are not comparable. For L > 1 they are one-path surrogates.
        f"mutual_information_{estimator}": jnp.mean(terms.mutual_information),
        f"total_correlation_{estimator}": jnp.mean(terms.total_correlation),
        f"dimension_wise_kl_{estimator}": jnp.mean(terms.dimension_wise_kl),
    }
