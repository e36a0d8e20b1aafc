"""An `AttackResult` that no sweep has made: of zeros, with the answer planted."""

import dataclasses

import numpy as np

from seatbelt_jax.attacks import AttackResult, Status


def made_up_result(**fields):
    """A targeted result of 2 pairs and 3 penalties, of zeros, but for `fields`; their shapes may be others.

    Unless `fields` say otherwise every attack converged from both of two starts to the same objective, a second
    evaluation agrees with it, a search without gradients found nothing, the undistorted source is far worse, and no
    check is left out.
    """
    shaped = [np.shape(value) for value in fields.values() if np.ndim(value) >= 2]
    pairs, budgets = shaped[0][:2] if shaped else (2, 3)
    images = np.zeros((pairs, 1, 1, 1))
    lane_images = np.zeros((pairs, budgets, 1, 1, 1))
    objective = fields.get("objective", np.zeros((pairs, budgets)))
    known = {
        "name": "latent_kl_all",
        "unit": "nats",
        "targeted": True,
        "threat": "penalty",
        "budgets": np.arange(1.0, budgets + 1),
        "sources": images,
        "targets": images,
        "source_reconstructions": images,
        "target_reconstructions": images,
        "adversarial": lane_images,
        "adversarial_reconstructions": lane_images,
        "clean_negative_log_likelihood": np.zeros(pairs),
        "clean_source_log_likelihood": np.full(pairs, -1.0),
        "source_error": np.ones(pairs),
        "target_error": np.zeros(pairs),
        "distance_at_start": np.ones(pairs),
        "status": np.full((pairs, budgets), Status.CONVERGED),
        "objective": objective,
        "distance": objective,
        "start_objectives": np.stack([objective, objective], axis=-1),
        "repeated_objective": objective,
        "random_search_objective": np.full((pairs, budgets), np.inf),
        "objective_at_source": np.full(pairs, 1e6),
        "gradient_norm": np.ones(pairs),
        "exchanged": np.zeros((pairs, budgets), bool),
    }
    required = [field.name for field in dataclasses.fields(AttackResult) if field.default is dataclasses.MISSING]
    everything = {name: np.zeros((pairs, budgets)) for name in required}
    return AttackResult(**(everything | known | fields))
