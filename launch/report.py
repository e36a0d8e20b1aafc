"""Shows runs, or a sweep, on one page: python launch/report.py --run=runs/NAME, the same as `seatbelt report`."""

from seatbelt_jax.cli.main import main

main("report")
