"""Certifies trained runs: python launch/certify.py --run=runs/NAME, the same as `seatbelt certify`."""

from seatbelt_jax.cli.main import main

main("certify")
