"""DLGM (Rezende et al. 2014) on the embedded sprites: the likelihood reads the bottom layer alone, beta = 1.

    python launch/train.py --config=configs/sprites_dlgm.py --workdir=runs/sprites_dlgm

Four latent layers of 48, 24, 12 and 6, as sprites_seatbelt.py has them, and its free bits of 0.5 nats a layer, which
keep the upper layers in use (Willetts et al. 2021, App. G).

Variants, words with commas between them:
  ""     the paper's networks at 64x64, for an accelerator; not trained to the end yet: no score to expect.
  demo   three layers, Bernoulli likelihood, dense networks on large sprites at 32x32. 48 s of processor time on 2 CPU
         cores; validation ELBO -48 nats, reconstruction error 2.8.
  smoke  four steps on mock data, in seconds.
  L1..L5 as many latent layers, the last ones of the paper's list 96, 48, 24, 12, 6.
"""

from ml_collections import ConfigDict

from configs import _base


def get_config(variant: str = "") -> ConfigDict:
    config = _base.sprites()
    config.model.update(latent_sizes=_base.LATENT_SIZES[-4:], decoder_reads="bottom")
    config.objective.free_bits = 0.5
    return _base.apply(config, variant, ("demo", "smoke", *_base.DEPTHS))
