"""Trains a model: python launch/train.py --config=configs/celeba_seatbelt.py, the same as `seatbelt train`."""

from seatbelt_jax.cli.main import main

main("train")
