"""Measures of models and of what was done to them."""

from seatbelt_jax.metrics.attack import distortion_to_reach, shown_penalty, summarise

__all__ = ["distortion_to_reach", "shown_penalty", "summarise"]
