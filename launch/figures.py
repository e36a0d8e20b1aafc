"""Draws figures of the papers: python launch/figures.py --sweep=runs/sweeps/NAME, the same as `seatbelt figures`."""

from seatbelt_jax.cli.main import main

main("figures")
