"""Attacks a trained run: python launch/attack.py --run=runs/NAME, the same as `seatbelt attack`."""

from seatbelt_jax.cli.main import main

main("attack")
