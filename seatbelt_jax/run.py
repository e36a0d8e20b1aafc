"""The former name of `seatbelt_jax.runs.open`."""

from seatbelt_jax.runs import Run, open

__all__ = ["Run", "open"]
