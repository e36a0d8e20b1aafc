"""Measures of models and of what was done to them."""

from seatbelt_jax.metrics.attack import (
    beaten_by_another_penalty,
    cut_short,
    distortion_to_reach,
    shown_penalty,
    summarise,
)

__all__ = ["beaten_by_another_penalty", "cut_short", "distortion_to_reach", "shown_penalty", "summarise"]
