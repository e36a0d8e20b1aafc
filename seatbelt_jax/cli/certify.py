"""Certifies trained runs: seatbelt certify --run=runs/A [--run=runs/B ...] [--methods=spectral,lipschitz] ...

By default by the largest sound margin, where the code of the model is understood (else it names the operation), and by
methods of first order. Writes certificates/METHOD.npz and minimal_radius.npz into each run, with --empirical also
empirical_margin.npz, and tables beside them; and figures/ into the run or, for several runs, beside them. Results on
test images (--split=test) go to certificates_test/ and figures_test/. Interrupted and started again, it goes on where
it was.
"""

from absl import flags as absl_flags

from seatbelt_jax import bounds
from seatbelt_jax.cli import flags
from seatbelt_jax.jobs import certify


def define_flags() -> None:
    absl_flags.DEFINE_multi_string("run", None, "Run directory; repeat the flag for more runs.", required=True)
    flags.define_allow()
    flags.define(certify.Options, more={"methods": f"There are {', '.join(bounds.METHODS)}."})
    absl_flags.DEFINE_string(
        "output", None, "Folder for the figures. Default: figures/ in the run, or beside several runs."
    )


def main() -> None:
    options = certify.Options(**flags.given(certify.Options))
    certify.certify(absl_flags.FLAGS.run, options, absl_flags.FLAGS.output, allow=flags.allowed())
