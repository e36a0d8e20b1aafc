"""Plain VAE on the embedded sprites (dSprites): the baseline of Willetts et al. 2021, beta = 1, L = 1.

    python launch/train.py --config=configs/sprites_vae.py --workdir=runs/sprites_vae
    python launch/train.py --config=configs/sprites_vae.py:demo --workdir=runs/demo/vae

From the paper: networks, likelihood, optimiser and batches, see _base.py, and 64 latents (one of the sizes in its
Fig. 4).

Variants:
  ""     the paper's networks at 64x64. 2 CPU cores take 6.9 s a step, 69 hours in all: meant for an accelerator,
         where it has not been timed yet, and not trained to the end yet, so there is no score to expect.
  demo   24 latents, Bernoulli likelihood, dense networks on large sprites at 32x32, as `make demo` trains them. 25 s of
         processor time on 2 CPU cores, 12 s of it compilation; validation ELBO -52 nats, reconstruction error 2.7.
  smoke  four steps on mock data, in seconds.
"""

from ml_collections import ConfigDict

from configs import _base


def get_config(variant: str = "") -> ConfigDict:
    return _base.apply(_base.sprites(), variant)
