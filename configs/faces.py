"""Seatbelt-VAE and single-layer VAEs on 3D Faces, after Willetts et al. 2021, Sec. 5 and App. G.

    python launch/train.py --config=configs/faces.py --workdir=runs/faces_seatbelt
    python launch/train.py --config=configs/faces.py:beta_tcvae --workdir=runs/faces_beta_tcvae

with --config.data.name=npz:PATH for an array of renders [identity, azimuth, elevation, light, 64, 64], which nobody may
pass on (docs/data.md).

From the paper: networks, likelihood, optimiser, batches, and latent sizes; beta goes from 1 to 10. Ours: free bits of
0.5 nats a layer, 50 epochs.

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

# 50 identities, 21 azimuths, 11 elevations and 11 lights (Chen et al. 2018), less the 5 % held out.
_TRAINING_IMAGES = 120_698


def get_config(variant: str = "") -> ConfigDict:
    data = {"name": "npz:faces.npz", "image_size": 64}
    config = _base.stored(data, training_images=_TRAINING_IMAGES)
    return _base.apply(config, variant, (*_base.KINDS, "smoke", *_base.DEPTHS))
