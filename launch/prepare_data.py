"""Prepares a data set: python launch/prepare_data.py --dataset=mnist, the same as `seatbelt prepare-data`."""

from seatbelt_jax.cli.main import main

main("prepare_data")
