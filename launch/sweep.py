"""Works on a grid of models: python launch/sweep.py --sweep=configs/sweeps/NAME.py, the same as `seatbelt sweep`."""

from seatbelt_jax.cli.main import main

main("sweep")
