"""Seatbelt-VAE and single-layer VAEs on 3D Chairs, after Willetts et al. 2021, Sec. 5 and App. G.

    python launch/train.py --config=configs/chairs.py --workdir=runs/chairs_seatbelt
    python launch/train.py --config=configs/chairs.py:beta_tcvae --workdir=runs/chairs_beta_tcvae

with --config.data.name=chairs:PATH for the folder rendered_chairs, as its archive unpacks (docs/data.md).

From the paper: networks, likelihood, optimiser, batches, and latent sizes; beta goes from 1 to 10. Ours: the crop, free
bits of 0.5 nats a layer, 50 epochs. The paper crops "as in Kulkarni et al. (2015)", whose crop is lost; the middle
400 x 400 of 600 x 600 pixels, resized to 64 x 64, let most chairs fill the frame.

Variants, words with commas between them:
  ""         Seatbelt-VAE of four layers, beta = 10, for an accelerator; not trained to the end yet: no score to expect.
  vae        VAE with 64 latents, the baseline.
  beta_vae   beta-VAE of the same size, beta = 10.
  beta_tcvae beta-TCVAE of the same size, beta = 10.
  smoke      four steps on mock data, in seconds.
  L1..L5     as many latent layers, the last ones of the paper's list 96, 48, 24, 12, 6.
"""

from ml_collections import ConfigDict

from configs import _base

# 1,393 chairs from 62 sides, less the 5 % held out.
_TRAINING_IMAGES = 82_048


def get_config(variant: str = "") -> ConfigDict:
    data = {"name": "chairs:rendered_chairs", "crop": (100, 100, 400, 400)}
    config = _base.stored(data, training_images=_TRAINING_IMAGES)
    return _base.apply(config, variant, (*_base.KINDS, "smoke", *_base.DEPTHS))
