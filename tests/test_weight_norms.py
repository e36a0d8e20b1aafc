"""Norms of weights by layer, and their change."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seatbelt_jax import metrics, models


def test_norms_are_of_weights_by_layer():
    parameters = {
        "encoder": {"Conv_0": {"kernel": jnp.full((2, 2, 1, 1), 3.0), "bias": jnp.full(1, 100.0)}},
        "decoder": {"Dense_0": {"kernel": jnp.array([[3.0, 4.0]])}, "BatchNorm_0": {"scale": jnp.full(2, 100.0)}},
    }
    norms = metrics.weight_norms(parameters)
    assert norms == {"decoder/Dense_0": 5.0, "encoder/Conv_0": 6.0}
    assert metrics.total_norm(norms) == pytest.approx(np.sqrt(61.0))
    assert metrics.weight_norms({"Dense_0": {"a": np.full((1, 1), 3.0), "b": np.full((1, 1), 4.0)}}) == {"Dense_0": 5.0}
    with pytest.raises(ValueError, match="no array has two axes"):
        metrics.weight_norms({"bias": np.zeros(3)})


def test_changes_are_relative_to_what_was_before():
    changes = metrics.relative_changes({"a": 2.0, "b": 4.0, "c": 0.0, "d": 0.0}, {"a": 3.0, "b": 1.0, "c": 1.0, "d": 0})
    np.testing.assert_array_equal(list(changes.values()), [0.5, -0.75, np.inf, np.nan])
    with pytest.raises(ValueError, match="only one of them has a, c"):
        metrics.relative_changes({"a": 1.0, "b": 1.0}, {"b": 1.0, "c": 1.0})


@pytest.mark.parametrize(
    ("config", "generative"),
    [
        ({"latent_sizes": (4, 3, 2)}, {"decoder", "conditionals_0", "conditionals_1"}),
        ({"latent_sizes": (4,), "discrete_sizes": (3,)}, {"decoder"}),
    ],
)
def test_a_model_says_which_networks_are_which(config, generative):
    model = models.build(config | {"network": "mlp", "widths": (8,), "hidden_sizes": (8, 8)}, (8, 8, 1))
    parameters = jax.eval_shape(model.init, jax.random.key(0))["params"]
    encoder, decoder = models.encoder_and_decoder(parameters)
    assert set(decoder) == generative
    assert set(encoder) == set(parameters) - generative and "encoder" in encoder
