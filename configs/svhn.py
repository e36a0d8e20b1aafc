"""Seatbelt-VAE and single-layer VAEs on SVHN, for the downstream tasks of Willetts et al. 2021, Table 1.

    python launch/train.py --config=configs/svhn.py --workdir=runs/svhn_seatbelt
    python launch/train.py --config=configs/svhn.py:beta_tcvae --workdir=runs/svhn_beta_tcvae

SVHN must be prepared once (1.6 GB, most of it an extra split that is not used; TensorFlow is needed for this alone):

    pip install -e '.[prepare]' && python launch/prepare_data.py --dataset=svhn_cropped

The paper gives neither sizes nor beta for its SVHN models. From its App. G: the networks for RGB images (of their
four stages, 32 x 32 pixels take the last three), likelihood, optimiser, batches, and CelebA's latent sizes. Ours: beta,
64 latents of the single-layer models, free bits of 0.5 nats a layer, 50 epochs.

Variants, words with commas between them:
  ""         Seatbelt-VAE of four layers, beta = 10, for an accelerator; not trained to the end yet: no score to expect.
  vae        VAE with 64 latents, the baseline.
  beta_vae   beta-VAE of the same size, beta = 10.
  beta_tcvae beta-TCVAE of the same size, beta = 10.
  smoke      four steps on mock data, in seconds.
  L1..L4     as many latent layers, the last ones of 256, 128, 64, 32.
"""

from ml_collections import ConfigDict

from configs import _base

# 73,257 less the 5 % held out.
_TRAINING_IMAGES = 69_594


def get_config(variant: str = "") -> ConfigDict:
    data = {"name": "svhn_cropped", "image_size": 32}
    config = _base.stored(
        data,
        training_images=_TRAINING_IMAGES,
        widths=_base.COLOUR_WIDTHS[1:],
        latent_sizes=_base.CELEBA_LATENT_SIZES,
    )
    return _base.apply(config, variant, (*_base.KINDS, "smoke", *_base.DEPTHS[:4]), _base.CELEBA_LATENT_SIZES)
