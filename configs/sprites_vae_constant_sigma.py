"""VAE with one constant encoder standard deviation, 0.3, on the embedded sprites.

    python launch/train.py --config=configs/sprites_vae_constant_sigma.py --workdir=runs/sprites_vae_constant_sigma

Everything else as in sprites_vae.py. With a constant sigma, that perturbations leave it alone is not an assumption of a
certificate but a fact (Camuto et al. 2021, Sec. 3.2.2, freeze it).

Variants:
  ""     the paper's networks at 64x64, for an accelerator; not trained to the end yet: no score to expect.
  demo   24 latents, Bernoulli likelihood, dense networks on large sprites at 32x32. 24 s of processor time on 2 CPU
         cores; validation ELBO -67 nats, reconstruction error 2.7.
  smoke  four steps on mock data, in seconds.
"""

from ml_collections import ConfigDict

from configs import _base


def get_config(variant: str = "") -> ConfigDict:
    config = _base.sprites()
    config.model.posterior_std = 0.3
    return _base.apply(config, variant)
