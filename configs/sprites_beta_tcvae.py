"""beta-TCVAE (Chen et al. 2018) on the embedded sprites, beta = 8: beta multiplies the total correlation.

    python launch/train.py --config=configs/sprites_beta_tcvae.py --workdir=runs/sprites_beta_tcvae

Everything else as in sprites_vae.py; Willetts et al. 2021 go from beta = 1 to 10.

Variants:
  ""     the paper's networks at 64x64, for an accelerator; not trained to the end yet: no score to expect.
  demo   24 latents, Bernoulli likelihood, dense networks on large sprites at 32x32. 19 s of processor time on 2 CPU
         cores; validation ELBO -71 nats, reconstruction error 3.7.
  smoke  four steps on mock data, in seconds.
"""

from ml_collections import ConfigDict

from configs import _base


def get_config(variant: str = "") -> ConfigDict:
    config = _base.sprites()
    config.objective.update(beta=8.0, penalty="total_correlation")
    return _base.apply(config, variant)
