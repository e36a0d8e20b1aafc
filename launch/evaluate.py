"""Measures a trained run: python launch/evaluate.py --run=runs/NAME, the same as `seatbelt evaluate`."""

from seatbelt_jax.cli.main import main

main("evaluate")
