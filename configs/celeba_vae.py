"""Plain VAE on CelebA, the baseline beside celeba_seatbelt.py (Willetts et al. 2021, Fig. 1 and 2).

    python launch/train.py --config=configs/celeba_vae.py

CelebA must be prepared once (1.4 GB download; TensorFlow is needed for this alone):

    pip install -e '.[prepare]' && python launch/prepare_data.py --dataset=celeb_a

Settings as in celeba_beta_tcvae.py, with beta = 1.

Variants:
  ""     as above, for an accelerator. Neither timed nor trained to the end yet: there is no score to expect.
  smoke  the same architecture in small, four steps on mock data, in seconds.
"""

from ml_collections import ConfigDict

from configs import _base


def get_config(variant: str = "") -> ConfigDict:
    return _base.apply(_base.celeba(), variant, ("smoke",))
