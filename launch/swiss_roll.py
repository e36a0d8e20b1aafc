"""Reproduces Figure A.7 of Willetts et al. 2021: python launch/swiss_roll.py, the same as `seatbelt swiss-roll`."""

from seatbelt_jax.cli.main import main

main("swiss_roll")
