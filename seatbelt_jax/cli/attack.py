"""Attacks a trained run: seatbelt attack --run=runs/NAME [--attack=output_l2] [--threat=l2_ball] ...

By default the attack of Willetts et al. 2021, Eq. 10: latent, KL, all layers, 10 pairs of validation images (or, with
--split=test, of test images) under 50 penalties 2^-20 .. 2^20. Writes attacks/NAME.npz, NAME.csv and NAME_summary.csv
into the run, NAME after the attack. Interrupted and started again, it goes on where it was.
"""

from absl import flags as absl_flags

from seatbelt_jax.cli import flags
from seatbelt_jax.jobs import attack


def define_flags() -> None:
    absl_flags.DEFINE_string("run", None, "The run directory.", required=True)
    flags.define_allow()
    # Presets: attacks of a paper, each a set of options.
    flags.define(attack.Options, presets={"attack": ("sootla",)})


def main() -> None:
    given = flags.given(attack.Options)
    chosen = attack.sootla(given) if given.get("attack") == "sootla" else given
    options = attack.Options(**chosen)
    attack.check_read(options, set(given))
    attack.attack(absl_flags.FLAGS.run, options, allow=flags.allowed())
