"""The former name of `seatbelt_jax.runs`."""

from seatbelt_jax.runs import Origin, Run, configuration_changes, open, origin_of, prepare

__all__ = ["Origin", "Run", "configuration_changes", "open", "origin_of", "prepare"]
