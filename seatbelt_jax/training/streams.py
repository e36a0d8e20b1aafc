"""The streams of randomness that a run's seed is split into."""

import jax
from jaxtyping import PRNGKeyArray

INIT, NOISE, EVALUATION = range(3)


def streams(seed: int) -> PRNGKeyArray:
    """A key for each stream, [3]."""
    return jax.random.split(jax.random.key(seed), 3)
