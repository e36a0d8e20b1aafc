"""beta-TCDLGM (Willetts et al. 2021, Sec. 4) on the embedded sprites: a DLGM, the top layer's TC penalised.

    python launch/train.py --config=configs/sprites_beta_tcdlgm.py --workdir=runs/sprites_beta_tcdlgm

As sprites_dlgm.py, with beta = 8. The paper finds that this alone does not help: an attacker needs to move z^1 only.

Variants, words with commas between them:
  ""     the paper's networks at 64x64, for an accelerator; not trained to the end yet: no score to expect.
  demo   three layers, Bernoulli likelihood, dense networks on large sprites at 32x32. 33 s of processor time on 2 CPU
         cores; validation ELBO -48 nats, reconstruction error 2.8.
  smoke  four steps on mock data, in seconds.
  L1..L5 as many latent layers, the last ones of the paper's list 96, 48, 24, 12, 6.
"""

from ml_collections import ConfigDict

from configs import _base


def get_config(variant: str = "") -> ConfigDict:
    config = _base.sprites()
    config.model.update(latent_sizes=_base.LATENT_SIZES[-4:], decoder_reads="bottom")
    config.objective.update(beta=8.0, penalty="total_correlation", free_bits=0.5)
    return _base.apply(config, variant, ("demo", "smoke", *_base.DEPTHS))
