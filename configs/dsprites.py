"""Seatbelt-VAE and single-layer VAEs on the official dSprites, after Willetts et al. 2021, Sec. 5 and App. G.

    python launch/train.py --config=configs/dsprites.py --workdir=runs/dsprites_seatbelt
    python launch/train.py --config=configs/dsprites.py:beta_tcvae --workdir=runs/dsprites_beta_tcvae

dSprites must be prepared once (27 MB download; TensorFlow is needed for this alone):

    pip install -e '.[prepare]' && python launch/prepare_data.py --dataset=dsprites

The embedded sprites (sprites_seatbelt.py and its neighbours) are drawn after it and need no file. As there: networks,
likelihood, optimiser, batches and latent sizes of the paper, 1 % of the images held out, ours.

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

# 737,280 less the 1 % held out.
_TRAINING_IMAGES = 729_907


def get_config(variant: str = "") -> ConfigDict:
    data = {"name": "dsprites", "image_size": 64, "held_out": 0.01}
    config = _base.stored(data, training_images=_TRAINING_IMAGES)
    # All images as bytes; to decode them anew in every step would take longer than the step.
    config.train.resident_mib = 3072
    return _base.apply(config, variant, (*_base.KINDS, "smoke", *_base.DEPTHS))
