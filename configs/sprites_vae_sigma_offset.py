"""VAE with standard deviations offset by tau = 0.1 (Camuto et al. 2021, Sec. 4.2) on the embedded sprites.

    python launch/train.py --config=configs/sprites_vae_sigma_offset.py --workdir=runs/sprites_vae_sigma_offset

Everything else as in sprites_vae.py. The paper takes tau in {0, 0.1, 0.5, 1} on MNIST, see
mnist_vae_sigma_offset.py.

Variants:
  ""     the paper's networks at 64x64, for an accelerator; not trained to the end yet: no score to expect.
  demo   24 latents, Bernoulli likelihood, dense networks on large sprites at 32x32. 23 s of processor time on 2 CPU
         cores; validation ELBO -52 nats, reconstruction error 2.7.
  smoke  four steps on mock data, in seconds.
"""

from ml_collections import ConfigDict

from configs import _base


def get_config(variant: str = "") -> ConfigDict:
    config = _base.sprites()
    config.model.posterior_std_offset = 0.1
    return _base.apply(config, variant)
