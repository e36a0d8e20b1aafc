"""beta-VAE on CelebA (Willetts et al. 2021, Fig. 2: beta = 10).

    python launch/train.py --config=configs/celeba_beta_vae.py

CelebA must be prepared once (1.4 GB download; TensorFlow is needed for this alone):

    pip install -e '.[prepare]' && python launch/prepare_data.py --dataset=celeb_a

Settings as in celeba_beta_tcvae.py, but beta multiplies the whole KL.

Variants:
  ""     as above, for an accelerator. Neither timed nor trained to the end yet: there is no score to expect.
  smoke  the same architecture in small, four steps on mock data, in seconds.
"""

from ml_collections import ConfigDict

from configs import _base


def get_config(variant: str = "") -> ConfigDict:
    config = _base.celeba()
    config.objective.update(beta=10.0, penalty="kl")
    return _base.apply(config, variant, ("smoke",))
