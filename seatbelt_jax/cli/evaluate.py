"""Measures a trained run: seatbelt evaluate --run=runs/NAME [--measures=elbo,mig] ...

By default every measure that the model and its data have, on validation images or, with --split=test, test images.
Writes evaluation.json (evaluation_test.json) into the run, and figures/ of latent traversals. Measures of the same step
that are there already stay unless they are made again.
"""

from absl import flags as absl_flags

from seatbelt_jax.cli import flags
from seatbelt_jax.jobs import evaluate


def define_flags() -> None:
    absl_flags.DEFINE_string("run", None, "The run directory.", required=True)
    flags.define_allow()
    flags.define(evaluate.Options, more={"measures": f"There are {', '.join(evaluate.MEASURES)}."})


def main() -> None:
    evaluate.evaluate(absl_flags.FLAGS.run, evaluate.Options(**flags.given(evaluate.Options)), allow=flags.allowed())
