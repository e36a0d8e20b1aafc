"""Trains, attacks and certifies two small models: python launch/demo.py, the same as `seatbelt demo`."""

from seatbelt_jax.cli.main import main

main("demo")
