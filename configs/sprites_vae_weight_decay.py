"""VAE with weight decay 0.5 (Sootla 2018, Sec. 3.2) on the embedded sprites.

    python launch/train.py --config=configs/sprites_vae_weight_decay.py --workdir=runs/sprites_vae_weight_decay

Everything else as in sprites_vae.py. The decay is the derivative of an L2 penalty, added to the gradient that Adam
sees.

Variants:
  ""     the paper's networks at 64x64, for an accelerator; not trained to the end yet: no score to expect.
  demo   24 latents, Bernoulli likelihood, dense networks on large sprites at 32x32. 24 s of processor time on 2 CPU
         cores; validation ELBO -136 nats, reconstruction error 5.5.
  smoke  four steps on mock data, in seconds.
"""

from ml_collections import ConfigDict

from configs import _base


def get_config(variant: str = "") -> ConfigDict:
    config = _base.sprites()
    config.optimizer.weight_decay = 0.5
    return _base.apply(config, variant)
