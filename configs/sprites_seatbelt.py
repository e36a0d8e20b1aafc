"""Seatbelt-VAE on the embedded sprites (dSprites), after Willetts et al. 2021, App. G.

    python launch/train.py --config=configs/sprites_seatbelt.py --workdir=runs/sprites_seatbelt
    python launch/train.py --config=configs/sprites_seatbelt.py:demo --workdir=runs/demo/seatbelt
    python launch/train.py --config=configs/sprites_seatbelt.py:L2,demo --workdir=runs/seatbelt_2

From the paper: networks, likelihood, optimiser and batches, see _base.py, and latent sizes. Ours: beta = 8 (the paper
goes from 1 to 10), and free bits of 0.5 nats a layer, where the paper says that it used some.

Variants, words with commas between them:
  ""     four layers, the paper's networks at 64x64. 2 CPU cores take 6.8 s a step, 68 hours in all: meant for an
         accelerator, where it has not been timed yet, and not trained to the end yet, so there is no score to expect.
  demo   three layers and beta = 10, Bernoulli likelihood, dense networks on large sprites at 32x32, as `make demo`
         trains them. 45 s of processor time on 2 CPU cores, 30 s of it compilation; validation ELBO -48 nats,
         reconstruction error 2.8.
  smoke  four steps on mock data, in seconds.
  L1..L5 as many latent layers, the last ones of the paper's list 96, 48, 24, 12, 6.
"""

from ml_collections import ConfigDict

from configs import _base


def get_config(variant: str = "") -> ConfigDict:
    config = _base.sprites()
    config.model.latent_sizes = _base.LATENT_SIZES[-4:]
    config.objective.update(beta=8.0, penalty="total_correlation", free_bits=0.5)
    if "demo" in variant.split(","):
        config.objective.beta = 10.0
    return _base.apply(config, variant, ("demo", "smoke", *_base.DEPTHS))
