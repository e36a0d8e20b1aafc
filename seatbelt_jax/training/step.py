"""One optimiser step, pure: (state, images, key) -> (state, metrics)."""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from seatbelt_jax import elbo
from seatbelt_jax.models import Model
from seatbelt_jax.training.settings import ObjectiveConfig
from seatbelt_jax.training.state import TrainState
from seatbelt_jax.vae import sample_noise

Metrics = dict[str, Float[Array, ""]]


def train_step(
    state: TrainState,
    images: Float[Array, "batch height width channels"],
    key: PRNGKeyArray,
    *,
    model: Model,
    optimizer: optax.GradientTransformation,
    objective: ObjectiveConfig,
    dataset_size: int,
) -> tuple[TrainState, Metrics]:
    """Takes one step up the objective.

    Args:
      state: before the step.
      images: one batch in the likelihood's range.
      key: of the run; the step's own noise comes from it and the step's number, so that a resumed run
        draws what an uninterrupted one would.
      dataset_size: N of the aggregate posterior.
    """
    noise = sample_noise(jax.random.fold_in(key, state.step), model.latent_sizes, images.shape[0])
    variables = dict(state.variables)

    def loss(params):
        forward, updated = model.forward_train({**variables, "params": params}, images, noise)
        terms = elbo.decompose(
            model.likelihood.log_prob(forward.decoded, images),
            forward.encoding,
            forward.prior,
            dataset_size=dataset_size,
            estimator=objective.estimator,
        )
        value = jnp.mean(
            elbo.objective(terms, beta=objective.beta, penalty=objective.penalty, free_bits=objective.free_bits)
        )
        return -value, (terms, updated)

    (negative_objective, (terms, updated)), gradient = jax.value_and_grad(loss, has_aux=True)(variables["params"])
    updates, optimizer_state = optimizer.update(gradient, state.optimizer, variables["params"])
    params = optax.apply_updates(variables["params"], updates)
    metrics = {
        "objective": -negative_objective,
        **term_means(terms, objective.estimator),
        "gradient_norm": optax.tree.norm(gradient),
    }
    return TrainState(state.step + 1, {**variables, **updated, "params": params}, optimizer_state), metrics


def term_means(terms: elbo.ElboTerms, estimator: str) -> Metrics:
    """Batch means of every term in nats, named for the metrics file."""
    per_layer = jnp.mean(terms.kl, axis=0)
    return {
        "elbo": jnp.mean(terms.elbo),
        "log_likelihood": jnp.mean(terms.log_likelihood),
        **{f"kl_{layer + 1}": per_layer[layer] for layer in range(per_layer.shape[0])},
        # The estimator is part of the name: their values are not comparable.
        f"mutual_information_{estimator}": jnp.mean(terms.mutual_information),
        f"total_correlation_{estimator}": jnp.mean(terms.total_correlation),
        f"dimension_wise_kl_{estimator}": jnp.mean(terms.dimension_wise_kl),
    }
